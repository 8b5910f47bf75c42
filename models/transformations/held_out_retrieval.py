"""Held-out retrieval: how well new queries find old rows transformed by a model that did not learn from them.

The gallery consists of the held-out rows of all folds, each transformed by the model fitted without its fold. A row
that was learned from would lie closer to its new vector than a real gallery row does, which would favour overfitting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.arrays import Floats, RowNumbers
from models.evaluation.retrieval_metrics import NEIGHBOURS, cmc, ranks_of_first_match, recall_at_k, top_k
from models.portable import Array, Space, Transformation, as_indexed
from models.training.threads import fits_side_by_side
from models.transformations.labels import codes_of
from models.transformations.pairs import Pairs, Refit

MANY = 5_000  # pairs from which on one split is enough; below, every pair is held out once
SELECTION_FOLDS = 5
MOST_HELD_OUT = 5_000
MOST_QUERIES = 4_000


@dataclass(frozen=True)
class RetrievalScores:
    """Every query's scores: hits (m,) float64, CMC@1 or recall@10, the metric of the selection; finer (m,) float64,
    the reciprocal rank (or recall@10 again), which breaks its ties."""

    hits: Floats
    finer: Floats


class HeldOutRetrieval:
    """Cross-validated retrieval on fixed folds and queries, so that candidates are compared in pairs.

    folds: for each, the row numbers of the pairs to learn from and of those held out. metric: cmc@1 where labels allow
    it, else recall@10. The queries are new vectors of held-out rows, their own rows being excluded from the answers.
    """

    def __init__(self, pairs: Pairs, target: Space, seed: int) -> None:
        """Raises ValueError for fewer than two pairs."""
        if len(pairs) < 2:
            raise ValueError("held-out retrieval needs at least two pairs")
        order = np.random.default_rng(seed).permutation(len(pairs))
        if len(pairs) < MANY:
            parts = np.array_split(order, min(SELECTION_FOLDS, len(pairs)))
        else:
            parts = [order[: min(len(pairs) // SELECTION_FOLDS, MOST_HELD_OUT)]]
        self.folds: tuple[tuple[RowNumbers, RowNumbers], ...] = tuple(
            (order[np.isin(order, part, invert=True)], part) for part in parts
        )
        self._pairs, self._target = pairs, target
        rows = np.concatenate(parts)
        self._fold = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        self._rows = pairs.subset(rows)
        self._codes = codes = codes_of(self._rows)
        answerable = np.flatnonzero((codes >= 0) & (np.bincount(codes + 1)[codes + 1] > 1))
        if len(np.unique(codes[answerable])) < 2:  # One label for all calls every answer right.
            answerable = answerable[:0]
        self.metric: Literal["cmc@1", "recall@10"] = "cmc@1" if len(answerable) else "recall@10"
        self._own: RowNumbers = (answerable if len(answerable) else np.arange(len(rows)))[:MOST_QUERIES]
        self._queries = as_indexed(np.asarray(self._rows.new[self._own], np.float32), target.metric)
        self._neighbours = min(NEIGHBOURS, len(rows) - 1)
        self._truth = self._nearest(self._rows.new) if self.metric == "recall@10" else None

    def fit(self, refit: Refit, share: float = 1.0) -> tuple[Transformation, ...]:
        """One transformation per fold, learned from the first `share` of the pairs outside the fold."""
        with fits_side_by_side() as threads:
            return tuple(threads.map(lambda fold: self.fit_fold(refit, fold, share), range(len(self.folds))))

    def fit_fold(self, refit: Refit, fold: int, share: float = 1.0) -> Transformation:
        """The transformation of one fold, learned from the first `share` of the pairs outside it."""
        return refit(self._pairs.subset(_first(self.folds[fold][0], share)))

    @property
    def rows(self) -> int:
        """The number of rows held out, over all folds."""
        return len(self._rows)

    def measure(self, models: Sequence[Transformation]) -> RetrievalScores:
        """Retrieval from the held-out rows, each transformed by the model of its fold."""
        return self.retrieval(self.transform(models))

    def transform(self, models: Sequence[Transformation], has_side: NDArray[np.bool_] | None = None) -> Array:
        """The held-out rows, each transformed by the model of its fold: (rows, d_new) float32.

        has_side: (rows,) the rows whose side-information is known; None for all.
        """
        gallery = np.empty((len(self._rows), self._target.dimension), np.float32)
        for fold, h in enumerate(models):
            rows = self._of(fold)
            known = None if has_side is None else has_side[rows]
            gallery[rows] = h.apply(self._rows.old[rows], self._side(h, rows), known)
        return gallery

    def retrieval(self, gallery: Array) -> RetrievalScores:
        """Retrieval from the held-out rows; gallery: (rows, d_new) float32, their vectors in the new space."""
        if self._truth is not None:
            recall = recall_at_k(self._nearest(gallery), self._truth)
            return RetrievalScores(recall, recall)
        ranks = ranks_of_first_match(
            self._queries, self._codes[self._own], gallery, self._codes, self._target.metric, self._own
        )
        return RetrievalScores(cmc(ranks, 1).astype(np.float64), 1 / ranks)

    def retrieval_in_first(self, folds: int, gallery: Array) -> RetrievalScores:
        """Retrieval among the rows of the first `folds` folds alone, as queries and gallery; gallery as for
        `retrieval`, whose other rows are not read. Queries that cannot be answered there are left out."""
        rows = int((self._fold < folds).sum())  # rows are in the order of their folds
        own = self._own[self._own < rows]
        if self._truth is None:
            codes = self._codes[:rows]
            own = own[np.bincount(codes + 1)[codes[own] + 1] > 1]
            ranks = ranks_of_first_match(
                self._rows.new[own], codes[own], gallery[:rows], codes, self._target.metric, own
            )
            return RetrievalScores(cmc(ranks, 1).astype(np.float64), 1 / ranks)
        k = min(NEIGHBOURS, rows - 1)
        truth, found = (
            top_k(self._rows.new[own], vectors[:rows], k, self._target.metric, own)
            for vectors in (self._rows.new, gallery)
        )
        recall = recall_at_k(found, truth)
        return RetrievalScores(recall, recall)

    def measure_pushed(self, models: Sequence[Transformation]) -> RetrievalScores:
        """Retrieval from the held-out rows' old vectors, with queries pushed by the model of each row's fold."""
        scores = np.empty((len(self._queries), len(self._rows)))  # folds are of unlike scales, and compared
        for fold, h in enumerate(models):
            rows = self._of(fold)
            pushed, old = h.push(self._queries), as_indexed(self._rows.old[rows], h.card.source.metric)
            queries, old = pushed.queries.astype(np.float64), old.astype(np.float64)
            if pushed.score == "ip":
                similarity = queries @ old.T
            else:
                similarity = -np.square(old).sum(1) - np.square(queries).sum(1)[:, None] + 2 * queries @ old.T
            sign = 1 if pushed.score == "ip" else -1
            scores[:, rows] = pushed.scale * similarity + sign * pushed.offset[:, None]
        scores[np.arange(len(scores)), self._own] = -np.inf
        if self._truth is None:
            right = (self._codes[scores.argmax(axis=1)] == self._codes[self._own]).astype(np.float64)
            return RetrievalScores(right, right)
        k = self._truth.shape[1]
        recall = recall_at_k(np.argpartition(-scores, k - 1, axis=1)[:, :k].astype(np.int64), self._truth)
        return RetrievalScores(recall, recall)

    def _nearest(self, gallery: Array) -> RowNumbers:
        return top_k(self._queries, gallery, self._neighbours, self._target.metric, self._own)

    def _of(self, fold: int) -> RowNumbers:
        """The places of a fold's rows among all held-out rows."""
        return np.flatnonzero(self._fold == fold)

    def _side(self, h: Transformation, rows: RowNumbers) -> Array | None:
        return None if h.card.side_dimension is None or self._rows.side is None else self._rows.side[rows]


def _first(rows: RowNumbers, share: float) -> RowNumbers:
    return rows[: max(1, round(share * len(rows)))] if share < 1 else rows
