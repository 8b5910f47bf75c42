"""What a kind of store provides to be tested: the real thing, as its user sees it, without our adapter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from app.connections.file import ConfiguredConnection
from app.stores.kinds import ConfiguredStores
from app.stores.protocol import Place, Store, Target

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True)
class UserItem:
    """An item as its user wrote it. id: as the adapter writes it as text."""

    id: str
    vector: Vector | None
    text: str | None = None
    label: str | None = None
    payload: Mapping[str, Any] = field(default_factory=dict)


class StoreWorld(Protocol):
    """One empty place of one connection, and what its user does with it.

    connection, place: what is under test; the place has `text`, `label` and the payload's fields `shop` and `tags`, the
    first a string and the second a list or an object, where the store holds such things.
    dimension: of the old vectors, which the user writes as unit rows.
    unreachable: a connection of the same kind whose server is not there, or refuses it.
    secrets: what no error may show: addresses and passwords of both connections.
    wrong_places: places that are not there, each with a name that is, which the error has to mention.
    without_vectors: whether an item may have none. tolerance: by which a number read back may be another.
    """

    connection: ConfiguredConnection
    place: Place
    dimension: int
    unreachable: ConfiguredConnection
    secrets: Sequence[str]
    wrong_places: Sequence[tuple[Place, str]]
    without_vectors: bool
    tolerance: float

    def ids(self, count: int) -> list[str]:
        """Ids that the store takes, the first of them the oddest: quotes, slashes, other scripts, composite keys."""

    def insert(self, items: Sequence[UserItem]) -> None: ...

    def change(self, item: UserItem) -> None:
        """Replaces an item, its transformed vectors left as the store itself leaves them."""

    def delete(self, ids: Sequence[str]) -> None: ...

    def everything(self) -> dict[str, bytes]:
        """By id, all that the user wrote of an item, the old vector bit for bit, in any form that is the same each
        time; nothing of what an upgrade adds."""

    def take_name(self, target: Target) -> None:
        """Makes something of the user's own that has the name that the target's place would have."""

    def seen(self) -> dict[str, Vector]:
        """By id, the vectors that the user's readers get who follow a switch: through the view, the alias, whatever
        `Switched` is about. Called only where a store switches in one step."""


def opened(connection: ConfiguredConnection, place: Place) -> Store:
    """The place as the service opens it."""
    return ConfiguredStores({connection.name: connection}).open(connection.name, place)
