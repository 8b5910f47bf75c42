"""Searches an index of old vectors with new queries: an affine transformation is applied to the queries instead."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .card import Distance
from .layers import TOLERANCE, Affine, Array, Lengths, as_indexed

_FAR = 1e12  # beyond it, and below its inverse, the lengths of queries are brought to one
FARTHEST = 9e17  # a query's length that an index of vectors in float32 takes, with some room to round


@dataclasses.dataclass(frozen=True)
class PushedQueries:
    """Queries for an index of old vectors that rank it as the transformed vectors would be ranked.

    queries: (m, d_old) float32. score: what the old index must compute over its rows (unit rows where the source is
    cosine, else the rows as given): "l2", squared distance, smaller is better, or "ip", inner product, larger is
    better. The score in the new space is scale · score in the old index + offset[query]; offset: (m,) float32. It is
    approximate unless `exact`; `reason` says why.
    """

    queries: Array
    score: Literal["ip", "l2"]
    scale: float
    offset: Array
    exact: bool
    reason: str


def push(affine: Affine, source: Distance, target: Distance, queries: Array) -> PushedQueries:
    """Turns queries q (m, d_new) float32 of the target space into queries that search p as q would search Wp + b.

    Inner product: ⟨q, Wp + b⟩ = ⟨Wᵀq, p⟩ + ⟨q, b⟩, always exact. With orthogonal columns, WᵀW = c·I, so are
    L2: ‖q − Wp − b‖² = c·‖Wᵀ(q − b)/c − p‖² + ‖q − b‖² − ‖Wᵀ(q − b)‖²/c, and, where b = 0 and every p has unit length,
    cosine, as ‖Wp‖ = √c. Columns cannot be orthogonal where d_new < d_old.

    Otherwise `affine.lengths` approximates the length of Wp + b. L2, with ‖Wp + b‖² ≈ c·‖p‖² + 2⟨u, p⟩ + e, searches
    with (Wᵀq − u)/c. The cosine exceeds t where ⟨q, Wp + b⟩ − t·‖Wp + b‖ exceeds 0, which ‖Wp + b‖ ≈ ⟨u, p⟩ + e makes
    linear in p; t is the cosine of a typical query and its answers. Without lengths, L2 takes the mean squared column
    norm for c and Wᵀb for u, and cosine ignores ‖Wp + b‖.
    """
    weight, bias = affine.weight, affine.bias
    if target == "ip":
        return _by_inner_product(_times(queries, weight), queries @ bias, True, "inner product: always exact")
    square, orthogonal = affine.squared_column_norm, affine.has_orthogonal_columns
    lengths = affine.lengths
    if target == "l2":
        if orthogonal or lengths is None:
            lengths = Lengths(bias @ weight, square, float(bias @ bias), 0.0)
        reason = (
            "orthogonal columns keep distances" if orthogonal else "‖Wp + b‖ is approximated: columns not orthogonal"
        )
        pulled = (_times(queries, weight) - lengths.slope) / lengths.scale
        # What is further away than an index takes is brought nearer: from there, only the direction is told in float32.
        pulled /= np.maximum(np.linalg.norm(pulled, axis=1, keepdims=True) / FARTHEST, 1.0)
        offset = np.square(queries, dtype=np.float64).sum(axis=1) - 2 * (queries @ bias) + lengths.intercept
        offset -= lengths.scale * np.square(pulled).sum(axis=1)
        return PushedQueries(
            pulled.astype(np.float32), "l2", lengths.scale, offset.astype(np.float32), orthogonal, reason
        )
    why = [
        *([] if orthogonal else ["columns not orthogonal"]),
        *([] if np.linalg.norm(bias) <= TOLERANCE * np.sqrt(square) else ["there is an intercept"]),
        *([] if source == "cosine" else ["old vectors are not of unit length"]),
    ]
    if not why or lengths is None:
        lengths = Lengths(np.zeros(weight.shape[1], np.float32), float(np.sqrt(square)), 0.0, 0.0)
    directions, level = as_indexed(queries, "cosine"), lengths.level
    pushed = (_times(directions, weight) - level * lengths.slope) / lengths.scale
    shift = level + (directions @ bias - level * lengths.intercept) / lengths.scale
    reason = f"the length ‖Wp + b‖ is approximated: {', '.join(why)}" if why else "orthogonal columns keep angles"
    return _by_inner_product(pushed, shift, not why, reason)


def _times(queries: Array, weight: Array) -> NDArray[np.float64]:
    """queries · weight in float64: multiplied in float32, which is fast for one query, unless that is out of range."""
    with np.errstate(over="ignore", invalid="ignore"):
        product = queries @ weight
    if np.isfinite(product).all():
        return product.astype(np.float64)
    return np.asarray(queries.astype(np.float64) @ weight)


def _by_inner_product(pushed: NDArray[np.float64], offset: Array, exact: bool, reason: str) -> PushedQueries:
    """Queries (m, d_old) float64 that are compared by inner product; offset: (m,).

    Where the spaces are of very unlike sizes, their lengths may be beyond what an index takes, or what float32 tells
    apart: then they are all divided by the longest, by which the scores are multiplied in turn.
    """
    longest = float(np.sqrt(np.square(pushed).sum(axis=1).max(initial=0.0)))
    scale = 1.0 if 1 / _FAR < longest < _FAR or longest == 0 else longest
    queries = (pushed if scale == 1.0 else pushed / scale).astype(np.float32)
    return PushedQueries(queries, "ip", scale, np.asarray(offset, np.float32), exact, reason)
