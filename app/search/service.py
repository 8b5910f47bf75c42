"""Answers queries: finds the route, searches the index, and joins what the items say."""

import json
from typing import Any

import numpy as np

from app.galleries.crossings import open_crossing
from app.galleries.info import GalleryInfo
from app.galleries.service import Galleries
from app.index import PADDING, Hits, Rows, VectorIndex, Vectors
from app.lance_table import ROW_ID
from app.problems import NoRoute, Unprocessable
from app.registry.service import Models
from app.search.live import LiveIndexes
from app.search.routing import Route, find_route
from app.search.schemas import Filter, Hit, SearchAnswers
from app.settings import Settings
from app.upgrades.ways import Ways
from app.uploads import refuse_zero_queries
from models.portable import PushedQueries


class Search:
    """Search over every gallery."""

    def __init__(self, settings: Settings, models: Models, galleries: Galleries, ways: Ways, live: LiveIndexes) -> None:
        self._settings = settings
        self._models = models
        self._galleries = galleries
        self._ways = ways
        self._live = live

    def dimension(self, gallery: str, model: str) -> int:
        """What a query of this model must have, checked before its vector is read. Raises NotFound and NoRoute."""
        self._route(self._galleries.info(gallery), model)
        return self._models.get(model).dimension

    def search(self, gallery: str, model: str, k: int, vectors: Vectors, only: Filter | None = None) -> SearchAnswers:
        """The k nearest items of each query; vectors: (n, d) float32, finite, of the model's dimension.

        Raises NotFound, NoRoute, and Unprocessable for a zero query under cosine or more than is taken at once.
        """
        self._check_limits(k, len(vectors))
        info = self._galleries.info(gallery)
        route = self._route(info, model)
        if self._models.get(model).metric == "cosine":
            refuse_zero_queries(vectors)
        index = self._live.index(info, route.generation)
        allowed = self._allowed(info, only)
        pushed = self._pushed(info, model, route, vectors)
        if pushed is None:
            hits = index.search(vectors, k, allowed=allowed)
        else:
            hits = _search_pushed(index, pushed, k, self._models.get(model).metric, allowed)
        return SearchAnswers(
            gallery=gallery,
            model=model,
            generation=route.generation,
            route=route.name,
            exact=pushed is None or pushed.exact,
            note=None if pushed is None else self._note(info, model, route, pushed),
            results=self._joined(info, hits),
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

    def _route(self, info: GalleryInfo, model: str) -> Route:
        self._models.get(model)
        route = find_route(info, model, {}, {}) or find_route(
            info, model, self._ways.compatible(model), self._ways.crossable(info)
        )
        if route is None:
            raise NoRoute(self._ways.missing(info, model), gallery=info.id, generation=info.active, model=model)
        return route

    def _pushed(self, info: GalleryInfo, model: str, route: Route, vectors: Vectors) -> PushedQueries | None:
        if route.pushed is None:
            return None
        source, target = info.generations[route.generation].space, self._models.space(model)
        return open_crossing(self._settings.artifacts_dir / route.pushed, source, target).plain.push(vectors)

    def _note(self, info: GalleryInfo, model: str, route: Route, pushed: PushedQueries) -> str | None:
        if route.name != "compatible":
            return None if pushed.exact else pushed.reason
        source, target = info.generations[route.generation].space, self._models.space(model)
        if source.dimension == target.dimension:
            return f"vectors of {source.model} taken as they are: {model} was trained to land in their space"
        return f"vectors of {source.model} zero-padded from {source.dimension} to {target.dimension} dimensions"

    def _allowed(self, info: GalleryInfo, only: Filter | None) -> Rows | None:
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


def _search_pushed(index: VectorIndex, pushed: PushedQueries, k: int, metric: str, allowed: Rows | None) -> Hits:
    """Searches the old index with pushed queries, and turns its scores into those of the new space."""
    hits = index.search(pushed.queries, k, score_as=pushed.score, allowed=allowed)
    offset = pushed.offset[:, None]
    if metric != "l2":
        return Hits(hits.rows, pushed.scale * hits.scores + offset)
    squared = pushed.scale * np.square(hits.scores) + offset
    return Hits(hits.rows, np.sqrt(np.maximum(squared, 0)).astype(np.float32))


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
