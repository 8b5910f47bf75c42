"""What every kind of store does, and the plain data that goes in and comes out.

A *store* is one table or collection of the user's, reached through a connection: it holds the items and the vectors
that the old model made. An upgrade writes the transformed vectors beside those, to a *target*: a new column, a new
named vector, or a new collection where the store knows no more. What the old model made is never written to.

Items travel as Arrow record batches with these columns:

| column | type | |
|---|---|---|
| `id` | string, never null | the store's own key, written as text from which the key can be read back |
| `vector` | fixed-size list of float32, null where the item has none | |
| `mark` | uint64 | another one whenever the item's vector is: a hash of its bytes (`Abilities.marks`) |
| `text` | string, null | what a model embeds |
| `image` | binary, null | the same, encoded |
| `label` | string, null | |
| `payload` | string, null | a JSON object |
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import pyarrow as pa

from models.portable import Distance

Column = Literal["id", "vector", "mark", "text", "image", "label", "payload"]
Snapshot = Literal["all", "batch"]
"""What one pass over a store sees: `all` of it as of one moment, or each `batch` as of the moment it was read."""

Switching = Literal["atomic", "statement"]
"""Whether a store switches its readers from the old vectors to a target in one step, or the user's application does."""


class StoreAway(Exception):
    """The store does not answer, or refuses who asks; what it says shows no address and no secret."""


class WrongPlace(Exception):
    """There is no such table, collection, column or vector; what it says names what there is."""


class CannotSwitch(Exception):
    """The store has changed so that a switch would harm: what it says tells what to do."""


@dataclass(frozen=True)
class Place:
    """Where in a connection a gallery's items are, by the store's own names.

    collection: a table, collection, index or file. id, vector: the column, field or named vector of each; None where
    the kind of store has one alone. text, image, label, payload: columns or fields to be read as such.
    """

    collection: str
    id: str | None = None
    vector: str | None = None
    text: str | None = None
    image: str | None = None
    label: str | None = None
    payload: tuple[str, ...] = ()


@dataclass(frozen=True)
class Abilities:
    """What a kind of store can do, for the answer and the documentation."""

    snapshot: Snapshot
    switching: Switching
    conditional_write: bool
    """Whether a write is left out where the item's vector has changed since it was read."""
    marks: Literal["vector", "item"] = "vector"
    """When a mark is another one: with the item's vector alone, or with anything of the item, where a target holds the
    whole of each item."""


@dataclass(frozen=True)
class StoreDescription:
    """A place as it is now. metric: by which the store itself ranks; None where it does not say. rows_exact: whether
    `rows` was counted, and is no estimate."""

    rows: int
    dimension: int
    metric: Distance | None
    abilities: Abilities
    rows_exact: bool = True


@dataclass(frozen=True)
class Target:
    """Where transformed vectors go: named after the gallery's generation, so that no two upgrades share one."""

    name: str
    dimension: int
    metric: Distance


@dataclass(frozen=True)
class Switched:
    """What a switch did. statement: what the user's application has to do or may, in the store's own language; None
    where nothing is left to do."""

    statement: str | None


class Store(Protocol):
    """One place of one connection. Not shared between threads. Every call raises StoreAway or WrongPlace where it
    cannot do its work, and may be repeated: what is done already is not done twice."""

    def describe(self, *, roughly: bool = False) -> StoreDescription:
        """roughly: whether `rows` may be an estimate, where counting takes longer the more there are."""

    def scan(self, columns: Sequence[Column], *, batch_rows: int, after: str | None = None) -> Iterator[pa.RecordBatch]:
        """All items, in an order of their ids that is the same each time; after: only those behind this id. No more
        than two batches are in memory."""

    def by_id(self, ids: Sequence[str], columns: Sequence[Column]) -> pa.RecordBatch:
        """The items with these ids, in any order; unknown ids are left out."""

    def make_target(self, target: Target) -> None:
        """Makes room for the transformed vectors. Raises WrongPlace where something else has the name."""

    def write(self, target: Target, items: pa.RecordBatch) -> list[str]:
        """Writes `vector` of each item, with columns `id`, `vector` and `mark`: the mark that its old vector had when
        it was read. Durable when it returns. Returns the ids that were not written, as the item is gone or, where the
        store can tell, has changed since; whatever the store's other columns and vectors hold stays bit for bit."""

    def written(self, target: Target, *, batch_rows: int, vectors: bool = False) -> Iterator[pa.RecordBatch]:
        """The ids (and vectors) that the target holds."""

    def written_by_id(self, target: Target, ids: Sequence[str]) -> pa.RecordBatch:
        """`id` and `vector` of what the target holds of these items, in any order; others are left out."""

    def erase(self, target: Target, ids: Sequence[str]) -> None:
        """Takes transformed vectors of items that are gone out of the target."""

    def build_index(self, target: Target) -> None:
        """Has the store index the target as it indexes the old vectors, without keeping readers or writers waiting."""

    def switch(self, target: Target) -> Switched:
        """Has readers see the target in place of the old vectors, in one step where the store can."""

    def switch_back(self, target: Target) -> Switched:
        """Undoes `switch`; nothing where it was not done."""

    def drop(self, target: Target) -> None:
        """Removes the target and all it holds; nothing where there is none. Raises CannotSwitch where readers see
        it."""

    def close(self) -> None: ...
