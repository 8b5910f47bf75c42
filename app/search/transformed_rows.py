"""Transformed rows kept in memory: a row is transformed once, however many queries it is a candidate of."""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt

from app.index import RowIds, Vectors


class TransformedRows:
    """A direct-mapped table: row r can only stand in slot r mod n, so nothing is looked for, and memory is bounded.

    Row ids count up, so two rows share a slot only where there are more rows than slots; the later one takes it. A row
    is found under the version that it was kept under: one written since is not.
    """

    def __init__(self, dimension: int, bytes_at_most: int) -> None:
        slots = max(1, bytes_at_most // (4 * dimension + 16))
        self._lock = threading.Lock()
        self._rows, self._versions = np.full(slots, -1), np.full(slots, -1)
        self._vectors = np.empty((slots, dimension), np.float32)  # takes memory slot by slot, as it is written to

    @property
    def slots(self) -> int:
        """How many rows there is room for."""
        return len(self._rows)

    def vacant(self, rows: RowIds) -> npt.NDArray[np.bool_]:
        """Which of the rows (n,) would take no other's place: (n,) bool."""
        return np.asarray(self._rows[rows % len(self._rows)] < 0)

    def take(self, rows: RowIds, versions: RowIds) -> tuple[Vectors, npt.NDArray[np.bool_]]:
        """Vectors (n, d) of the rows (n,) as of the versions (n,), and which of them are here (n,) bool."""
        slots = rows % len(self._rows)
        with self._lock:
            here = (self._rows[slots] == rows) & (self._versions[slots] == versions)
            return self._vectors[slots], here

    def keep(self, rows: RowIds, versions: RowIds, vectors: Vectors) -> Vectors:
        """Keeps vectors (n, d) of the rows (n,), none twice, as of the versions (n,). Returns them, (n, d), with what
        was made first in the place of what another made meanwhile of the same row: the two may round differently."""
        _, last = np.unique((rows % len(self._rows))[::-1], return_index=True)
        chosen = len(rows) - 1 - last  # of rows that share a slot, one: its three parts must be of the same row
        slots = rows % len(self._rows)
        with self._lock:
            here = (self._rows[slots] == rows) & (self._versions[slots] == versions)
            standing = np.where(here[:, None], self._vectors[slots], vectors) if here.any() else vectors
            slots = slots[chosen]
            self._rows[slots], self._versions[slots] = rows[chosen], versions[chosen]
            self._vectors[slots] = standing[chosen]
        return standing
