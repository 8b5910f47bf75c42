"""Answers queries: searches the index that a resolved search leads to, and joins what the items say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.artifacts.cascade import open_cascade
from app.artifacts.crossings import open_crossing
from app.artifacts.folder import UpgradeArtifacts
from app.artifacts.fusions import open_fusion
from app.artifacts.tuning import tuned_effort
from app.filters import Filter, FilteredRows
from app.galleries.info import GalleryInfo, GenerationInfo
from app.galleries.service import Galleries
from app.index import PADDING, Hits, RowIds, VectorIndex, Vectors
from app.problems import Unprocessable
from app.search.answers import Answers
from app.search.found_items import FoundItem, FoundItems
from app.search.fused import FusedQueries, FusedSource, SearchByBoth
from app.search.live import LiveIndexes
from app.search.reranking import CascadeSource, Reranking
from app.search.resolution import ResolvedSearch
from app.settings import Settings
from app.uploads import refuse_zero_queries
from models.portable import PushedQueries, Space


@dataclass(frozen=True)
class _Ranking:
    """The rows and scores nearest to each query. exact: whether the ranking is the route's own in full; note: what the
    answer tells users of it, where there is something to tell."""

    hits: Hits
    exact: bool
    note: str | None


class Search:
    """Search over every gallery."""

    def __init__(self, settings: Settings, galleries: Galleries, live: LiveIndexes) -> None:
        self._settings = settings
        self._galleries = galleries
        self._live = live
        self._reranking = Reranking(settings.cascade_memory_bytes)
        self._fused = SearchByBoth(galleries, self._reranking)
        self._found = FoundItems(settings.search_memory_bytes)
        self._filtered = FilteredRows(settings.filter_memory_bytes)

    def search(
        self,
        resolved: ResolvedSearch,
        k: int,
        vectors: Vectors,
        only: Filter | None = None,
        old_vectors: Vectors | None = None,
    ) -> Answers:
        """The k nearest items of each query; vectors: (n, d) float32, finite, of the dimension that was resolved.

        old_vectors: (n, d_old) likewise, those of the old model beside them, on the fused route and on no other.
        Raises Unprocessable for a zero query under cosine or more than is taken at once.
        """
        self._check_limits(k, len(vectors))
        if resolved.queries.metric == "cosine":
            refuse_zero_queries(vectors)
        info, route = resolved.gallery, resolved.route
        # The filter, the ranking and what is shown of each item are all of one version: no answer mixes two writes.
        if old_vectors is None:
            index = self._live.index(info, route.generation)
            ranking = self._ranked(resolved, index, vectors, k, self._allowed(info, only, index.version))
        else:
            index, ranking = self._ranked_by_both(resolved, FusedQueries(old_vectors, vectors), k, only)
        return Answers(
            gallery=info.id,
            model=resolved.queries.model,
            generation=route.generation,
            route=route.name,
            exact=ranking.exact,
            note=ranking.note,
            hits=ranking.hits,
            items=self._items(info, index, ranking.hits),
        )

    def warm(self, gallery: str) -> None:
        """Brings the active generation's index level with the items, so that the next search need not."""
        info = self._galleries.info(gallery)
        self._live.index(info, info.active)

    def _check_limits(self, k: int, queries: int) -> None:
        if k > self._settings.search_k_limit:
            raise Unprocessable(f"k is {k}; this service takes up to {self._settings.search_k_limit}.")
        if queries > self._settings.search_queries_limit:
            raise Unprocessable(
                f"{queries} queries in one request; this service takes up to {self._settings.search_queries_limit}."
            )

    def _ranked(
        self, resolved: ResolvedSearch, index: VectorIndex, vectors: Vectors, k: int, allowed: RowIds | None
    ) -> _Ranking:
        info, route, generation = resolved.gallery, resolved.route, resolved.generation
        if route.pushed is None:
            effort = self._own_effort(generation)
            return _Ranking(index.search(vectors, k, allowed=allowed, effort=effort), True, None)
        source, target = generation.space, resolved.queries
        artifacts = self._artifacts(route.pushed)
        effort = tuned_effort(artifacts, generation.index_name)
        crossing = open_crossing(artifacts, source, target)
        if route.name == "cascade":
            cascade = open_cascade(artifacts)
            old = CascadeSource(self._galleries.store(info).items, index, crossing, target.metric)
            name = (info.folder, str(route.generation), route.pushed)
            hits, whole = self._reranking.search(
                name, old, vectors, k, cascade.candidates(k), allowed=allowed, effort=effort
            )
            return _Ranking(hits, whole, None if whole else cascade.note(k))
        pushed = crossing.plain.push(vectors)
        hits = _search_pushed(index, pushed, k, target.metric, allowed, effort)
        note = pushed.reason if not pushed.exact else None
        return _Ranking(hits, pushed.exact, _alignment(source, target) if route.name == "compatible" else note)

    def _ranked_by_both(
        self, resolved: ResolvedSearch, queries: FusedQueries, k: int, only: Filter | None
    ) -> tuple[VectorIndex, _Ranking]:
        """The index of the generation that answers, and what is best by both models."""
        info, route, old_space = resolved.gallery, resolved.route, resolved.old_queries
        if old_space is None or route.pushed is None:
            raise ValueError(f"route {route.name} takes no vectors of an old model")
        if old_space.metric == "cosine":
            refuse_zero_queries(queries.old, "old_vector")
        artifacts = self._artifacts(route.pushed)
        fusion = open_fusion(artifacts, info.id, old_space, resolved.queries)
        old = info.generations[route.generation if route.beside is None else route.beside]
        if route.beside is None:
            source = FusedSource(info, artifacts, fusion, old, tuned_effort(artifacts, old.index_name))
            index = self._live.index(info, route.generation)
            allowed = self._allowed(info, only, index.version)
            found = self._fused.untouched(source, index, queries, k, allowed)
            return index, _Ranking(found.hits, found.exact, found.note)
        source = FusedSource(info, artifacts, fusion, old, self._own_effort(old))
        pair = self._live.pair(info, route.generation)
        allowed = self._allowed(info, only, pair.derived.version)
        effort = self._own_effort(resolved.generation)
        found = self._fused.derived(source, pair, queries, k, allowed, effort)
        return pair.derived, _Ranking(found.hits, found.exact, found.note)

    def _own_effort(self, generation: GenerationInfo) -> int | None:
        """How hard a generation's index must look for queries of its own model."""
        if generation.upgrade is None:
            return None
        return tuned_effort(self._artifacts(generation.upgrade), generation.index_name)

    def _artifacts(self, upgrade: str) -> UpgradeArtifacts:
        return UpgradeArtifacts(self._settings.artifacts_dir, upgrade)

    def _allowed(self, info: GalleryInfo, only: Filter | None, version: int) -> RowIds | None:
        """The row ids that a filter lets through as of a version of the items; None where there is no filter."""
        if only is None:
            return None
        return self._filtered.rows(info.folder, lambda: self._galleries.store(info).items, only, version)

    def _items(self, info: GalleryInfo, index: VectorIndex, hits: Hits) -> dict[int, FoundItem]:
        """What the rows found are, as of the version of the items that was searched; by row."""
        rows = np.unique(hits.rows[hits.rows != PADDING])
        versions = index.versions(rows)
        return self._found.of(info.folder, lambda: self._galleries.store(info).items, rows, versions, index.version)


def _search_pushed(
    index: VectorIndex, pushed: PushedQueries, k: int, metric: str, allowed: RowIds | None, effort: int | None
) -> Hits:
    """Searches the old index with pushed queries, and turns its scores into those of the new space."""
    hits = index.search(pushed.queries, k, score_as=pushed.score, allowed=allowed, effort=effort)
    offset = pushed.offset[:, None]
    if metric != "l2":
        return Hits(hits.rows, pushed.scale * hits.scores + offset)
    squared = pushed.scale * np.square(hits.scores) + offset
    return Hits(hits.rows, np.sqrt(np.maximum(squared, 0)).astype(np.float32))


def _alignment(source: Space, target: Space) -> str:
    if source.dimension == target.dimension:
        return f"vectors of {source.model} taken as they are: {target.model} was trained to land in their space"
    return f"vectors of {source.model} zero-padded from {source.dimension} to {target.dimension} dimensions"
