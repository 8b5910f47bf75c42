"""Held-out retrieval: how well new queries find old rows that were transformed by a model which has not seen them.

Every held-out row is transformed by the fold's model that did not learn from it, and together they are the gallery: a
row learned from would land nearer to its new vector than any row of the real gallery does, and flatter weak ridges.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.arrays import Floats, RowNumbers
from models.evaluation.retrieval_metrics import cmc, ranks_of_first_match, recall_at_k, top_k
from models.portable import Array, Space, Transformation, as_indexed
from models.transformations.pairs import Pairs

MANY = 5_000  # pairs from which on one split says enough; below, every pair is held out once
FOLDS = 5
MOST_HELD_OUT = 5_000
MOST_QUERIES = 4_000
NEIGHBOURS = 10


@dataclass(frozen=True)
class RetrievalScores:
    """Per query: `hits` is what is chosen by, CMC@1 or recall@10, and `finer` (reciprocal rank) tells ties apart."""

    hits: Floats
    finer: Floats


class HeldOutRetrieval:
    """A fixed set of held-out rows and queries, the same for every candidate, so that candidates compare in pairs."""

    def __init__(self, pairs: Pairs, target: Space, seed: int) -> None:
        """Needs at least two pairs (ValueError)."""
        if len(pairs) < 2:
            raise ValueError("held-out retrieval needs at least two pairs")
        order = np.random.default_rng(seed).permutation(len(pairs))
        if len(pairs) < MANY:
            parts = np.array_split(order, min(FOLDS, len(pairs)))
        else:
            parts = [order[: min(len(pairs) // FOLDS, MOST_HELD_OUT)]]
        self.folds: tuple[tuple[RowNumbers, RowNumbers], ...] = tuple(
            (order[np.isin(order, part, invert=True)], part) for part in parts
        )
        self._pairs, self._target = pairs, target
        rows = np.concatenate(parts)
        self._fold = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        self._rows = pairs.subset(rows)
        self._codes = codes = _codes(self._rows.label, len(rows))
        answerable = np.flatnonzero((codes >= 0) & (np.bincount(codes + 1)[codes + 1] > 1))
        self.metric: Literal["cmc@1", "recall@10"] = "cmc@1" if len(answerable) else "recall@10"
        self._own: RowNumbers = (answerable if len(answerable) else np.arange(len(rows)))[:MOST_QUERIES]
        self._queries = as_indexed(np.asarray(self._rows.new[self._own], np.float32), target.metric)
        self._neighbours = min(NEIGHBOURS, len(rows) - 1)
        self._truth = self._top(self._rows.new) if self.metric == "recall@10" else None

    def models(self, learn: Callable[[Pairs], Transformation], share: float = 1.0) -> tuple[Transformation, ...]:
        """One transformation per fold, learned from (the first `share` of) the pairs outside it."""
        return tuple(learn(self._pairs.subset(_first(others, share))) for others, _ in self.folds)

    @property
    def rows(self) -> int:
        """How many rows are held out."""
        return len(self._rows)

    def measure(self, models: Sequence[Transformation]) -> RetrievalScores:
        """Retrieval from the held-out rows, each transformed by the model of its own fold."""
        return self.retrieval(self.moved(models))

    def moved(self, models: Sequence[Transformation], has_side: NDArray[np.bool_] | None = None) -> Array:
        """The held-out rows, each transformed by the model of its own fold; (rows, d_new) float32.

        has_side: (rows,) the rows whose side-information is known; None for all.
        """
        gallery = np.empty((len(self._rows), self._target.dimension), np.float32)
        for fold, h in enumerate(models):
            rows = self._of(fold)
            known = None if has_side is None else has_side[rows]
            gallery[rows] = h.apply(self._rows.old[rows], self._side(h, rows), known)
        return gallery

    def retrieval(self, gallery: Array) -> RetrievalScores:
        """Retrieval from the held-out rows as they lie in the new space; gallery: (rows, d_new) float32."""
        if self._truth is not None:
            recall = recall_at_k(self._top(gallery), self._truth)
            return RetrievalScores(recall, recall)
        ranks = ranks_of_first_match(
            self._queries, self._codes[self._own], gallery, self._codes, self._target.metric, self._own
        )
        return RetrievalScores(cmc(ranks, 1).astype(np.float64), 1 / ranks)

    def measure_pushed(self, models: Sequence[Transformation]) -> RetrievalScores:
        """Retrieval where queries pushed by the model of each fold search the old vectors of that fold's rows."""
        scores = np.empty((len(self._queries), len(self._rows)), np.float32)
        for fold, h in enumerate(models):
            rows = self._of(fold)
            pushed, old = h.push(self._queries), as_indexed(self._rows.old[rows], h.card.source.metric)
            if pushed.score == "ip":
                found = pushed.queries @ old.T
            else:
                found = -np.square(old).sum(1) - np.square(pushed.queries).sum(1)[:, None] + 2 * pushed.queries @ old.T
            sign = 1 if pushed.score == "ip" else -1
            scores[:, rows] = pushed.scale * found + sign * pushed.offset[:, None]
        scores[np.arange(len(scores)), self._own] = -np.inf
        if self._truth is None:
            right = (self._codes[scores.argmax(axis=1)] == self._codes[self._own]).astype(np.float64)
            return RetrievalScores(right, right)
        k = self._truth.shape[1]
        recall = recall_at_k(np.argpartition(-scores, k - 1, axis=1)[:, :k].astype(np.int64), self._truth)
        return RetrievalScores(recall, recall)

    def _top(self, gallery: Array) -> RowNumbers:
        return top_k(self._queries, gallery, self._neighbours, self._target.metric, self._own)

    def _of(self, fold: int) -> RowNumbers:
        return np.flatnonzero(self._fold == fold)

    def _side(self, h: Transformation, rows: RowNumbers) -> Array | None:
        return None if h.card.side_dimension is None or self._rows.side is None else self._rows.side[rows]


def _first(rows: RowNumbers, share: float) -> RowNumbers:
    return rows[: max(1, round(share * len(rows)))] if share < 1 else rows


def _codes(labels: NDArray[Any] | None, rows: int) -> RowNumbers:
    """Labels as integers from 0, −1 for none."""
    if labels is None:
        return np.full(rows, -1)
    names: dict[Any, int] = {}
    return np.array([-1 if v is None else names.setdefault(v, len(names)) for v in labels.tolist()], np.int64)
