"""Looks row ids up in an array of row ids: at which position each stands."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from app.index.protocol import RowIds


class RowPositions:
    """Finds positions by binary search; where the ids do not ascend, by way of the order in which they do.

    rows: (n,) int64. Raises ValueError where an id is negative or appears twice.
    """

    def __init__(self, rows: RowIds) -> None:
        ascending = bool(np.all(rows[1:] > rows[:-1]))
        self._rows = rows
        self._order = None if ascending else np.argsort(rows, kind="stable")
        by_id = rows if self._order is None else rows[self._order]
        if len(rows) and by_id[0] < 0:
            raise ValueError(f"row ids are not negative: {by_id[0]}")
        twice = by_id[1:][by_id[1:] == by_id[:-1]]
        if len(twice):
            raise ValueError(f"row id {twice[0]} appears twice")

    @classmethod
    def ordered(cls, rows: RowIds, order: npt.NDArray[np.int64] | None) -> RowPositions:
        """Of rows (n,) known to be right, and the `order` (n,) in which they ascend, as it was found before."""
        known = cls.__new__(cls)
        known._rows, known._order = rows, order
        return known

    @property
    def order(self) -> npt.NDArray[np.int64] | None:
        """The positions (n,) in the order of their ids; None where they ascend already."""
        return self._order

    def positions(self, rows: RowIds) -> npt.NDArray[np.int64]:
        """Positions of those of the rows (m,) that are here, in the order asked."""
        located = self.located(rows)
        return located[located >= 0]

    def located(self, rows: RowIds) -> npt.NDArray[np.int64]:
        """The position of each of the rows, -1 where it is not here; an array of the same shape."""
        if not len(self._rows):
            return np.full(rows.shape, -1, np.int64)
        at = np.minimum(self._rows.searchsorted(rows, sorter=self._order), len(self._rows) - 1)
        if self._order is not None:
            at = self._order[at]
        return np.where(self._rows[at] == rows, at, -1)
