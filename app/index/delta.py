"""The rows written since a snapshot: appended, never moved under a reader, searched exactly."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from app.index.bitmap import Bitmap, Positions
from app.index.block import VectorBlock, as_indexed
from app.index.protocol import RowIds, Vectors
from models.portable import Distance

_SMALLEST = 256  # slots


class Delta:
    """A growing block. One writer at a time; every block handed out stays as it was.

    Slots are only ever added, so a block over the first n stays valid while later ones are filled. When the buffers are
    full, what can still be found moves to new ones, which also drops what was replaced or removed.
    """

    def __init__(self, metric: Distance, dimension: int) -> None:
        self._metric = metric
        self._rows: RowIds = np.empty(0, np.int64)
        self._vectors: Vectors = np.empty((0, dimension), np.float32)
        self._versions: RowIds = np.empty(0, np.int64)
        self._slot: dict[int, int] = {}
        self.block = VectorBlock(self._rows, self._vectors, Bitmap.full(0), np.empty(0, np.int64), 0.0)

    @property
    def versions(self) -> RowIds:
        """The version of each of the block's rows: (n,) int64."""
        return self._versions[: len(self.block.rows)]

    @property
    def nbytes(self) -> int:
        return 2 * self._rows.nbytes + self._vectors.nbytes + self.block.ranked.bits.nbytes

    def replace(self, gone: RowIds, rows: RowIds, vectors: Vectors, version: int) -> None:
        """Takes out those of the rows `gone` (g,) that are here, then adds others, all of them in `gone`.

        rows: (n,), no id twice, as of `version`, with vectors (n, d). Raises ValueError as `as_indexed`; nothing is
        changed then.
        """
        units, ranked, longest = as_indexed(vectors, self._metric)
        self.block = self.block.without(self._slots(gone))
        for row in gone.tolist():
            self._slot.pop(row, None)
        if len(rows):
            self._append(rows, units, np.full(len(rows), version), ranked, longest)

    def only(self, rows: RowIds) -> Delta:
        """A delta of its own with those of the rows that can be found here, to the bit as they are."""
        other, slots = Delta(self._metric, self._vectors.shape[1]), self._slots(rows)
        block = self.block
        ranked = block.ranked.has(slots)
        other._append(block.rows[slots], block.vectors[slots], self._versions[slots], ranked, block.longest)
        return other

    def _append(
        self, rows: RowIds, vectors: Vectors, versions: RowIds, ranked: npt.NDArray[np.bool_], longest: float
    ) -> None:
        if len(self.block.rows) + len(rows) > len(self._rows):
            self._move(len(rows))
        block = self.block
        start, end = len(block.rows), len(block.rows) + len(rows)
        self._rows[start:end], self._vectors[start:end], self._versions[start:end] = rows, vectors, versions
        self._slot.update(zip(rows.tolist(), range(start, end), strict=True))
        self.block = VectorBlock(
            self._rows[:end],
            self._vectors[:end],
            block.ranked.with_more(ranked),
            np.concatenate([block.zeros, start + np.flatnonzero(~ranked)]),
            max(block.longest, longest),
        )

    def _move(self, more: int) -> None:
        kept = np.sort(np.concatenate([self.block.ranked.members(), self.block.zeros]))
        ranked = self.block.ranked.has(kept)
        capacity = max(_SMALLEST, 2 * (len(kept) + more))
        rows, versions = np.empty(capacity, np.int64), np.empty(capacity, np.int64)
        vectors = np.empty((capacity, self._vectors.shape[1]), np.float32)
        for new, old in ((rows, self._rows), (versions, self._versions), (vectors, self._vectors)):
            new[: len(kept)] = old[kept]
        self._rows, self._vectors, self._versions = rows, vectors, versions
        self._slot = {row: slot for slot, row in enumerate(rows[: len(kept)].tolist())}
        self.block = VectorBlock(
            rows[: len(kept)],
            vectors[: len(kept)],
            Bitmap.of(ranked),
            np.flatnonzero(~ranked),
            self.block.longest,
        )

    def _slots(self, rows: RowIds) -> Positions:
        slots = (self._slot.get(row) for row in rows.tolist())
        return np.array([slot for slot in slots if slot is not None], np.int64)
