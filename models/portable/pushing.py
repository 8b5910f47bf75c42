"""Searches an index of old vectors with new queries: an affine transformation is applied to the queries instead."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from models.portable.card import Distance
from models.portable.layers import Affine, Array, Lengths, as_indexed, squared_norms

TOLERANCE = 1e-4  # of float32 weights: relative deviation under which columns count as orthogonal, a bias as absent


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
        return PushedQueries(queries @ weight, "ip", 1.0, queries @ bias, True, "inner product: always exact")
    square = _mean_squared_column_norm(weight)
    orthogonal = _columns_are_orthogonal(weight, square)
    lengths = affine.lengths
    if target == "l2":
        if orthogonal or lengths is None:
            lengths = Lengths(bias @ weight, square, float(bias @ bias), 0.0)
        reason = (
            "orthogonal columns keep distances" if orthogonal else "‖Wp + b‖ is approximated: columns not orthogonal"
        )
        pulled = np.asarray((queries @ weight - lengths.slope) / lengths.scale, np.float32)
        offset = squared_norms(queries) - 2 * (queries @ bias) + lengths.intercept
        return PushedQueries(
            pulled, "l2", lengths.scale, offset - lengths.scale * squared_norms(pulled), orthogonal, reason
        )
    why = [
        *([] if orthogonal else ["columns not orthogonal"]),
        *([] if np.linalg.norm(bias) <= TOLERANCE * np.sqrt(square) else ["there is an intercept"]),
        *([] if source == "cosine" else ["old vectors are not of unit length"]),
    ]
    if not why or lengths is None:
        lengths = Lengths(np.zeros(weight.shape[1], np.float32), float(np.sqrt(square)), 0.0, 0.0)
    directions, level = as_indexed(queries, "cosine"), lengths.level
    pushed = np.asarray((directions @ weight - level * lengths.slope) / lengths.scale, np.float32)
    shift = level + (directions @ bias - level * lengths.intercept) / lengths.scale
    reason = f"the length ‖Wp + b‖ is approximated: {', '.join(why)}" if why else "orthogonal columns keep angles"
    return PushedQueries(pushed, "ip", 1.0, np.asarray(shift, np.float32), not why, reason)


def _mean_squared_column_norm(weight: Array) -> float:
    return max(float(np.mean(np.square(weight, dtype=np.float64).sum(axis=0))), float(np.finfo(np.float32).tiny))


def _columns_are_orthogonal(weight: Array, squared_norm: float) -> bool:
    gram = weight.T.astype(np.float64) @ weight
    return bool(np.abs(gram / squared_norm - np.eye(len(gram))).max() <= TOLERANCE)
