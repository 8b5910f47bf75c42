"""The rows written since a snapshot: appended, never moved under a reader."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from app.index.bitmap import Bitmap, Positions
from app.index.block import VectorBlock, as_indexed
from app.index.groups import Groups
from app.index.leading import Axes, ReducedRows
from app.index.numbered_rows import NumberedRows
from app.index.protocol import RowIds, Vectors
from models.portable import Distance

_SMALLEST = 256  # slots
_ROOM_MOST = 8  # times as many slots as rows are made for those to come, where there were as many before


class Delta:
    """A growing block. One writer at a time; every block handed out stays as it was.

    Slots are only ever added, so a block over the first n stays valid while later ones are filled. When the buffers are
    full, what can still be found moves to new ones, which also drops what was replaced or removed.
    """

    def __init__(self, metric: Distance, dimension: int, axes: Axes | None = None) -> None:
        """axes: by which the rows are searched; left out, by whole vectors, until `search_by`."""
        self._metric = metric
        self._axes = axes
        self._rows: RowIds = np.empty(0, np.int64)
        self._vectors: Vectors = np.empty((0, dimension), np.float32)
        self._reduced: Vectors = np.empty((0, axes.width if axes else 0), np.float32)
        self._versions: RowIds = np.empty(0, np.int64)
        self._room = 0  # slots at least, in the next buffers
        self.slots = NumberedRows.none()
        """At which position of the block each row that can be found stands; another object with each change."""
        self.block = VectorBlock(self._rows, self._vectors, Bitmap.full(0), np.empty(0, np.int64), 0.0)

    @property
    def versions(self) -> RowIds:
        """The version of each of the block's rows: (n,) int64."""
        return self._versions[: len(self.block.rows)]

    @property
    def nbytes(self) -> int:
        of_groups = self.block.groups.nbytes if self.block.groups else 0
        of_a_row: int = 16 + 4 * (self._vectors.shape[1] + self._reduced.shape[1])
        return of_a_row * len(self.block.rows) + self.block.ranked.bits.nbytes + of_groups

    def replace(self, gone: RowIds, rows: RowIds, vectors: Vectors, version: int) -> None:
        """Takes out those of the rows `gone` (g,) that are here, then adds others, all of them in `gone`.

        rows: (n,), no id twice, as of `version`, with vectors (n, d). Raises ValueError as `as_indexed`; nothing is
        changed then.
        """
        units, ranked, longest = as_indexed(vectors, self._metric)
        slots = self.slots.of(gone)
        self.block = self.block.without(slots[slots >= 0])
        self.slots = self.slots.without(gone)
        if len(rows):
            reduced = self._axes.reduce(units) if self._axes else np.empty((len(rows), 0), np.float32)
            self._append(rows, units, reduced, np.full(len(rows), version), ranked, longest)

    def search_by(self, axes: Axes, block: VectorBlock, reduced: Vectors) -> bool:
        """Has rows searched by these axes from now on, before whole vectors are looked at; whether that is so: not
        where they have moved to other buffers since `block` was handed out.

        reduced: (n, axes.width), of the vectors of that block, so that little is left to be done.
        """
        if block.vectors.base is not self._vectors:
            return False
        self._axes = axes
        known, end = len(reduced), len(self.block.rows)
        self._reduced = np.empty((len(self._rows), axes.width), np.float32)
        self._reduced[:known] = reduced
        self._reduced[known:end] = axes.reduce(self._vectors[known:end])
        self.block = dataclasses.replace(self.block, reduced=self._reduced_rows(end), groups=None)
        return True

    def search_in(self, groups: Groups, block: VectorBlock) -> bool:
        """Has the first rows looked for in their groups from now on, which were made of those of `block`; whether that
        is so: not where they have moved to other buffers since it was handed out, or are compared otherwise."""
        reduced, other = self.block.reduced, block.reduced
        if block.vectors.base is not self._vectors or (reduced and reduced.axes) is not (other and other.axes):
            return False
        self.block = dataclasses.replace(self.block, groups=groups)
        return True

    def only(self, rows: RowIds, *, grouped: bool) -> Delta:
        """A delta of its own with those of the rows that can be found here, to the bit as they are; in the groups that
        they are in here, or in none."""
        slots = self.slots.of(rows)
        slots = np.sort(slots[slots >= 0])  # those in groups are the first there too
        other = Delta(self._metric, self._vectors.shape[1], self._axes if len(slots) else None)
        other._room = min(len(self._rows), _ROOM_MOST * len(slots))
        block, reduced = self.block, self._reduced[slots]
        ranked, versions = block.ranked.has(slots), self._versions[slots]
        other._append(block.rows[slots], block.vectors[slots], reduced, versions, ranked, block.longest)
        if grouped:
            other.block = dataclasses.replace(other.block, groups=self._groups_of(slots))
        return other

    def _append(
        self,
        rows: RowIds,
        vectors: Vectors,
        reduced: Vectors,
        versions: RowIds,
        ranked: npt.NDArray[np.bool_],
        longest: float,
    ) -> None:
        if len(self.block.rows) + len(rows) > len(self._rows):
            self._move(len(rows))
        block = self.block
        start, end = len(block.rows), len(block.rows) + len(rows)
        self._rows[start:end], self._vectors[start:end], self._versions[start:end] = rows, vectors, versions
        if self._axes:
            self._reduced[start:end] = reduced
        self.slots = self.slots.numbered(rows, np.arange(start, end))
        self.block = VectorBlock(
            self._rows[:end],
            self._vectors[:end],
            block.ranked.with_more(ranked),
            np.concatenate([block.zeros, start + np.flatnonzero(~ranked)]),
            max(block.longest, longest),
            self._reduced_rows(end),
            block.groups,
        )

    def _move(self, more: int) -> None:
        kept: Positions = np.sort(np.concatenate([self.block.ranked.members(), self.block.zeros]))
        every = len(kept) == len(self.block.rows)
        ranked, groups = self.block.ranked.has(kept), self._groups_of(kept)
        capacity = max(_SMALLEST, 2 * (len(kept) + more), self._room)
        rows, versions = np.empty(capacity, np.int64), np.empty(capacity, np.int64)
        vectors = np.empty((capacity, self._vectors.shape[1]), np.float32)
        reduced = np.empty((capacity, self._reduced.shape[1]), np.float32)
        for new, old in (
            (rows, self._rows),
            (vectors, self._vectors),
            (reduced, self._reduced),
            (versions, self._versions),
        ):
            new[: len(kept)] = old[: len(kept)] if every else old[kept]
        self._rows, self._vectors, self._reduced, self._versions = rows, vectors, reduced, versions
        self.slots = NumberedRows.none().numbered(rows[: len(kept)], np.arange(len(kept)))
        self.block = VectorBlock(
            rows[: len(kept)],
            vectors[: len(kept)],
            Bitmap.of(ranked),
            np.flatnonzero(~ranked),
            self.block.longest,
            self._reduced_rows(len(kept)),
            groups,
        )

    def _groups_of(self, kept: Positions) -> Groups | None:
        """The groups of those of the rows at these positions (k,), ascending, that are in any: the first of them, as
        many as `Bitmap.after` takes."""
        groups = self.block.groups
        if groups is None or len(kept) == len(self.block.rows):
            return groups
        first = kept[: int(np.searchsorted(kept, groups.count)) & ~7]
        compared = self._reduced if self._axes else self._vectors
        return groups.only(first, compared[first]) if len(first) else None

    def _reduced_rows(self, end: int) -> ReducedRows | None:
        return ReducedRows(self._axes, self._reduced[:end]) if self._axes else None
