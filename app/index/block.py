"""An immutable set of rows to search: the snapshot is one, the delta another."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.index.bitmap import Bitmap, Positions
from app.index.exact import MARGIN, PAIRS, Propose, Scan, attempt, nearest, padding, rounding, similarity_of
from app.index.groups import EXACT_REACH, Groups, Near
from app.index.leading import ReducedRows
from app.index.protocol import LONGEST, Hits, RowIds, Vectors
from models.portable import Distance

LEAST_REDUCED = 12_000  # rows, below which whole vectors are compared as soon as reduced ones
_LOOKED_AT_CLOSELY = 4  # times as many of the rows that reduced vectors propose as are needed of whole ones
_FEW = 16  # times that must fit into the rows, for reduced vectors to be of use
_NEAR_AT_MOST = 0.5  # share of the rows that are in groups: above, all are as soon looked at


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class VectorBlock:
    """Rows at positions 0 … n - 1, of which some can be found.

    rows: (n,) int64 ids. vectors: (n or fewer, d) float32, unit under cosine; positions past their end have none.
    ranked: the positions that are compared with queries. zeros: those of findable rows without a direction, which come
    last. longest: no vector is longer. reduced: the vectors by fewer coordinates, where they are many and that helps.
    groups: the first of them, as they are compared (reduced or whole), so that not all need be looked at.
    """

    rows: RowIds
    vectors: Vectors
    ranked: Bitmap
    zeros: Positions
    longest: float
    reduced: ReducedRows | None = None
    groups: Groups | None = None

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
        exact: bool = True,
    ) -> Hits:
        """The k nearest ranked rows to each query (m, d), as far as `propose` looks: left out, at all of them.

        floor: (m,) scores; where given, rows of a worse one may be left out; and of those that are not worse some few
        as well, where the answer need not be `exact`.
        """
        fetch = looked_at_closely(k)
        many = max(LEAST_REDUCED, _FEW * fetch) <= self.ranked.count
        if propose is not None or not many or (self.reduced is None and (self.groups is None or floor is None)):
            return self._nearest(queries, k, score, propose or Scan(self.vectors, score))
        slack, parts = rounding(queries, self.longest, score), -(-len(queries) * fetch // PAIRS)
        if parts == 1:  # as it mostly is: to take apart and put together is not worth the time of a single query
            return self._certain(queries, k, score, fetch, slack, floor, exact)
        hits = padding(len(queries), k, score)
        for part in np.array_split(np.arange(len(queries)), max(1, parts)):
            least = None if floor is None else floor[part]
            best = self._certain(queries[part], k, score, fetch, slack[part], least, exact)
            hits.rows[part], hits.scores[part] = best.rows, best.scores
        return hits

    def _certain(
        self,
        queries: Vectors,
        k: int,
        score: Distance,
        fetch: int,
        slack: npt.NDArray[np.float64],
        floor: npt.NDArray[np.float32] | None,
        exact: bool,
    ) -> Hits:
        """What `_attempt` finds, and for queries that it leaves unsure, what whole vectors say."""
        hits, sure = self._attempt(queries, k, score, fetch, slack, floor, exact)
        if not sure.all():
            unsure = self._nearest(queries[~sure], k, score, Scan(self.vectors, score))
            hits.rows[~sure], hits.scores[~sure] = unsure.rows, unsure.scores
        return hits

    def _attempt(
        self,
        queries: Vectors,
        k: int,
        score: Distance,
        fetch: int,
        slack: npt.NDArray[np.float64],
        floor: npt.NDArray[np.float32] | None,
        exact: bool,
    ) -> tuple[Hits, npt.NDArray[np.bool_]]:
        """As `exact.attempt`, of what reduced vectors propose; a query of which groups are near looks into these."""
        compared = self.reduced.axes.reduce(queries) if self.reduced else queries
        # What is lost where reduced vectors are rounded to float32 is less than what float32 sums of d terms lose.
        lost = slack if self.reduced else np.zeros(len(queries))

        def attempted(which: npt.NDArray[np.bool_] | slice, near: Near | None) -> tuple[Hits, npt.NDArray[np.bool_]]:
            least = None if floor is None else floor[which]
            positions, bound = self._proposed(compared[which], fetch, score, near)
            proposed = positions, (bound + lost[which]).astype(np.float32)
            return attempt(queries[which], k, self.vectors, self.rows, score, slack[which], proposed, least)

        if self.groups is None or floor is None:
            return attempted(slice(None), None)
        reach = EXACT_REACH if exact else self.groups.reach
        near = self.groups.near(compared, similarity_of(floor, score) - slack - lost, score, reach)
        few = near.share <= _NEAR_AT_MOST
        if few.all():
            return attempted(slice(None), near)
        hits, sure = padding(len(queries), k, score), np.zeros(len(queries), bool)
        for which, look in ((few, near.of(few)), (~few, None)):
            if which.any():
                best, sure[which] = attempted(which, look)
                hits.rows[which], hits.scores[which] = best.rows, best.scores
        return hits, sure

    def _proposed(
        self, compared: Vectors, fetch: int, score: Distance, near: Near | None
    ) -> tuple[Positions, npt.NDArray[np.float32]]:
        """As `exact.Propose`, for queries as rows are compared: among all, or those of groups that are near and those
        that are in no group yet."""
        vectors = self.reduced.vectors if self.reduced else self.vectors
        if near is None or self.groups is None:
            return Scan(vectors, score)(compared, fetch, self.ranked)
        grouped = self.groups.propose(compared, fetch, self.ranked, near, score)
        start = self.groups.count
        rest = self.ranked.after(start)
        if not rest.count:
            return grouped
        positions, bound = Scan(vectors[start:], score)(compared, fetch, rest)
        positions = np.where(positions < 0, positions, positions + start)
        return np.concatenate([grouped[0], positions], axis=1), np.maximum(grouped[1], bound)

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
