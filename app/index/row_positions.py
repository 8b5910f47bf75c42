"""Looks row ids up in an array of row ids: at which position each stands."""

import numpy as np
import numpy.typing as npt

from app.index.protocol import RowIds


class RowPositions:
    """Finds positions by binary search; keeps a sorted copy only where the ids do not ascend already.

    rows: (n,) int64. Raises ValueError where an id is negative or appears twice.
    """

    def __init__(self, rows: RowIds) -> None:
        ascending = bool(np.all(rows[1:] > rows[:-1]))
        self._order = None if ascending else np.argsort(rows, kind="stable")
        self._sorted = rows if self._order is None else rows[self._order]
        if len(rows) and self._sorted[0] < 0:
            raise ValueError(f"row ids are not negative: {self._sorted[0]}")
        twice = self._sorted[1:][self._sorted[1:] == self._sorted[:-1]]
        if len(twice):
            raise ValueError(f"row id {twice[0]} appears twice")

    @property
    def nbytes(self) -> int:
        return 0 if self._order is None else self._order.nbytes + self._sorted.nbytes

    def positions(self, rows: RowIds) -> npt.NDArray[np.int64]:
        """Positions of those of the rows (m,) that are here, in the order asked."""
        located = self.located(rows)
        return located[located >= 0]

    def located(self, rows: RowIds) -> npt.NDArray[np.int64]:
        """The position of each of the rows, -1 where it is not here; an array of the same shape."""
        if not len(self._sorted):
            return np.full(rows.shape, -1, np.int64)
        at = np.searchsorted(self._sorted, rows).clip(max=len(self._sorted) - 1)
        here = self._sorted[at] == rows
        return np.where(here, at if self._order is None else self._order[at], -1)
