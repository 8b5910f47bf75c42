"""The reranked route: the candidates of another route, ranked by the vectors that the new model really makes of them.

Those vectors are kept as the items' own, so that a gallery is backfilled by what is searched for. Where they are not to
be had in time, or within the budget, the other route answers as it would have.
"""

from __future__ import annotations

import numpy as np

from app.galleries.service import Galleries
from app.index import PADDING, Hits, RowIds, RowPositions, VectorIndex, Vectors, as_indexed, best_of, candidate_scores
from app.problems import Unprocessable
from app.search.options import SearchOptions
from app.search.ranking import QueryPlaces, Rank, Ranking
from app.search.real_vectors import ItemSource, NoRealVectors, RealVectors
from app.search.resolution import ResolvedSearch
from app.settings import Settings

_MOST = 50_000
"""Candidates of all queries of a request together, which bounds memory."""


class RerankedSearch:
    """Ranks by real vectors. Its searches run in threads of the event loop, for which `RealVectors` waits."""

    def __init__(self, settings: Settings, galleries: Galleries, real: RealVectors) -> None:
        self._candidates = settings.reranked_candidates
        self._galleries = galleries
        self._real = real

    def check(self, queries: int, k: int, options: SearchOptions) -> None:
        """Raises Unprocessable for what this route does not do."""
        if options.group_by is not None:
            raise Unprocessable.at(
                "Route `reranked` ranks a fixed number of candidates, which may be of few labels. Leave `group_by` "
                "out, or `route`.",
                **options.asking.place("group_by"),
            )
        if queries * max(k, self._candidates) > _MOST:
            raise Unprocessable.at(
                f"{queries} queries with {max(k, self._candidates)} candidates each are more than the {_MOST} that "
                "route `reranked` ranks at once. Send fewer queries at once, or a smaller k.",
                **options.asking.place("k"),
            )

    def rank(self, base: Rank, resolved: ResolvedSearch, index: VectorIndex, queries: Vectors) -> Rank:
        """How items are ranked for queries (n, d_new). base: how the route ranks them that proposes candidates, from
        the index, and answers in the place of this one where that cannot."""

        def ranked(which: QueryPlaces, k: int, allowed: RowIds | None) -> Ranking:
            found = base(which, max(k, self._candidates), allowed)
            try:
                return self._by_real_vectors(found, resolved, index, queries[which], k)
            except NoRealVectors as why:
                note = "; ".join(filter(None, (f"not reranked: {why}", found.note)))
                return Ranking(_cut(found.hits, k), found.exact, note)

        return ranked

    def _by_real_vectors(
        self, found: Ranking, resolved: ResolvedSearch, index: VectorIndex, queries: Vectors, k: int
    ) -> Ranking:
        """The k best of the candidates found. Raises NoRealVectors."""
        if resolved.embedder is None:
            raise ValueError(f"route {resolved.route.name} was not to be reranked")
        candidates, metric = found.hits.rows, resolved.queries.metric
        rows = np.unique(candidates[candidates != PADDING])
        items = self._galleries.store(resolved.gallery).items
        source = ItemSource(resolved.gallery, items, index.version, resolved.queries, resolved.embedder)
        real = self._real.of(source, rows)
        if len(rows) and not real.has.any():
            raise NoRealVectors("no candidate has a text to embed")
        scores = found.hits.scores
        if len(rows):
            places = RowPositions(rows[real.has]).located(candidates)
            vectors = as_indexed(real.vectors[real.has], metric)[0]
            own = candidate_scores(as_indexed(queries, metric)[0], vectors, places, metric)
            scores = np.where(places >= 0, own, scores)
        hits = best_of(candidates, scores, candidates != PADDING, k, metric)
        everything = candidates.shape[1] >= len(index) or bool((candidates[:, -1] == PADDING).all())
        if everything and real.has.all():
            return Ranking(hits, True, None, "reranked")
        return Ranking(hits, False, _note(resolved, candidates.shape[1], int((~real.has).sum())), "reranked")


def _cut(hits: Hits, k: int) -> Hits:
    return Hits(hits.rows[:, :k], hits.scores[:, :k])


def _note(resolved: ResolvedSearch, candidates: int, without: int) -> str:
    route, model = resolved.route.name, resolved.queries.model
    note = f"{candidates} candidates by `{route}` were ranked by the vectors that {model!r} made of their texts"
    if without:
        note += f"; {without} of them without a text were ranked by their score of `{route}`"
    return note
