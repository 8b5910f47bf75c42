"""An immutable set of rows to search: the snapshot is one, the delta another."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.index.bitmap import Bitmap, Positions
from app.index.exact import Propose, Scan, nearest
from app.index.protocol import LONGEST, Hits, RowIds, Vectors
from models.portable import Distance


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class VectorBlock:
    """Rows at positions 0 … n - 1, of which some can be found.

    rows: (n,) int64 ids. vectors: (n or fewer, d) float32, unit under cosine; positions past their end have none.
    ranked: the positions that are compared with queries. zeros: those of findable rows without a direction, which come
    last. longest: no vector is longer.
    """

    rows: RowIds
    vectors: Vectors
    ranked: Bitmap
    zeros: Positions
    longest: float

    def __len__(self) -> int:
        """How many rows can be found."""
        return self.ranked.count + len(self.zeros)

    def without(self, positions: Positions) -> VectorBlock:
        """A block of these rows in which those at the positions (p,) can no longer be found."""
        if not len(positions):
            return self
        ranked = self.ranked.without(positions[positions < self.ranked.size])
        return dataclasses.replace(self, ranked=ranked, zeros=np.setdiff1d(self.zeros, positions))

    def only(self, positions: Positions) -> VectorBlock:
        """A block of these rows in which only those at the positions (p,) can be found."""
        ranked = self.ranked.only(positions[positions < self.ranked.size])
        # numpy sorts the positions, which may be most of a million, even where there is no zero to look for.
        zeros = self.zeros[np.isin(self.zeros, positions)] if len(self.zeros) else self.zeros
        return dataclasses.replace(self, ranked=ranked, zeros=zeros)

    def finds(self, positions: Positions) -> npt.NDArray[np.bool_]:
        """Whether the row at each of the positions (p,), -1 for none, can be found."""
        ranked = np.zeros(len(positions), bool)
        inside = (positions >= 0) & (positions < self.ranked.size)
        ranked[inside] = self.ranked.has(positions[inside])
        return ranked | np.isin(positions, self.zeros)

    def vectors_at(self, positions: Positions) -> Vectors:
        """The vectors at the positions (p,), as they are held: (p, d) float32."""
        vectors = np.zeros((len(positions), self.vectors.shape[1]), np.float32)
        has = positions < len(self.vectors)
        vectors[has] = self.vectors[positions[has]]
        return vectors

    def search(self, queries: Vectors, k: int, score: Distance, propose: Propose | None = None) -> Hits:
        """The k nearest ranked rows to each query (m, d), as far as `propose` looks: left out, at all of them."""
        return nearest(
            queries,
            k,
            vectors=self.vectors,
            rows=self.rows,
            score=score,
            longest=self.longest,
            selected=self.ranked,
            propose=propose or Scan(self.vectors, score),
        )


def as_indexed(vectors: Vectors, metric: Distance) -> tuple[Vectors, npt.NDArray[np.bool_], float]:
    """Vectors (n, d) as an index holds them, unit under cosine; whether each is ranked; the longest's length.

    Only a zero vector under cosine is not ranked. Lengths are summed in float64 row by row, so that a vector comes out
    the same whatever came with it. Raises ValueError where one is not finite or longer than LONGEST.
    """
    lengths = np.sqrt(np.square(vectors, dtype=np.float64).sum(axis=1))
    if not np.all(lengths <= LONGEST):
        raise ValueError(f"vectors must be finite and no longer than {LONGEST:g}")
    if metric != "cosine":
        return vectors, np.ones(len(vectors), bool), float(lengths.max(initial=0))
    ranked = lengths > 0
    units = vectors / (lengths if ranked.all() else np.where(ranked, lengths, 1))[:, None]
    return units.astype(np.float32), ranked, 1.0
