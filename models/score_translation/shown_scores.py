"""Scores of queries and items as a search shows them: cosine, inner product, or Euclidean distance, not squared."""

from __future__ import annotations

import numpy as np

from models.arrays import Floats
from models.portable import Array, Distance, PushedQueries, as_indexed

_WORST_COSINE = -1.0
"""Of a zero vector, which has no direction."""


def shown_scores(queries: Array, items: Array, metric: Distance) -> Floats:
    """Every query's score of every item: (m, d), (n, d) float32 → (m, n) float64. Under cosine, a zero item scores -1.

    Raises ValueError where the dimensions differ.
    """
    if queries.shape[1:] != items.shape[1:]:
        raise ValueError(f"queries have dimension {queries.shape[1:]}, the items {items.shape[1:]}")
    if metric == "l2":
        return np.sqrt(_squared_distances(queries, items))
    scores = _products(as_indexed(queries, metric), as_indexed(items, metric))
    if metric == "cosine":
        scores[:, ~items.any(axis=1)] = _WORST_COSINE
    return scores


def shown_scores_of_pushed(pushed: PushedQueries, indexed: Array, metric: Distance) -> Floats:
    """Scores in the new space, as `instant` shows them, of every item for every pushed query: (m, n) float64.

    indexed: (n, d_old) float32, the old vectors as their index holds them. metric: of the new space.
    """
    offset = pushed.offset.astype(np.float64)[:, None]
    if pushed.score == "l2":
        scores = pushed.scale * _squared_distances(pushed.queries, indexed) + offset
    else:
        scores = pushed.scale * _products(pushed.queries, indexed) + offset
    return np.sqrt(np.maximum(scores, 0)) if metric == "l2" else np.asarray(scores)


def _products(queries: Array, items: Array) -> Floats:
    """Inner products, (m, n) float64: in float32, those of large vectors overflow."""
    return np.asarray(queries.astype(np.float64) @ items.astype(np.float64).T)


def _squared_distances(queries: Array, items: Array) -> Floats:
    """(m, d), (n, d) → (m, n) float64; taken about the mean of the items, so that nothing cancels far from 0."""
    middle = items.mean(axis=0, dtype=np.float64)
    left, right = queries - middle, items - middle
    squares = np.square(left).sum(axis=1)[:, None] + np.square(right).sum(axis=1) - 2 * left @ right.T
    return np.asarray(np.maximum(squares, 0))
