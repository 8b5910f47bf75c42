"""What sampling, learning and proof read of a gallery's items, wherever these lie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa

from app.galleries.elsewhere import Elsewhere, opened
from app.storage.lance_table import ROW_ID, embedding_column
from app.stores.kinds import ConfiguredStores
from app.stores.ledger import id_hashes
from app.stores.protocol import Column, StoreDescription

TEXT, IMAGE = "text", "image"
"""The columns of what a model embeds, of items in a store of the user's own whose gallery says where it is."""

MARK = "mark"
"""The column of what is another number once an item in a store of the user's own has another vector."""

_ONLY_IF_NAMED = (IMAGE, MARK)

_IDS_AT_ONCE = 2_000


class ReadableItems(Protocol):
    """A gallery's items as record batches with the columns of the items' table: `id`, `label`, `payload`, and
    `embedding.<model>`; `_rowid` is a number that an item keeps for as long as it has its id."""

    @property
    def version(self) -> int:
        """Another number once there are other items than before."""

    def count(self, where: str | None = None) -> int: ...

    def has(self, column: str) -> bool: ...

    def scan(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]: ...

    def by_id(self, ids: Sequence[str], columns: Sequence[str] | None = None) -> pa.Table: ...

    def by_row(self, rows: np.ndarray, columns: Sequence[str]) -> pa.Table: ...


class ItemsInStore:
    """Items that lie in a store of the user's own, read there, and nowhere kept. Whatever is called raises
    GalleryStoreAway or StoreChanged where the store cannot be read."""

    def __init__(self, stores: ConfiguredStores, elsewhere: Elsewhere, model: str) -> None:
        """model: the one that made the vectors there."""
        self._stores = stores
        self._elsewhere = elsewhere
        self._columns: dict[str, Column] = {
            "id": "id",
            "label": "label",
            "payload": "payload",
            MARK: "mark",
            embedding_column(model): "vector",
        }
        if elsewhere.place.text is not None:
            self._columns[TEXT] = "text"
        if elsewhere.place.image is not None:
            self._columns[IMAGE] = "image"

    def describe(self, *, roughly: bool = False) -> StoreDescription:
        """roughly: as `Store.describe`."""
        with opened(self._stores, self._elsewhere) as store:
            return store.describe(roughly=roughly)

    @property
    def version(self) -> int:
        """How many items there are: a store knows no versions, and to look whether an item is another takes a pass over
        all of them."""
        return self.describe().rows

    def count(self, where: str | None = None) -> int:
        """Raises ValueError for a condition: it would be on columns that items here do not have."""
        if where is not None:
            raise ValueError(f"items in a store of the user's own have no columns for the condition {where!r}")
        return self.describe().rows

    def has(self, column: str) -> bool:
        return column in self._columns

    def scan(self, columns: Sequence[str] | None = None, batch_rows: int = 8192) -> Iterator[pa.RecordBatch]:
        names = self._named(columns)
        with opened(self._stores, self._elsewhere) as store:
            for batch in store.scan(self._read(names), batch_rows=batch_rows):
                yield self._as_items(batch, names)

    def by_id(self, ids: Sequence[str], columns: Sequence[str] | None = None) -> pa.Table:
        names = self._named(columns)
        with opened(self._stores, self._elsewhere) as store:
            parts = [
                self._as_items(store.by_id(ids[start : start + _IDS_AT_ONCE], self._read(names)), names)
                for start in range(0, max(1, len(ids)), _IDS_AT_ONCE)
            ]
        return pa.Table.from_batches(parts)

    def by_row(self, rows: np.ndarray, columns: Sequence[str]) -> pa.Table:
        """In one pass over the ids: a store cannot look up the numbers that are made of them."""
        found = [
            one
            for batch in self.scan(["id"])
            for one in batch.filter(pa.array(np.isin(batch.column(ROW_ID).to_numpy(), rows))).column("id").to_pylist()
        ]
        return self.by_id(found, columns)

    def _named(self, columns: Sequence[str] | None) -> list[str]:
        """The columns to read; where none are named, all that say something of an item, but images, which are large."""
        return [name for name in self._columns if name not in _ONLY_IF_NAMED] if columns is None else list(columns)

    def _read(self, names: Sequence[str]) -> list[Column]:
        return list(dict.fromkeys(["id", *(self._columns[name] for name in names)]))

    def _as_items(self, batch: pa.RecordBatch, names: Sequence[str]) -> pa.RecordBatch:
        columns = {name: batch.column(self._columns[name]) for name in names}
        return pa.record_batch(columns | {ROW_ID: pa.array(row_ids(batch.column("id")))})


def row_ids(ids: pa.Array) -> np.ndarray:
    """(n,) uint64, a number of 63 bits made of each id: among ten million, two ids share one with odds of 1 to
    180,000."""
    return id_hashes(ids.to_pylist()) >> np.uint64(1)
