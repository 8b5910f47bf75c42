"""Which rows are nearest to queries, whatever the route: what a ranking is, and what may be left out of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from app.index import PADDING, Hits, RowIds
from app.index.protocol import WORST
from app.search.routing import RouteName
from models.portable import Distance

QueryPlaces = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Ranking:
    """The rows and scores nearest to each query. exact: whether the ranking is the route's own in full; note: what the
    answer tells users of it, where there is something to tell; route: by which it came about, where that is not the one
    resolved."""

    hits: Hits
    exact: bool
    note: str | None
    route: RouteName | None = None


Rank = Callable[[QueryPlaces, int, RowIds | None], Ranking]
"""Ranks rows for those of its queries that are at these places, (m,): the k nearest of each among the rows allowed, all
of them where that is None, nearest first, as `VectorIndex.search` gives them."""


def without_own(rank: Rank, own: RowIds) -> Rank:
    """The same, but that no query finds the row that it was made of; own: that row of each of the queries, (n,)."""

    def others(which: QueryPlaces, k: int, allowed: RowIds | None) -> Ranking:
        ranking = rank(which, k + 1, allowed)
        rows, scores = ranking.hits.rows, ranking.hits.scores
        # What is found of itself goes to the end, and the end is cut off: else that is the one found too many.
        kept = np.argsort(rows == own[which][:, None], axis=1, kind="stable")[:, :k]
        line = np.arange(len(rows))[:, None]
        return replace(ranking, hits=Hits(rows[line, kept], scores[line, kept]))

    return others


def near_enough(hits: Hits, at_least: float | None, at_most: float | None, score: Distance) -> Hits:
    """The hits whose score is at least, or at most, so much; padding in the place of the others. score: what kind it
    is of."""
    if at_least is None and at_most is None:
        return hits
    far = np.zeros(hits.rows.shape, bool)
    if at_least is not None:
        far |= hits.scores.astype(np.float64) < at_least
    if at_most is not None:
        far |= hits.scores.astype(np.float64) > at_most
    return Hits(np.where(far, PADDING, hits.rows), np.where(far, np.float32(WORST[score]), hits.scores))
