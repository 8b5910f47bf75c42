"""Answers queries: searches the index that a resolved search leads to, and joins what the items say."""

from __future__ import annotations

from collections.abc import Callable
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
from app.galleries.traffic import ItemTraffic
from app.index import PADDING, Hits, RowIds, VectorIndex, Vectors
from app.problems import IndexLost, Unprocessable
from app.search.answers import Answers, ShownVectors
from app.search.found_items import FoundItem, FoundItems
from app.search.fused import FusedQueries, FusedSource, SearchByBoth
from app.search.grouping import grouped
from app.search.like import ExampleRows
from app.search.live import LiveIndexes, LivePair
from app.search.options import NO_OPTIONS, LikeItems, SearchOptions
from app.search.ranking import QueryPlaces, Rank, Ranking, near_enough, without_own
from app.search.reranked import RerankedSearch
from app.search.reranking import CascadeSource, Reranking
from app.search.resolution import ResolvedSearch
from app.settings import Settings
from app.uploads import refuse_zero_queries
from models.portable import Distance, PushedQueries, Space


@dataclass(frozen=True)
class _Opened:
    """The index that answers, and, where queries are compared with vectors of two models, the one that holds the old
    ones; both as of one version of the items."""

    index: VectorIndex
    pair: LivePair | None = None

    @property
    def old(self) -> VectorIndex:
        return self.index if self.pair is None else self.pair.parent


