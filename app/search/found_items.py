"""What answers say of the items found, kept in memory: an item is read once, however often it is found."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic_core import to_json

from app.index import RowIds
from app.short_calls import leave_event_loop
from app.storage.lance_table import ROW_ID, Table

_OVERHEAD_BYTES = 320  # of the objects that keep one item, without its strings; 290 were measured, and dicts grow
_OF_EACH_VERSION_BYTES = 400

_Kept = dict[tuple[str, int], dict[int, "FoundItem"]]
"""By gallery and store version, and then by row."""


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

    Items are kept in two halves. Once the newer one is full it becomes the older one, whose items are let go but for
    those found meanwhile: to note of each item when it was found last would take longer than to find it.
    """

    def __init__(self, bytes_at_most: int) -> None:
        self._half = bytes_at_most // 2
        self._lock = threading.Lock()
        self._newer: _Kept = {}
        self._older: _Kept = {}
        self._newer_bytes = 0

    def of(
        self, gallery: str, items: Callable[[], Table], rows: RowIds, versions: RowIds, searched: int
    ) -> dict[int, FoundItem]:
        """The items of these rows, (n,), of which one may come twice, by row.

        gallery: names the items' table, which `items` opens. versions: (n,), as of which the index that found the rows
        holds them. searched: the version of the table that the index is level with.
        """
        found: dict[int, FoundItem] = {}
        unknown: dict[int, int] = {}
        for version, of_version in _by_version(rows, versions):
            newer, older = self._newer.get((gallery, version), {}), self._older.get((gallery, version), {})
            try:  # thousands of rows are mostly all there, and are not gone through one by one then
                found.update(zip(of_version, map(newer.__getitem__, of_version), strict=True))
            except KeyError:
                known = {row: item for row in of_version if (item := newer.get(row)) is not None}
                found |= known
                missing = [row for row in dict.fromkeys(of_version) if row not in known]
                again = {row: item for row in missing if (item := older.get(row)) is not None}
                self._keep(gallery, version, again)
                found |= again
                unknown |= {row: version for row in missing if row not in again}
        if unknown:
            leave_event_loop()
            read = _read(items(), np.fromiter(unknown, np.int64, len(unknown)), searched)
            for row, item in read.items():
                self._keep(gallery, unknown[row], {row: item})
            found |= read
        return found

    def _keep(self, gallery: str, version: int, read: Mapping[int, FoundItem]) -> None:
        key = gallery, version
        with self._lock:
            for row, item in read.items():
                if row in self._newer.get(key, {}) or item.nbytes + _OF_EACH_VERSION_BYTES > self._half:
                    continue
                taken = item.nbytes + (0 if key in self._newer else _OF_EACH_VERSION_BYTES)
                if self._newer_bytes + taken > self._half:
                    self._older, self._newer, self._newer_bytes = self._newer, {}, 0
                    taken = item.nbytes + _OF_EACH_VERSION_BYTES
                self._newer.setdefault(key, {})[row] = item
                self._newer_bytes += taken


def _by_version(rows: RowIds, versions: RowIds) -> list[tuple[int, list[int]]]:
    """The rows (n,), by their versions (n,), which are mostly one."""
    if not len(rows):
        return []
    if (versions == versions[0]).all():
        return [(int(versions[0]), rows.tolist())]
    return [(int(version), rows[versions == version].tolist()) for version in np.unique(versions)]


def _read(items: Table, rows: RowIds, version: int) -> dict[int, FoundItem]:
    table = items.by_row(rows, ["id", "label", "payload"], version=version)
    columns = (table.column(name).to_pylist() for name in (ROW_ID, "id", "label", "payload"))
    return {row: FoundItem.of(*cells) for row, *cells in zip(*columns, strict=True)}
