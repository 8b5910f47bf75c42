"""Where the items of a gallery lie that are in a store of the user's own, and how its errors are told to clients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from app.problems import GalleryStoreAway, StoreChanged
from app.stores.kinds import ConfiguredStores, UnknownConnection
from app.stores.protocol import CannotSwitch, Place, Store, StoreAway, WrongPlace


@dataclass(frozen=True)
class Elsewhere:
    """A place of a configured connection. max_writes_per_second: vectors written there, at most; None for no limit."""

    connection: str
    place: Place
    max_writes_per_second: int | None = None

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Elsewhere:
        """Of what a request said, as `StoreChoice` dumps it."""
        names = ("id", "vector", "text", "image", "label")
        place = Place(
            kept.get("table") or kept["collection"],
            **{name: kept.get(name) for name in names},
            payload=tuple(kept.get("payload") or ()),
        )
        return cls(kept["connection"], place, kept.get("max_writes_per_second"))

    def __str__(self) -> str:
        return f"connection {self.connection!r}, {self.place.collection!r}"


@contextmanager
def told_as_problems(elsewhere: Elsewhere) -> Iterator[None]:
    """Raises GalleryStoreAway where the store does not answer, and StoreChanged where it is no longer what it was, for
    the store's own exceptions: neither shows an address."""
    try:
        yield
    except StoreAway as error:
        raise GalleryStoreAway(f"The store of {elsewhere} cannot be used now: {_sentence(error)}") from None
    except UnknownConnection as error:
        raise StoreChanged(f"The store of {elsewhere} cannot be used: {_sentence(error)}") from None
    except (WrongPlace, CannotSwitch) as error:
        raise StoreChanged(f"In {elsewhere}: {_sentence(error)}") from None


@contextmanager
def opened(stores: ConfiguredStores, elsewhere: Elsewhere) -> Iterator[Store]:
    """The store, closed at the end; its exceptions are told as problems, from within the block too."""
    with told_as_problems(elsewhere), closing(stores.open(elsewhere.connection, elsewhere.place)) as store:
        yield store


def _sentence(error: Exception) -> str:
    return f"{str(error).rstrip('.')}."
