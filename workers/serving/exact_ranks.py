"""At which ranks an exact search of a whole gallery would give some of its rows, without sorting out the others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.index import RowIds, Vectors, as_indexed, candidate_scores, one_thread
from models.portable import Array, Distance, PushedQueries
from models.side_by_side import blas_threads, side_by_side

_ROWS_AT_ONCE, _QUERIES_AT_ONCE = 8_192, 64


def exact_ranks(
    wanted: RowIds, own: NDArray[np.int64], pushed: PushedQueries, gallery: Array, metric: Distance
) -> NDArray[np.int64]:
    """The rank, from 1, of each row wanted by each pushed query in the whole gallery but its own row: (m, w) int64.

    wanted: (m, w) row numbers, -1 for none, whose rank is 0; own: (m,) row numbers, none of them wanted by its query,
    -1 for none. gallery: (n, d) float32, as given, of a space with this metric. Of equal scores the earlier row is
    ahead; under cosine, rows without a direction come last.
    """
    queries = np.ascontiguousarray(pushed.queries, np.float32)
    ahead, near = np.zeros(wanted.shape, np.int64), np.empty((len(own), wanted.shape[1] + 1), np.float32)
    blocks = [slice(start, start + _QUERIES_AT_ONCE) for start in range(0, len(queries), _QUERIES_AT_ONCE)]
    with side_by_side(blas_threads()) as threads:

        def look_up(block: slice) -> None:
            rows = np.column_stack([wanted[block], own[block]])
            named, place = np.unique(np.maximum(rows, 0), return_inverse=True)
            few = _Rows.of(gallery[named], metric)
            near[block] = few.nearness(queries[block], place.reshape(rows.shape), pushed.score)

        def count(block: slice) -> None:
            every = np.broadcast_to(np.arange(len(piece.vectors)), (len(queries[block]), len(piece.vectors)))
            scores = piece.nearness(queries[block], every, pushed.score)
            ahead[block] += _ahead(scores, start, wanted[block], near[block, :-1])

        for _ in threads.map(look_up, blocks):
            pass
        for start in range(0, len(gallery), _ROWS_AT_ONCE):
            piece = _Rows.of(gallery[start : start + _ROWS_AT_ONCE], metric)
            for _ in threads.map(count, blocks):
                pass
    least, mine, number = near[:, :-1], near[:, -1:], own[:, None]
    ahead -= (number >= 0) & ((mine > least) | ((mine == least) & (number < wanted)))
    return np.where(wanted < 0, 0, ahead + 1)


@dataclass(frozen=True)
class _Rows:
    """Rows as an index holds them. vectors: (p, d) float32; ranked: (p,) bool, False for those that come last."""

    vectors: Vectors
    ranked: NDArray[np.bool_]

    @classmethod
    def of(cls, rows: Array, metric: Distance) -> _Rows:
        vectors, ranked, _ = as_indexed(np.ascontiguousarray(rows, np.float32), metric)
        return cls(vectors, ranked)

    def nearness(self, queries: Vectors, positions: RowIds, score: Distance) -> Array:
        """How near each query's own positions (b, f) are, the nearer the higher: (b, f) float32; -inf for the last."""
        with one_thread():
            scores = candidate_scores(queries, self.vectors, positions, score)
        near = -scores if score == "l2" else scores
        if not self.ranked.all():
            near[~self.ranked[positions]] = -np.inf
        return near


def _ahead(near: Array, first: int, wanted: RowIds, least: Array) -> NDArray[np.int64]:
    """How many of some rows are ahead of each row wanted: (b, w) int64.

    near: (b, p) of these rows, which are numbered from `first` on; wanted, least: (b, w), row numbers and how near they
    are.
    """
    rows = near.shape[1]
    ordered, ahead = np.sort(near, axis=1), np.empty(wanted.shape, np.int64)
    for i, row in enumerate(ordered):
        beyond = row.searchsorted(least[i], "right")
        ahead[i] = rows - beyond
        itself = (wanted[i] >= first) & (wanted[i] < first + rows)
        for place in np.flatnonzero(beyond - row.searchsorted(least[i], "left") > itself).tolist():
            equal = first + np.flatnonzero(near[i] == least[i, place])
            ahead[i, place] += np.count_nonzero(equal < wanted[i, place])
    return ahead
