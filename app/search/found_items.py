"""What answers say of the items found, kept in memory: an item is read once, however often it is found."""

from __future__ import annotations

import json
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic_core import to_json

from app.index import RowIds
from app.storage.lance_table import ROW_ID, Table

_OVERHEAD_BYTES = (
    320  # of the objects that keep one item, without its strings; 290 were measured, and dictionaries grow
)


@dataclass(frozen=True, slots=True)
class FoundItem:
    """One item as answers show it: as JSON in UTF-8, but for the score, which stands between `before_score` and
    `after_score`."""

    id: str
    label: str | None
    before_score: bytes
    after_score: bytes

    @classmethod
    def of(cls, id: str, label: str | None, payload: str | None) -> FoundItem:
        """payload: a JSON object as text, or None."""
        shown: dict[str, Any] | None = None if payload is None else dict(json.loads(payload))
        rest = to_json({"label": label, "payload": shown}, inf_nan_mode="null")
        return cls(id, label, b'{"id":%s,"score":' % to_json(id), b",%s" % rest[1:])

    @property
    def nbytes(self) -> int:
        """Memory that keeping it takes. Python's strings have 1, 2 or 4 bytes a character, by their widest."""
        return _OVERHEAD_BYTES + sum(map(sys.getsizeof, (self.id, self.label, self.before_score, self.after_score)))


class FoundItems:
    """The items found last, up to `bytes_at_most`.

    An item is kept under the store version as of which an index holds its row. Between that version and the one that is
    searched it was not written, so whoever finds the row under the same version is shown the same item.
    """

    def __init__(self, bytes_at_most: int) -> None:
        self._room = bytes_at_most
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, int, int], FoundItem] = OrderedDict()

    def of(
        self, gallery: str, items: Callable[[], Table], rows: RowIds, versions: RowIds, searched: int
    ) -> dict[int, FoundItem]:
        """The items of these rows, (n,), none twice, by row.

        gallery: names the items' table, which `items` opens. versions: (n,), as of which the index that found the rows
        holds them. searched: the version of the table that the index is level with.
        """
        keys = [(gallery, row, version) for row, version in zip(rows.tolist(), versions.tolist(), strict=True)]
        found: dict[int, FoundItem] = {}
        unknown: dict[int, tuple[str, int, int]] = {}
        with self._lock:
            for key in keys:
                if (item := self._kept.get(key)) is None:
                    unknown[key[1]] = key
                else:
                    self._kept.move_to_end(key)
                    found[key[1]] = item
        if unknown:
            read = _read(items(), np.fromiter(unknown, np.int64, len(unknown)), searched)
            self._keep({unknown[row]: item for row, item in read.items()})
            found |= read
        return found

    def _keep(self, read: dict[tuple[str, int, int], FoundItem]) -> None:
        with self._lock:
            for key, item in read.items():
                before = self._kept.pop(key, None)
                self._room -= item.nbytes - (0 if before is None else before.nbytes)
                self._kept[key] = item
            while self._room < 0 and self._kept:
                self._room += self._kept.popitem(last=False)[1].nbytes


def _read(items: Table, rows: RowIds, version: int) -> dict[int, FoundItem]:
    table = items.by_row(rows, ["id", "label", "payload"], version=version)
    columns = (table.column(name).to_pylist() for name in (ROW_ID, "id", "label", "payload"))
    return {row: FoundItem.of(*cells) for row, *cells in zip(*columns, strict=True)}
