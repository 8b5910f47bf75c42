"""How far around their centroids groups of rows must be looked for, to find what an approximate index promises."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from app.index.block import VectorBlock
from app.index.exact import similarity_of
from app.index.groups import EXACT_REACH, Groups
from app.index.numbered_rows import NumberedRows
from app.index.protocol import Hits, Vectors
from models.portable import Distance

_K = 10  # recall is measured at
_QUERIES = 256  # of either kind
_LEAST = 0.05
_SHARE_MISSED = 0.5  # of what may be missed of the nearest rows, so that there is a margin
_SEED = 23


def reach_for(
    groups: Groups,
    delta: VectorBlock,
    slots: NumberedRows,
    published: Vectors,
    search: Callable[[Vectors, int], Hits],
    metric: Distance,
    recall: float,
) -> float:
    """The reach with which so much is found of the rows in a delta that are among the nearest of all.

    groups: of the delta's first rows. slots: where its rows stand. published: (n, d), n > 0, the vectors of the
    published rows, as indexed, that `search` finds the nearest of. Queries like these and queries like the delta's rows
    are tried, and what finds enough of either is taken.
    """
    random = np.random.default_rng(_SEED)
    like_published = published[random.integers(len(published), size=_QUERIES)]
    written = delta.ranked.members()
    like_written = delta.vectors[written[random.integers(len(written), size=_QUERIES)]]
    reaches = [
        _reach(groups, delta, slots, queries, search, metric, recall) for queries in (like_published, like_written)
    ]
    known = [reach for reach in reaches if reach is not None]
    return min(EXACT_REACH, max(_LEAST, *known)) if known else EXACT_REACH


def _reach(
    groups: Groups,
    delta: VectorBlock,
    slots: NumberedRows,
    queries: Vectors,
    search: Callable[[Vectors, int], Hits],
    metric: Distance,
    recall: float,
) -> float | None:
    """That which finds enough for these queries (m, d); None where nothing in the delta is near to any of them."""
    floors = search(queries, _K).scores[:, -1]
    found = delta.search(queries, _K + 1, metric, floor=floors)
    floor = similarity_of(floors, metric)
    near = (found.rows >= 0) & (similarity_of(found.scores, metric) > floor[:, None]) & np.isfinite(floor)[:, None]
    places = slots.of(np.where(near, found.rows, -1))
    vectors = delta.vectors_at(np.maximum(places, 0).ravel()).reshape(*places.shape, -1)
    near &= (vectors != queries[:, None, :]).any(axis=2)  # else a row would be found for itself
    query, place = np.nonzero(near)
    if not len(query):
        return None
    rows, compared = vectors[query, place], queries[query]
    if delta.reduced is not None:
        rows, compared = delta.reduced.axes.reduce(rows), delta.reduced.axes.reduce(compared)
    needed = groups.reach_to(compared, floor[query], metric, rows)
    return float(np.quantile(needed, 1 - _SHARE_MISSED * (1 - recall), method="higher"))
