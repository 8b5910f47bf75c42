"""The labels of all items as of one version, in memory: what grouping by label looks rows up in."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from app.index import RowIds
from app.storage.lance_table import ROW_ID, Table

_ROWS_AT_ONCE = 2**17
UNLABELLED = -1


@dataclass(frozen=True)
class RowLabels:
    """Rows that have a label: rows (n,) int64, ascending; codes (n,) int32, equal where the labels are.

    allowed: what a search for these rows is restricted to; None where they are most of those that it may find, so that
    passing over the others afterwards is cheaper.
    """

    rows: RowIds
    codes: npt.NDArray[np.int32]
    allowed: RowIds | None

    @classmethod
    def read(cls, items: Table, version: int) -> RowLabels:
        """Those of all items as of a version."""
        parts, labels = [np.empty(0, np.int64)], [pa.array([], pa.string())]
        for batch in items.scan(["label"], version=version, batch_rows=_ROWS_AT_ONCE):
            parts.append(batch.column(ROW_ID).to_numpy().astype(np.int64))
            labels.append(batch.column("label"))
        encoded = pa.chunked_array(labels).combine_chunks().dictionary_encode().indices
        codes = encoded.fill_null(UNLABELLED).to_numpy(zero_copy_only=False).astype(np.int32)
        every = np.concatenate(parts)
        order = np.argsort(every, kind="stable")
        every, codes = every[order], codes[order]
        labelled = codes != UNLABELLED
        rows = every[labelled]
        return cls(rows, codes[labelled], None if 2 * len(rows) > len(every) else rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def nbytes(self) -> int:
        """Memory that they take: as they are, and in the order of the codes."""
        return 2 * (self.rows.nbytes + self.codes.nbytes)

    def among(self, allowed: RowIds | None) -> RowLabels:
        """Those of the rows that a filter lets through; all of them without one."""
        if allowed is None:
            return self
        kept = np.isin(self.rows, allowed)
        return RowLabels(self.rows[kept], self.codes[kept], self.rows[kept])

    def of(self, rows: RowIds) -> npt.NDArray[np.int32]:
        """The code of each of the rows, UNLABELLED for one that is not among these; an array of the same shape."""
        if not len(self.rows):
            return np.full(rows.shape, UNLABELLED, np.int32)
        at = np.searchsorted(self.rows, rows).clip(max=len(self.rows) - 1)
        return np.where(self.rows[at] == rows, self.codes[at], np.int32(UNLABELLED))

    def with_code(self, code: int) -> RowIds:
        """The rows of one label, (m,)."""
        start, end = np.searchsorted(self._by_code[0], [code, code + 1])
        return self._by_code[1][start:end]

    def count(self, code: int) -> int:
        """How many rows have a label."""
        start, end = np.searchsorted(self._by_code[0], [code, code + 1])
        return int(end - start)

    def without(self, codes: Collection[int]) -> RowIds:
        """The rows of all labels but these, (m,)."""
        return self.rows[~np.isin(self.codes, np.fromiter(codes, np.int32, len(codes)))]

    @cached_property
    def _by_code(self) -> tuple[npt.NDArray[np.int32], RowIds]:
        order = np.argsort(self.codes, kind="stable")
        return self.codes[order], self.rows[order]


class KeptRowLabels:
    """The labels read last, up to `bytes_at_most` of them."""

    def __init__(self, bytes_at_most: int) -> None:
        self._most = bytes_at_most
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[int, RowLabels]] = OrderedDict()

    def of(self, gallery: str, items: Table, version: int) -> RowLabels:
        """The labels of a gallery's items as of a version. gallery: names the items' table."""
        with self._lock:
            known = self._kept.get(gallery)
            if known is not None and known[0] == version:
                self._kept.move_to_end(gallery)
                return known[1]
        labels = RowLabels.read(items, version)
        with self._lock:
            self._kept[gallery] = (version, labels)
            self._kept.move_to_end(gallery)
            while self._kept and sum(one.nbytes for _, one in self._kept.values()) > self._most:
                self._kept.popitem(last=False)
        return labels
