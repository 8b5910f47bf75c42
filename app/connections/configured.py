"""What the connections of the operator's file lead to, all of them checked at once when a process starts."""

from dataclasses import dataclass
from pathlib import Path

from app.connections.file import read_connections
from app.connections.options import refuse_unknown_kinds
from app.embedders.configured import ConfiguredEmbedders
from app.embedders.options import EMBEDDER_KINDS
from app.stores.kinds import STORE_KINDS, ConfiguredStores


@dataclass(frozen=True)
class ConfiguredConnections:
    """The file's connections, sorted by what they are for."""

    stores: ConfiguredStores
    embedders: ConfiguredEmbedders


def configured_connections(path: Path | None) -> ConfiguredConnections:
    """Reads and checks the file; nothing is connected to. Raises WrongConnections, which shows no value."""
    connections = read_connections(path)
    refuse_unknown_kinds(connections, [*STORE_KINDS, *EMBEDDER_KINDS])
    return ConfiguredConnections(ConfiguredStores(connections), ConfiguredEmbedders(connections))
