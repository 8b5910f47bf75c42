"""A column of vectors that some rows have and some lack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from app.storage.lance_table import vectors_of
from models.portable import Array


@dataclass(frozen=True)
class Partial:
    """values: (n, d) float32, zeros where absent (d is 0 while no row has any); has: (n,) bool."""

    values: Array
    has: NDArray[np.bool_]

    @classmethod
    def empty(cls, rows: int) -> Partial:
        return cls(np.zeros((rows, 0), np.float32), np.zeros(rows, bool))

    @classmethod
    def of(cls, table: pa.Table | pa.RecordBatch, column: str) -> Partial:
        """A column of a table; empty where the table has no such column."""
        absent = cls.empty(table.num_rows)
        return absent.filled(*vectors_of(table.column(column))) if column in table.schema.names else absent

    @classmethod
    def stacked(cls, parts: Sequence[Partial]) -> Partial:
        """Parts of one column, one after the other; none at all are no rows."""
        if not parts:
            return cls.empty(0)
        width = max((part.values.shape[1] for part in parts), default=0)
        values = [part.values if part.values.shape[1] else np.zeros((len(part.has), width)) for part in parts]
        return cls(np.concatenate(values).astype(np.float32, copy=False), np.concatenate([part.has for part in parts]))

    def filled(self, places: NDArray[np.int64], vectors: Array) -> Partial:
        """With `vectors` (m, d) at `places` (m,), except where there is a vector already."""
        fresh = ~self.has[places]
        if not fresh.any():
            return self
        values = self.values.copy() if self.values.shape[1] else np.zeros((len(self.has), vectors.shape[1]), np.float32)
        has = self.has.copy()
        values[places[fresh]] = vectors[fresh]
        has[places[fresh]] = True
        return Partial(values, has)
