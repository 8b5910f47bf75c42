"""Row ids with a number each, such as the version or the place of a row: looked up, and changed, many at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.index.protocol import RowIds
from app.index.row_positions import RowPositions


@dataclass(frozen=True, slots=True, eq=False)
class NumberedRows:
    """rows: (n,) int64, ascending; numbers: (n,) int64, of each."""

    rows: RowIds
    numbers: npt.NDArray[np.int64]

    @classmethod
    def none(cls) -> NumberedRows:
        return cls(np.empty(0, np.int64), np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def nbytes(self) -> int:
        return self.rows.nbytes + self.numbers.nbytes

    def numbered(self, rows: RowIds, numbers: npt.NDArray[np.int64] | int) -> NumberedRows:
        """With these rows (m,), none twice, of these numbers (m,), or all of one, whatever they had before."""
        if not len(rows):
            return self
        others = self.without(rows)
        every = np.concatenate([others.rows, rows])
        order = np.argsort(every, kind="stable")  # which is fast where most are in order
        return NumberedRows(every[order], np.concatenate([others.numbers, np.broadcast_to(numbers, rows.shape)])[order])

    def without(self, rows: RowIds) -> NumberedRows:
        """Without these rows (m,), some of which may not be here."""
        if not len(rows) or not len(self.rows):
            return self
        gone = RowPositions.ordered(self.rows, None).positions(rows)
        if not len(gone):
            return self
        kept = np.ones(len(self.rows), bool)
        kept[gone] = False
        return NumberedRows(self.rows[kept], self.numbers[kept])

    def above(self, number: int) -> NumberedRows:
        """Those of a greater number."""
        above = self.numbers > number
        return NumberedRows(self.rows[above], self.numbers[above])

    def until(self, number: int) -> NumberedRows:
        """Those of that number or a smaller one."""
        until = self.numbers <= number
        return NumberedRows(self.rows[until], self.numbers[until])

    def of(self, rows: RowIds) -> npt.NDArray[np.int64]:
        """The number of each of the rows (m,), -1 where it is not here."""
        places = RowPositions.ordered(self.rows, None).located(rows)
        if not len(self.rows):
            return places
        return np.where(places >= 0, self.numbers[places], -1)

    def over(self, rows: RowIds, numbers: npt.NDArray[np.int64]) -> None:
        """Writes into `numbers` (m,), in place, those of the rows (m,) that are here."""
        if not len(self.rows):
            return
        own = self.of(rows)
        here = own >= 0
        numbers[here] = own[here]
