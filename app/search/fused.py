"""The fused route: every item is scored by the old query on its old vector and by the new query on its new one.

Over the untouched gallery, one query to the old index where the crossing is pushed into it exactly; else candidates by
that query, scored by both on the crossed vectors. Over a transformed generation, candidates from its own index and from
that of the generation it was derived from, which are looked into until no other item can be among the best (the
threshold algorithm; Fagin, Lotem and Naor, Optimal aggregation algorithms for middleware, 2003).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.artifacts.cascade import has_cascade, open_cascade
from app.artifacts.crossings import Crossing, open_crossing
from app.artifacts.folder import UpgradeArtifacts
from app.galleries.info import GalleryInfo, GenerationInfo
from app.galleries.service import Galleries
from app.index import PADDING, Hits, RowIds, RowPositions, VectorIndex, Vectors, as_indexed, best_of, candidate_scores
from app.search.live import LivePair
from app.search.reranking import CascadeSource, Reranking
from models.portable import Distance, Fusion, PushedFusion

_CANDIDATES = 100  # that are scored over an untouched gallery, and more where many answers are wanted:
_CANDIDATES_AN_ANSWER = 4
_LOOKED_AT, _MOST_LOOKED_AT, _GROWTH = 64, 4_096, 4  # in each of two indexes: at first, at most, and what comes next
_SCORED_AT_ONCE = 200_000  # candidates of all queries together, which bounds memory

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FusedQueries:
    """The same questions as both models see them: old (m, d_old), new (m, d_new) float32, none zero under cosine."""

    old: Vectors
    new: Vectors

    def __len__(self) -> int:
        return len(self.new)

    def take(self, which: npt.NDArray[np.int64]) -> FusedQueries:
        """Some of them, by their places."""
        return FusedQueries(self.old[which], self.new[which])

    def batches(self, candidates: int) -> list[npt.NDArray[np.int64]]:
        """The places of all of them, in as many parts as so many candidates of each take; one part at least."""
        parts = max(1, -(-len(self) * candidates // _SCORED_AT_ONCE))
        return np.array_split(np.arange(len(self)), parts)


@dataclass(frozen=True)
class FusedSource:
    """Where fused queries are searched. artifacts: of the upgrade that learned the crossing and the fusion; old: the
    generation in the old model's space, and effort how hard its index must look for queries that are not its own."""

    info: GalleryInfo
    artifacts: UpgradeArtifacts
    fusion: Fusion
    old: GenerationInfo
    effort: int | None = None


@dataclass(frozen=True)
class FusedHits:
    """The best rows of each query, with their fused scores. exact: whether no other row can be among them; note: what
    is approximated, where something is."""

    hits: Hits
    exact: bool
    note: str | None


class SearchByBoth:
    """Searches by both models."""

    def __init__(self, galleries: Galleries, reranking: Reranking) -> None:
        """reranking: keeps what it has transformed of candidates."""
        self._galleries = galleries
        self._reranking = reranking

    def untouched(
        self, source: FusedSource, index: VectorIndex, queries: FusedQueries, k: int, allowed: RowIds | None
    ) -> FusedHits:
        """The k best items of a gallery whose index holds old vectors alone."""
        crossing = open_crossing(source.artifacts, source.fusion.source, source.fusion.target)
        pushed = source.fusion.push(queries.old, queries.new, crossing.plain)
        cascade = open_cascade(source.artifacts) if has_cascade(source.artifacts) else None
        if cascade is None and pushed.exact:
            hits = index.search(pushed.queries, k, score_as=pushed.score, allowed=allowed, effort=source.effort)
            return FusedHits(_fused_scores(hits, pushed), True, None)
        candidates = max(_CANDIDATES, _CANDIDATES_AN_ANSWER * k)
        if cascade is not None:
            candidates = max(candidates, cascade.candidates(k))
        parts, whole = [], True
        for part in queries.batches(candidates):
            nearest = index.search(
                pushed.queries[part], candidates, score_as=pushed.score, allowed=allowed, effort=source.effort
            )
            whole = whole and (candidates >= len(index) or bool((nearest.rows[:, -1] == PADDING).all()))
            parts.append(self._reranked(source, crossing, index, queries.take(part), nearest.rows, k))
        note = f"{candidates} candidates, proposed by both models over the old vectors, were scored by both in full"
        return FusedHits(_joined(parts), whole, None if whole else note)

    def derived(
        self,
        source: FusedSource,
        pair: LivePair,
        queries: FusedQueries,
        k: int,
        allowed: RowIds | None,
        effort: int | None,
    ) -> FusedHits:
        """The k best items of a transformed generation. effort: how hard its own index must look for new queries."""
        candidates = max(_LOOKED_AT, _CANDIDATES_AN_ANSWER * k)
        hits = Hits(np.full((len(queries), k), PADDING), np.full((len(queries), k), -np.inf, np.float32))
        pending = np.arange(len(queries))
        while True:
            unsure = []
            for part in queries.take(pending).batches(2 * candidates):
                asked = pending[part]
                few = queries.take(asked)
                old = pair.parent.search(few.old, candidates, allowed=allowed, effort=source.effort)
                new = pair.derived.search(few.new, candidates, allowed=allowed, effort=effort)
                rows = _union(old.rows, new.rows)
                fused, rest = _scored(source.fusion, pair, few, rows, (old, new))
                best = best_of(rows, fused, rows != PADDING, k, "ip")
                hits.rows[asked], hits.scores[asked] = best.rows, best.scores
                unsure.append(asked[_kth(rows, fused, k) < rest])
            pending = np.concatenate(unsure)
            if not len(pending):
                return FusedHits(hits, True, None)
            if candidates >= _MOST_LOOKED_AT:
                break
            candidates = min(_GROWTH * candidates, _MOST_LOOKED_AT)
        note = (
            f"of {len(pending)} of {len(queries)} queries, the nearest {candidates} items by each of the two models do "
            "not rule out that another is among the best by both"
        )
        return FusedHits(hits, False, note)

    def _reranked(
        self,
        source: FusedSource,
        crossing: Crossing,
        index: VectorIndex,
        queries: FusedQueries,
        candidates: RowIds,
        k: int,
    ) -> Hits:
        """The k best of each query's candidates (m, c), by both models."""
        rows = np.unique(candidates[candidates != PADDING])
        items = self._galleries.store(source.info).items
        old = CascadeSource(items, index, crossing, source.fusion.target.metric)
        name = (source.info.folder, str(source.old.number), source.artifacts.folder.name)
        transformed, places = self._reranking.transformed(name, old, rows), RowPositions(rows).located(candidates)
        s_old = _similarities(queries.old, index.held(rows).vectors, places, source.fusion.source.metric)
        s_new = _similarities(queries.new, transformed, places, source.fusion.target.metric)
        fused = source.fusion.scores(queries.old, queries.new, s_old, s_new)
        return best_of(candidates, fused, candidates != PADDING, k, "ip")