class Search:
    """Search over every gallery."""

    def __init__(
        self,
        settings: Settings,
        galleries: Galleries,
        live: LiveIndexes,
        filtered: FilteredRows,
        reranked: RerankedSearch,
        traffic: ItemTraffic,
    ) -> None:
        self._settings = settings
        self._galleries = galleries
        self._live = live
        self._reranking = Reranking(settings.cascade_memory_bytes)
        self._fused = SearchByBoth(galleries, self._reranking)
        self._found = FoundItems(settings.search_memory_bytes)
        self._filtered = filtered
        self._reranked = reranked
        self._traffic = traffic

    @property
    def works_ahead(self) -> bool:
        """Whether rows are being transformed that no query waits for."""
        return self._reranking.works_ahead

    def close(self) -> None:
        """Ends what is done beside searches."""
        self._reranking.close()

    def search(
        self,
        resolved: ResolvedSearch,
        k: int,
        vectors: Vectors,
        only: Filter | None = None,
        old_vectors: Vectors | None = None,
        options: SearchOptions = NO_OPTIONS,
    ) -> Answers:
        """The k nearest items of each query; vectors: (n, d) float32, finite, of the dimension that was resolved.

        old_vectors: (n, d_old) likewise, those of the old model beside them, on the fused route and on no other.
        Raises Unprocessable for a zero query under cosine, more than is taken at once, or options that the route has
        not.
        """
        self._check(resolved, k, len(vectors), options)
        for space, given, name in (
            (resolved.queries, vectors, "vector"),
            (resolved.old_queries, old_vectors, "old_vector"),
        ):
            if space is not None and given is not None and space.metric == "cosine":
                refuse_zero_queries(given, name)

        def answered() -> Answers:
            opened = self._opened(resolved)
            rank = self._rank(resolved, opened, vectors, old_vectors)
            return self._answers(resolved, opened.index, rank, len(vectors), k, only, options)

        return _not_of_a_lost_index(answered)

    def search_like(
        self,
        resolved: ResolvedSearch,
        k: int,
        like: LikeItems,
        only: Filter | None = None,
        options: SearchOptions = NO_OPTIONS,
    ) -> Answers:
        """The k items nearest to each of the examples, without itself.

        Raises as `search`, NotFound where an example is no item, and Unprocessable where it has no vector to search by.
        """
        self._check(resolved, k, len(like.ids), options)

        def answered() -> Answers:
            opened = self._opened(resolved)
            items = self._galleries.store(resolved.gallery).items
            examples = ExampleRows.find(like, items, opened.index.version, resolved.gallery.id)
            vectors, old_vectors = self._own_vectors(resolved, opened, examples)
            rank = without_own(self._rank(resolved, opened, vectors, old_vectors), examples.rows)
            return self._answers(resolved, opened.index, rank, len(like.ids), k, only, options)

        return _not_of_a_lost_index(answered)

    def warm(self, gallery: str) -> None:
        """Brings the active generation's index level with the items, so that the next search need not."""
        info = self._galleries.info(gallery)
        self._live.index(info, info.active)

    def _check(self, resolved: ResolvedSearch, k: int, queries: int, options: SearchOptions) -> None:
        if k > self._settings.search_k_limit:
            raise Unprocessable.at(
                f"k is {k}; this service takes up to {self._settings.search_k_limit}.", **options.asking.place("k")
            )
        if queries > self._settings.search_queries_limit:
            raise Unprocessable(
                f"{queries} queries in one request; this service takes up to {self._settings.search_queries_limit}."
            )
        if resolved.embedder is not None:
            self._reranked.check(queries, k, options)
        options.check_scores(resolved.queries, resolved.route.name)
        options.check_size(self._settings, queries, k, resolved.generation.space.dimension)

    def _opened(self, resolved: ResolvedSearch) -> _Opened:
        """What is searched, level with the items."""
        info, route = resolved.gallery, resolved.route
        if route.beside is None:
            return _Opened(self._live.index(info, route.generation))
        pair = self._live.pair(info, route.generation)
        return _Opened(pair.derived, pair)

    def _own_vectors(
        self, resolved: ResolvedSearch, opened: _Opened, examples: ExampleRows
    ) -> tuple[Vectors, Vectors | None]:
        """The examples as queries of the resolved model, and, on the fused route, of the old model."""
        info, route, space = resolved.gallery, resolved.route, resolved.queries
        old_vectors = None
        if resolved.old_queries is not None:
            old_vectors = examples.held_in(opened.old, resolved.old_queries)
        if route.pushed is None or route.beside is not None:
            vectors = examples.held_in(opened.index, space)
        else:
            crossing = open_crossing(self._artifacts(route.pushed), resolved.generation.space, space)
            source = CascadeSource(self._galleries.store(info).items, opened.index, crossing, space.metric)
            name = (info.folder, str(route.generation), route.pushed)
            vectors = examples.crossed(self._reranking, name, source, space)
        for one, given in ((space, vectors), (resolved.old_queries, old_vectors)):
            if one is not None and given is not None and one.metric == "cosine":
                examples.refuse_zeros(given)
        return vectors, old_vectors

    def _answers(
        self,
        resolved: ResolvedSearch,
        index: VectorIndex,
        rank: Rank,
        queries: int,
        k: int,
        only: Filter | None,
        options: SearchOptions,
    ) -> Answers:
        """What is found. The filter, the ranking and what is shown of each item are all of one version, that of the
        index: no answer mixes two writes."""
        info, route = resolved.gallery, resolved.route
        allowed = self._allowed(info, only, index.version)
        score: Distance = "ip" if route.name == "fused" else resolved.queries.metric
        if options.group_by is None:
            ranking = rank(np.arange(queries), k, allowed)
        else:
            labels = self._filtered.labels(info.folder, lambda: self._galleries.store(info).items, index.version)
            ranking = grouped(rank, queries, labels.among(allowed), k, options.group_size, score)
        hits = near_enough(ranking.hits, options.min_score, options.max_distance, score)
        answers = Answers(
            gallery=info.id,
            model=resolved.queries.model,
            generation=route.generation,
            route=ranking.route or route.name,
            exact=ranking.exact,
            note=ranking.note,
            hits=hits,
            items=self._items(info, index, hits, route.beside is None),
            group_size=options.group_size if options.group_by else None,
            shown=ShownVectors.of(hits, index, resolved.generation.space) if options.with_vectors else None,
        )
        self._traffic.found(info, hits.rows)  # last: what comes to something that takes long is done once more
        return answers

    def _rank(self, resolved: ResolvedSearch, opened: _Opened, vectors: Vectors, old_vectors: Vectors | None) -> Rank:
        """How the route ranks items for these queries, (n, d) and (n, d_old)."""
        if old_vectors is not None:
            return self._rank_by_both(resolved, opened, FusedQueries(old_vectors, vectors))
        if resolved.old_queries is not None:
            raise ValueError("the fused route takes vectors of an old model")

        def rank(which: QueryPlaces, k: int, allowed: RowIds | None) -> Ranking:
            return self._ranked(resolved, opened.index, vectors[which], k, allowed)

        return rank if resolved.embedder is None else self._reranked.rank(rank, resolved, opened.index, vectors)

    def _ranked(
        self, resolved: ResolvedSearch, index: VectorIndex, vectors: Vectors, k: int, allowed: RowIds | None
    ) -> Ranking:
        info, route, generation = resolved.gallery, resolved.route, resolved.generation
        if route.pushed is None:
            effort = self._own_effort(generation)
            return Ranking(index.search(vectors, k, allowed=allowed, effort=effort), True, None)
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
            return Ranking(hits, whole, None if whole else cascade.note(k))
        pushed = crossing.plain.push(vectors)
        hits = _search_pushed(index, pushed, k, target.metric, allowed, effort)
        note = pushed.reason if not pushed.exact else None
        return Ranking(hits, pushed.exact, _alignment(source, target) if route.name == "compatible" else note)

    def _rank_by_both(self, resolved: ResolvedSearch, opened: _Opened, queries: FusedQueries) -> Rank:
        """How items are ranked by both models."""
        info, route, old_space = resolved.gallery, resolved.route, resolved.old_queries
        if old_space is None or route.pushed is None:
            raise ValueError(f"route {route.name} takes no vectors of an old model")
        artifacts = self._artifacts(route.pushed)
        fusion = open_fusion(artifacts, info.id, old_space, resolved.queries)
        old = info.generations[route.generation if route.beside is None else route.beside]
        pair = opened.pair
        effort = tuned_effort(artifacts, old.index_name) if pair is None else self._own_effort(old)
        source = FusedSource(info, artifacts, fusion, old, effort)

        def ranked(which: QueryPlaces, k: int, allowed: RowIds | None) -> Ranking:
            few = queries.take(which)
            if pair is None:
                found = self._fused.untouched(source, opened.index, few, k, allowed)
            else:
                found = self._fused.derived(source, pair, few, k, allowed, self._own_effort(resolved.generation))
            return Ranking(found.hits, found.exact, found.note)

        return ranked

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

    def _items(self, info: GalleryInfo, index: VectorIndex, hits: Hits, found_in_index: bool) -> dict[int, FoundItem]:
        """What the rows found are, as of the version of the items that was searched; by row. found_in_index: whether
        every one of them was found in this very index, and none in another beside it."""
        rows = hits.rows[hits.rows != PADDING]
        if len(hits.rows) > 1:
            rows = np.sort(rows)  # rows that lie beside one another are sooner looked up
        versions = index.versions_found(rows) if found_in_index else index.versions(rows)
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


def _not_of_a_lost_index(answered: Callable[[], Answers]) -> Answers:
    """What is answered; once more where the index went meanwhile, as one does that another has taken the place of."""
    try:
        return answered()
    except IndexLost:
        return answered()
