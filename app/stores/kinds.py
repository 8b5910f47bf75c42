"""Every kind of store, and how a configured connection and a place become an opened one.

A kind is a module beside this one and a line in `STORE_KINDS`. The module defines `KIND`, a `StoreKind`: the options
that its connections take, and the function that opens a place. It is imported once a connection of its kind is
configured, so that nobody needs the client libraries of stores that they do not use.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any, Generic

from app.connections.file import ConfiguredConnection, WrongConnections
from app.connections.options import Options, checked_options
from app.stores.protocol import CannotSwitch, Place, Store, StoreAway, WrongPlace


class UnknownConnection(Exception):
    """No store's connection has this name; what it says names those that there are."""


@dataclass(frozen=True)
class StoreKind(Generic[Options]):
    """What the module of a kind defines as `KIND`.

    open: from the connection's name, which errors show, its options and a place, that place ready to be used. Raises
    StoreAway and WrongPlace as `Store` does.
    """

    options: type[Options]
    open: Callable[[str, Options, Place], Store]


@dataclass(frozen=True)
class ListedKind:
    """Where a kind is defined. needs: the packages that its module imports, by the names they are imported by; extra:
    what installs them."""

    module: str
    needs: tuple[str, ...]
    extra: str


STORE_KINDS: Mapping[str, ListedKind] = MappingProxyType(
    {
        "chroma": ListedKind("app.stores.chroma", needs=("chromadb",), extra="chroma"),
        "elasticsearch": ListedKind("app.stores.elasticsearch", needs=("elasticsearch",), extra="elasticsearch"),
        "faiss": ListedKind("app.stores.faiss_file", needs=("faiss",), extra="cpu"),
        "files": ListedKind("app.stores.files", needs=(), extra=""),
        "lancedb": ListedKind("app.stores.lancedb", needs=("lancedb",), extra="lancedb"),
        "milvus": ListedKind("app.stores.milvus", needs=("pymilvus",), extra="milvus"),
        "qdrant": ListedKind("app.stores.qdrant", needs=("qdrant_client",), extra="qdrant"),
        "pgvector": ListedKind("app.stores.pgvector", needs=("psycopg",), extra="pgvector"),
    }
)
"""By the word that `kind` has in the file of connections."""


class ConfiguredStores:
    """The stores that the operator's connections lead to. Connections of other kinds are left alone."""

    def __init__(self, connections: Mapping[str, ConfiguredConnection]) -> None:
        """Raises WrongConnections for options that its kind does not take, and for a kind whose client library is not
        installed. Nothing is connected to."""
        self._kinds: dict[str, tuple[StoreKind[Any], Any]] = {}
        for name, connection in connections.items():
            if connection.kind in STORE_KINDS:
                kind = _kind(connection)
                self._kinds[name] = kind, checked_options(connection, kind.options)

    @property
    def names(self) -> list[str]:
        return sorted(self._kinds)

    def open(self, connection: str, place: Place) -> Store:
        """The place, to be closed by the caller. Raises UnknownConnection, and StoreAway and WrongPlace as `Store`
        does."""
        try:
            kind, options = self._kinds[connection]
        except KeyError:
            there = ", ".join(self.names) or "none, as the setting `connections` names no file with one"
            raise UnknownConnection(f"no connection to a store is named {connection!r}; there are: {there}") from None
        try:
            return kind.open(connection, options, place)
        except (StoreAway, WrongPlace, CannotSwitch):
            raise
        except Exception as error:  # of a client library, which may show what it was given: an address, or a secret
            raise StoreAway(
                f"what opens connection {connection!r} failed ({type(error).__name__}): see whether its address and "
                "its other keys in the file of connections are right"
            ) from None


def _kind(connection: ConfiguredConnection) -> StoreKind[Any]:
    listed = STORE_KINDS[connection.kind]
    if missing := [name for name in listed.needs if find_spec(name) is None]:
        raise WrongConnections(
            f"[{connection.name}] of the file of connections is of the kind {connection.kind!r}, which needs "
            f"{' and '.join(missing)}: pip install '.[{listed.extra}]'"
        )
    kind: StoreKind[Any] = import_module(listed.module).KIND
    return kind
