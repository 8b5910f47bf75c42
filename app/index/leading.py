"""Comparing with every row by a few of its coordinates, and with certainty that no near row is left out.

Vectors are turned so that most of their length lies in the first h of their coordinates, as embeddings have far fewer
directions than components (principal components, uncentred). Of the others only their length is kept, as one more
coordinate: then the inner product of two reduced vectors is never below that of the vectors themselves, nor is their
distance ever above (Cauchy–Schwarz), so that what is far by these is far.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.index.protocol import Vectors

_AT_ONCE = 8192  # rows reduced at once, in float64


@dataclass(frozen=True, slots=True, eq=False)
class Axes:
    """Directions (d, h) float64, orthonormal, in which vectors like those they were made of mostly lie."""

    directions: npt.NDArray[np.float64]

    @classmethod
    def of(cls, sample: Vectors, count: int) -> Axes:
        """The `count` directions in which a sample (s, d), s ≥ count, is longest."""
        wide = sample.astype(np.float64)
        _, weights = np.linalg.eigh(wide @ wide.T)
        return cls(np.linalg.qr(wide.T @ weights[:, ::-1][:, :count])[0])

    @property
    def width(self) -> int:
        """Length of reduced vectors."""
        return int(self.directions.shape[1]) + 1

    def reduce(self, vectors: Vectors) -> Vectors:
        """The vectors (n, d) in these directions, and the length of what is left of each: (n, h + 1) float32."""
        reduced = np.empty((len(vectors), self.width), np.float32)
        for start in range(0, len(vectors), _AT_ONCE):
            wide = vectors[start : start + _AT_ONCE].astype(np.float64)
            leading = wide @ self.directions
            left = np.einsum("nd,nd->n", wide, wide) - np.einsum("nh,nh->n", leading, leading)
            reduced[start : start + _AT_ONCE, :-1] = leading
            reduced[start : start + _AT_ONCE, -1] = np.sqrt(np.maximum(left, 0))
        return reduced


@dataclass(frozen=True, slots=True, eq=False)
class ReducedRows:
    """The vectors of a block by their leading coordinates: (n, h + 1) float32, as `axes` reduces them."""

    axes: Axes
    vectors: Vectors
