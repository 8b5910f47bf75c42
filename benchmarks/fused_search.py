"""Every search that fusing two models' queries is compared with, over a whole gallery and exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.crossing import Task
from models.arrays import Codes
from models.evaluation.retrieval_metrics import top_k
from models.evaluation.score_blocks import Searched
from models.portable import Array, Distance, Fusion, Transformation, as_indexed
from models.proof.fused_scores import FusedSearch, alphas_for

BLOCK = 200  # queries scored at once
RRF_K, RRF_DEPTH = 60, 100

Hits = NDArray[np.bool_]
"""(m,) whether the first answer to each query has its label."""

Scoring = Callable[[slice], NDArray[np.float32] | NDArray[np.float64]]
"""Scores the gallery for the queries of a slice: (b, N), higher is nearer."""


@dataclass(frozen=True)
class HeldOutQueries:
    """The task's test queries, or some of them, and its gallery: every search of the comparison, exactly.

    rows: (m,) places among the task's queries.
    """

    task: Task
    rows: Codes

    @property
    def _code(self) -> tuple[Codes, Codes]:
        """Label codes of the queries (m,) and of the gallery (N,)."""
        assert self.task.queries.label is not None
        assert self.task.gallery.label is not None
        wanted, held = self.task.queries.label[self.rows], self.task.gallery.label
        codes = np.unique(np.concatenate([held, wanted]), return_inverse=True)[1]
        return codes[len(held) :], codes[: len(held)]

    @property
    def _queries(self) -> tuple[Array, Array]:
        return self.task.queries.old[self.rows], self.task.queries.new[self.rows]

    @property
    def _exclude(self) -> Codes | None:
        return None if self.task.exclude is None else self.task.exclude[self.rows]

    def hits(self, score: Scoring) -> Hits:
        """Whether the item that scores highest has the query's label."""
        wanted, held = self._code
        right = np.empty(len(self.rows), bool)
        for start in range(0, len(self.rows), BLOCK):
            part = slice(start, start + BLOCK)
            scores = score(part)
            if self._exclude is not None:
                scores[np.arange(len(scores)), self._exclude[part]] = -np.inf
            right[part] = held[scores.argmax(axis=1)] == wanted[part]
        return right

    def by_old(self, part: slice) -> Array:
        return scores_of(self._queries[0][part], self.task.gallery.old, self.task.source.metric)

    def by_new(self, vectors: Array, part: slice) -> Array:
        """Of the new queries with these vectors of the gallery, (N, d_new)."""
        return scores_of(self._queries[1][part], vectors, self.task.target.metric)

    def by_both(self, fusion: Fusion, vectors: Array, part: slice) -> NDArray[np.float64]:
        """As the exact form scores: vectors (N, d_new), crossed or real."""
        old, new = (queries[part] for queries in self._queries)
        s_old, s_new = self.by_old(part), self.by_new(vectors, part)
        return fusion.scores(old, new, s_old, s_new)

    def by_pushed(self, fusion: Fusion, instant: Transformation, part: slice) -> NDArray[np.float64]:
        """As an index of the old vectors answers the one query that both are fused into."""
        old_queries, new_queries = self._queries
        asked = fusion.push(old_queries[part], new_queries[part], instant)
        old = as_indexed(self.task.gallery.old, self.task.source.metric)
        answers = scores_of(asked.queries, old, asked.score)
        sign = 1 if asked.score == "ip" else -1
        return np.asarray(sign * asked.scale[:, None] * answers + asked.offset[:, None])

    def reciprocal_ranks(self, vectors: Array) -> Hits:
        """Reciprocal rank fusion of the old search and the crossing's (Cormack et al., SIGIR 2009)."""
        wanted, held = self._code
        old, new = self._queries
        gallery, exclude = self.task.gallery, self._exclude
        first = top_k(old, gallery.old, RRF_DEPTH, self.task.source.metric, exclude)
        second = top_k(new, vectors, RRF_DEPTH, self.task.target.metric, exclude)
        weight = 1.0 / (RRF_K + 1 + np.arange(RRF_DEPTH))
        right = np.empty(len(self.rows), bool)
        for query, (a, b) in enumerate(zip(first, second, strict=True)):
            items, place = np.unique(np.concatenate([b, a]), return_inverse=True)
            total = np.bincount(place, np.concatenate([weight, weight]))
            right[query] = held[items[total.argmax()]] == wanted[query]
        return right

    def curve(self, vectors: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The exact form at every α that a proof tries, (a,): the α's, and the share of queries that it answers."""
        wanted, held = self._code
        old, new = self._queries
        exclude = np.full((len(old), 1), -1) if self._exclude is None else self._exclude[:, None]
        search = FusedSearch(
            Searched(old, self.task.gallery.old, self.task.source.metric),
            Searched(new, vectors, self.task.target.metric),
            exclude,
        )
        alphas = alphas_for("cmc@1")
        return alphas, search.label_scores(wanted, held, alphas, "cmc@1")[:, :, 0].mean(axis=0)


def scores_of(queries: Array, gallery: Array, metric: Distance) -> Array:
    """(m, d) and (N, d) → (m, N): the cosine, the inner product or the negative squared distance."""
    queries, gallery = as_indexed(queries, metric), as_indexed(gallery, metric)
    products = queries @ gallery.T
    if metric != "l2":
        return np.asarray(products, np.float32)
    squares = np.square(queries).sum(axis=1)[:, None] + np.square(gallery).sum(axis=1)
    return np.asarray(2 * products - squares, np.float32)
