"""The labels of all items as of one version: what grouping by label looks rows up in."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from app.filters.expression import FilterField
from app.filters.field_block import FieldBlock, RowNumbers
from app.filters.sorted_values import NO_TEXT

LABEL = FilterField("label")
UNLABELLED = NO_TEXT


@dataclass(frozen=True)
class RowLabels:
    """Rows that have a label: rows (n,) int64, ascending; codes (n,) int32, equal where the labels are.

    allowed: what a search for these rows is restricted to; None where they are most of those that it may find, so that
    passing over the others afterwards is cheaper.
    """

    rows: RowNumbers
    codes: npt.NDArray[np.int32]
    allowed: RowNumbers | None

    @classmethod
    def of_blocks(cls, blocks: Iterable[FieldBlock]) -> RowLabels:
        """Those of all items, which lie in blocks with a column of their labels."""
        rows, codes, texts = [np.empty(0, np.int64)], [np.empty(0, np.int32)], [pa.array([], pa.large_string())]
        for block in blocks:
            strings = block.columns[LABEL].strings
            own = strings.codes(len(block.rows))[block.live]
            rows.append(block.rows[block.live])
            codes.append(np.where(own == UNLABELLED, UNLABELLED, own + sum(map(len, texts))).astype(np.int32))
            texts.append(strings.texts)
        # The same label in two blocks is one.
        alike = pa.chunked_array(texts).combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int32)
        every, code = np.concatenate(rows), np.concatenate(codes)
        labelled = code != UNLABELLED
        of_labelled, code = every[labelled], alike[code[labelled]]
        order = np.argsort(of_labelled, kind="stable")
        found = of_labelled[order]
        return cls(found, code[order], None if 2 * len(found) > len(every) else found)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def nbytes(self) -> int:
        """Memory that they take: as they are, and in the order of the codes."""
        return 2 * (self.rows.nbytes + self.codes.nbytes)

    def among(self, allowed: RowNumbers | None) -> RowLabels:
        """Those of the rows that a filter lets through; all of them without one."""
        if allowed is None:
            return self
        kept = np.isin(self.rows, allowed)
        return RowLabels(self.rows[kept], self.codes[kept], self.rows[kept])

    def of(self, rows: RowNumbers) -> npt.NDArray[np.int32]:
        """The code of each of the rows, UNLABELLED for one that is not among these; an array of the same shape."""
        if not len(self.rows):
            return np.full(rows.shape, UNLABELLED, np.int32)
        at = np.searchsorted(self.rows, rows).clip(max=len(self.rows) - 1)
        return np.where(self.rows[at] == rows, self.codes[at], np.int32(UNLABELLED))

    def with_code(self, code: int) -> RowNumbers:
        """The rows of one label, (m,)."""
        start, end = np.searchsorted(self._by_code[0], [code, code + 1])
        return self._by_code[1][start:end]

    def count(self, code: int) -> int:
        """How many rows have a label."""
        start, end = np.searchsorted(self._by_code[0], [code, code + 1])
        return int(end - start)

    def without(self, codes: Collection[int]) -> RowNumbers:
        """The rows of all labels but these, (m,)."""
        return self.rows[~np.isin(self.codes, np.fromiter(codes, np.int32, len(codes)))]

    @cached_property
    def _by_code(self) -> tuple[npt.NDArray[np.int32], RowNumbers]:
        order = np.argsort(self.codes, kind="stable")
        return self.codes[order], self.rows[order]
