"""Rows that were written again with the vectors that a snapshot holds of them already: only their version moved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.index.protocol import RowIds
from app.index.row_positions import RowPositions


@dataclass(frozen=True, slots=True, eq=False)
class Restamps:
    """rows: (n,) int64, ascending; versions: (n,) int64, as of which each was last written."""

    rows: RowIds
    versions: RowIds

    @classmethod
    def none(cls) -> Restamps:
        return cls(np.empty(0, np.int64), np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self.rows)

    def written(self, rows: RowIds, version: int) -> Restamps:
        """With these rows (m,), none twice, as of a version, whatever was known of them."""
        if not len(rows):
            return self
        others = self.without(rows)
        every = np.concatenate([others.rows, np.sort(rows)])
        order = np.argsort(every, kind="stable")  # which is fast with two runs
        versions = np.concatenate([others.versions, np.full(len(rows), version)])
        return Restamps(every[order], versions[order])

    def without(self, rows: RowIds) -> Restamps:
        """Without these rows (m,), some of which may not be here."""
        if not len(rows) or not len(self.rows):
            return self
        kept = np.ones(len(self.rows), bool)
        kept[RowPositions.ordered(self.rows, None).positions(rows)] = False
        return Restamps(self.rows[kept], self.versions[kept])

    def after(self, version: int) -> Restamps:
        """Those written after a version."""
        later = self.versions > version
        return Restamps(self.rows[later], self.versions[later])

    def over(self, rows: RowIds, versions: RowIds) -> None:
        """Writes into `versions` (m,), in place, those of the rows (m,) that are here."""
        places = RowPositions.ordered(self.rows, None).located(rows)
        here = places >= 0
        versions[here] = self.versions[places[here]]
