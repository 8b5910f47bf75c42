"""Answers queries: finds the route, searches the index, and joins what the items say."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.artifacts.cascade import has_cascade, open_cascade
from app.artifacts.crossings import open_crossing
from app.artifacts.folder import UpgradeArtifacts
from app.artifacts.tuning import tuned_effort
from app.galleries.info import GalleryInfo
from app.galleries.service import Galleries
from app.index import PADDING, Hits, RowIds, VectorIndex, Vectors
from app.problems import NoRoute, Unprocessable
from app.registry.service import Models
from app.search.live import LiveIndexes
from app.search.reranking import CascadeSource, Reranking
from app.search.routing import AskedRoute, Route, choices, find_route
from app.search.schemas import Filter, Hit, SearchAnswers
from app.settings import Settings
from app.storage.lance_table import ROW_ID
from app.upgrades.accepted_crossings import CrossingRoutes
from app.uploads import refuse_zero_queries
from models.portable import PushedQueries, Space


@dataclass(frozen=True)
class _Found:
    """Rows and scores, whether the ranking is the route's own in full, and what to say of it."""

    hits: Hits
    exact: bool
    note: str | None


_ATTEMPTS = 3  # at a search between which and its answer items are deleted


class Search:
    """Search over every gallery."""

    def __init__(
        self, settings: Settings, models: Models, galleries: Galleries, ways: CrossingRoutes, live: LiveIndexes
    ) -> None:
        self._settings = settings
        self._models = models
        self._galleries = galleries
        self._ways = ways
        self._live = live
        self._reranking = Reranking(settings.cascade_memory_bytes)

    def dimension(self, gallery: str, model: str) -> int:
        """What a query of this model must have, checked before its vector is read. Raises NotFound and NoRoute."""
        self._route(self._galleries.info(gallery), model)
        return self._models.get(model).dimension

    def search(
        self,
        gallery: str,
        model: str,
        k: int,
        vectors: Vectors,
        only: Filter | None = None,
        route: AskedRoute | None = None,
    ) -> SearchAnswers:
        """The k nearest items of each query; vectors: (n, d) float32, finite, of the model's dimension.

        Raises NotFound, NoRoute (also where another route than the one asked for leads there), and Unprocessable for a
        zero query under cosine or more than is taken at once.
        """
        self._check_limits(k, len(vectors))
        info = self._galleries.info(gallery)
        taken = self._route(info, model, route)
        if self._models.get(model).metric == "cosine":
            refuse_zero_queries(vectors)
        for _ in range(_ATTEMPTS):
            index = self._live.index(info, taken.generation)
            found = self._found(info, model, taken, index, vectors, k, self._allowed(info, only))
            results = self._joined(info, found.hits)
            if sum(map(len, results)) == np.count_nonzero(found.hits.rows != PADDING):
                break  # else something found was deleted meanwhile: others take its place
        return SearchAnswers(
            gallery=gallery,
            model=model,
            generation=taken.generation,
            route=taken.name,
            exact=found.exact,
            note=found.note,
            results=results,
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

    def _route(self, info: GalleryInfo, model: str, asked: AskedRoute | None = None) -> Route:
        self._models.get(model)
        route = find_route(info, model, {}, {})
        if route is None:
            crossable = self._ways.crossable(info)
            cascades = {one for one in crossable.values() if has_cascade(self._artifacts(one))}
            route = find_route(info, model, self._ways.compatible(model), crossable, cascades)
        if route is None:
            raise NoRoute(self._ways.missing(info, model), gallery=info.id, generation=info.active, model=model)
        if asked is None or asked == route.name:
            return route
        if asked not in choices(route):
            raise NoRoute(
                f"Gallery {info.id!r} answers queries of {model!r} by `{route.name}`, and not by `{asked}`. Leave "
                "`route` out.",
                gallery=info.id,
                generation=route.generation,
                model=model,
                route=route.name,
            )
        return dataclasses.replace(route, name=asked)

    def _found(
        self,
        info: GalleryInfo,
        model: str,
        route: Route,
        index: VectorIndex,
        vectors: Vectors,
        k: int,
        allowed: RowIds | None,
    ) -> _Found:
        step = info.generations[route.generation]
        if route.pushed is None:
            effort = tuned_effort(self._artifacts(step.upgrade), step.index_name) if step.upgrade else None
            return _Found(index.search(vectors, k, allowed=allowed, effort=effort), True, None)
        source, target = step.space, self._models.space(model)
        artifacts = self._artifacts(route.pushed)
        effort = tuned_effort(artifacts, step.index_name)
        crossing = open_crossing(artifacts, source, target)
        if route.name == "cascade":
            cascade, old = (
                open_cascade(artifacts),
                CascadeSource(self._galleries.store(info).items, index, crossing, target.metric),
            )
            name = (info.folder, str(route.generation), route.pushed)
            hits, whole = self._reranking.search(
                name, old, vectors, k, cascade.candidates(k), allowed=allowed, effort=effort
            )
            return _Found(hits, whole, None if whole else cascade.note(k))
        pushed = crossing.plain.push(vectors)
        hits = _search_pushed(index, pushed, k, target.metric, allowed, effort)
        note = pushed.reason if not pushed.exact else None
        return _Found(hits, pushed.exact, _alignment(source, target) if route.name == "compatible" else note)

    def _artifacts(self, upgrade: str) -> UpgradeArtifacts:
        return UpgradeArtifacts(self._settings.artifacts_dir, upgrade)

    def _allowed(self, info: GalleryInfo, only: Filter | None) -> RowIds | None:
        """The row ids that a filter lets through; None where there is no filter."""
        if only is None or (only.ids is None and only.labels is None):
            return None
        conditions = [
            f"{column} IN ({', '.join(map(_quoted, values))})" if values else "false"
            for column, values in (("id", only.ids), ("label", only.labels))
            if values is not None
        ]
        found = self._galleries.store(info).items.where(" AND ".join(conditions), ["id"])
        return np.asarray(found.column(ROW_ID).to_numpy(), np.int64)

    def _joined(self, info: GalleryInfo, hits: Hits) -> list[list[Hit]]:
        """Rows and scores as items. One deleted since the search began is left out."""
        rows = np.unique(hits.rows[hits.rows != PADDING])
        table = self._galleries.store(info).items.by_row(rows, ["id", "label", "payload"])
        items: dict[int, dict[str, Any]] = {row[ROW_ID]: row for row in table.to_pylist()}
        return [
            [
                Hit(
                    id=item["id"],
                    score=score,
                    label=item["label"],
                    payload=None if item["payload"] is None else json.loads(item["payload"]),
                )
                for row, score in zip(found, scores, strict=True)
                if (item := items.get(row)) is not None
            ]
            for found, scores in zip(hits.rows.tolist(), hits.scores.tolist(), strict=True)
        ]


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


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
