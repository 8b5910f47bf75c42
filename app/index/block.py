"""An immutable set of rows to search: the snapshot is one, the delta another."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.index.bitmap import Bitmap, Positions
from app.index.exact import MARGIN, PAIRS, Propose, Scan, attempt, nearest, padding, rounding
from app.index.leading import ReducedRows
from app.index.protocol import LONGEST, Hits, RowIds, Vectors
from models.portable import Distance

LEAST_REDUCED = 12_000  # rows, below which whole vectors are compared as soon as reduced ones
_LOOKED_AT_CLOSELY = 4  # times as many of the rows that reduced vectors propose as are needed of whole ones
_FEW = 16  # times that must fit into the rows, for reduced vectors to be of use


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class VectorBlock:
    """Rows at positions 0 … n - 1, of which some can be found.

    rows: (n,) int64 ids. vectors: (n or fewer, d) float32, unit under cosine; positions past their end have none.
    ranked: the positions that are compared with queries. zeros: those of findable rows without a direction, which come
    last. longest: no vector is longer. reduced: the vectors by fewer coordinates, where they are many and that helps.
    """

    rows: RowIds
    vectors: Vectors
    ranked: Bitmap
    zeros: Positions
    longest: float
    reduced: ReducedRows | None = None

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
        inside = (positions >= 0) & (positions < self.ranked.size)
        ranked = inside
        if self.ranked.count < self.ranked.size:
            ranked = np.zeros(len(positions), bool)
            ranked[inside] = self.ranked.has(positions[inside])
        return ranked | np.isin(positions, self.zeros) if len(self.zeros) else ranked

    def vectors_at(self, positions: Positions) -> Vectors:
        """The vectors at the positions (p,), as they are held: (p, d) float32."""
        vectors = np.zeros((len(positions), self.vectors.shape[1]), np.float32)
        has = positions < len(self.vectors)
        vectors[has] = self.vectors[positions[has]]
        return vectors

    def search(
        self,
        queries: Vectors,
        k: int,
        score: Distance,
        propose: Propose | None = None,
        floor: npt.NDArray[np.float32] | None = None,
    ) -> Hits:
        """The k nearest ranked rows to each query (m, d), as far as `propose` looks: left out, at all of them.

        floor: (m,) scores; where given, rows of a worse one may be left out.
        """
        fetch = looked_at_closely(k)
        if propose is not None or self.reduced is None or max(LEAST_REDUCED, _FEW * fetch) > self.ranked.count:
            return self._nearest(queries, k, score, propose or Scan(self.vectors, score))
        hits = padding(len(queries), k, score)
        by_leading, slack = self.reduced.propose(score, self.longest), rounding(queries, self.longest, score)
        for part in np.array_split(np.arange(len(queries)), max(1, -(-len(queries) * fetch // PAIRS))):
            few = queries[part]
            proposed = by_leading(few, fetch, self.ranked)
            least = None if floor is None else floor[part]
            best, sure = attempt(few, k, self.vectors, self.rows, score, slack[part], proposed, least)
            if not sure.all():
                unsure = self._nearest(few[~sure], k, score, Scan(self.vectors, score))
                best.rows[~sure], best.scores[~sure] = unsure.rows, unsure.scores
            hits.rows[part], hits.scores[part] = best.rows, best.scores
        return hits

    def _nearest(self, queries: Vectors, k: int, score: Distance, propose: Propose) -> Hits:
        return nearest(
            queries,
            k,
            vectors=self.vectors,
            rows=self.rows,
            score=score,
            longest=self.longest,
            selected=self.ranked,
            propose=propose,
        )


def looked_at_closely(k: int) -> int:
    """How many of the rows that reduced vectors find nearest are compared by whole ones, to find the k nearest."""
    return _LOOKED_AT_CLOSELY * (k + MARGIN)


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