def _fused_scores(hits: Hits, pushed: PushedFusion) -> Hits:
    """The scores of the old index as fused ones."""
    scores = np.square(hits.scores, dtype=np.float64) if pushed.score == "l2" else hits.scores
    fused = pushed.scale[:, None] * scores + pushed.offset[:, None]
    return Hits(hits.rows, fused.astype(np.float32))


def _similarities(queries: Vectors, vectors: Vectors, places: npt.NDArray[np.int64], metric: Distance) -> Scores:
    """How near each query (m, d) is to its candidates, higher is nearer: (m, c) float64.

    vectors: (n, d), as indexed; places: (m, c) of the candidates among them, -1 for none.
    """
    if not len(vectors):
        return np.zeros(places.shape)
    scores = candidate_scores(as_indexed(queries, metric)[0], vectors, places, metric)
    return _nearness(scores, metric)


def _nearness(scores: Vectors, metric: Distance) -> Scores:
    """An index's scores as fusions take them: of distances, their squares negated; float64."""
    return -np.square(scores, dtype=np.float64) if metric == "l2" else scores.astype(np.float64)


def _union(first: RowIds, second: RowIds) -> RowIds:
    """The candidates (m, c) and (m, c) of each query in one array (m, 2c), none twice; padded."""
    rows = np.sort(np.concatenate([first, second], axis=1), axis=1)
    rows[:, 1:][rows[:, 1:] == rows[:, :-1]] = PADDING
    return rows


def _scored(
    fusion: Fusion, pair: LivePair, queries: FusedQueries, candidates: RowIds, found: tuple[Hits, Hits]
) -> tuple[Scores, Scores]:
    """The fused score of each query's candidates (m, c), of padding any; and of all others what it is at most, (m,).

    found: what the old and the new queries found, of which the candidates are all. Any other item is no nearer to the
    old query than the last one found, nor to the new one, and may have no old vector at all. Fused scores grow with
    both.
    """
    rows = np.unique(candidates[candidates != PADDING])
    places = RowPositions(rows).located(candidates)
    old, new = pair.parent.held(rows), pair.derived.held(rows)
    s_old = _similarities(queries.old, old.vectors, places, fusion.source.metric)
    s_new = _similarities(queries.new, new.vectors, places, fusion.target.metric)
    if len(rows):
        s_old[(old.versions < 0)[places]] = np.nan  # written by the new model alone

    exhausted = [hits.rows[:, -1] == PADDING for hits in found]
    last_old, last_new = (
        _nearness(np.where(none_left, 0, hits.scores[:, -1]), space.metric)
        for hits, none_left, space in zip(found, exhausted, (fusion.source, fusion.target), strict=True)
    )
    scores = fusion.scores(
        queries.old,
        queries.new,
        np.column_stack([s_old, last_old, np.full(len(places), np.nan)]),
        np.column_stack([s_new, last_new, last_new]),
    )
    fused, rest = scores[:, :-2], scores[:, -2:]
    rest[exhausted[0], 0] = -np.inf  # every item with an old vector was found
    rest[exhausted[1]] = -np.inf  # every item was found
    return fused, rest.max(axis=1)


def _kth(rows: RowIds, fused: Scores, k: int) -> Scores:
    """The k-th best of each query's candidates, -inf where there are fewer: (m,)."""
    if rows.shape[1] < k:
        return np.full(len(rows), -np.inf)
    return np.partition(np.where(rows == PADDING, -np.inf, fused), -k, axis=1)[:, -k]


def _joined(parts: list[Hits]) -> Hits:
    return Hits(np.concatenate([part.rows for part in parts]), np.concatenate([part.scores for part in parts]))
