"""Searching the old index with new queries: a linear transformation moved from the gallery into the query."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from models.portable.card import Metric
from models.portable.layers import Affine, Array, as_indexed, squared_norms

TOLERANCE = 1e-4  # of float32 weights: relative deviation under which columns count as orthogonal, a bias as absent


@dataclasses.dataclass(frozen=True)
class PushedQueries:
    """Queries for the OLD index that rank it as the transformed gallery would be ranked.

    queries: (m, d_old) float32. `score` is what the old index must compute over its rows (unit rows where the source is
    cosine, the rows as given otherwise): "l2" squared distance, smaller is better, or "ip" inner product, larger is
    better. score in the new space = scale · score in the old index + offset[query]; offset: (m,) float32. That is exact
    where `exact`; otherwise it is an approximation, and `reason` says why.
    """

    queries: Array
    score: Literal["ip", "l2"]
    scale: float
    offset: Array
    exact: bool
    reason: str


def push(affine: Affine, source: Metric, target: Metric, queries: Array) -> PushedQueries:
    """Moves h(p) = Wp + b from the gallery into queries (m, d_new) float32 of the target space.

    Inner product: ⟨q, Wp + b⟩ = ⟨Wᵀq, p⟩ + ⟨q, b⟩, always exact. With orthogonal columns, WᵀW = c·I, so are
    L2: ‖q − Wp − b‖² = c·‖Wᵀ(q − b)/c − p‖² + ‖q − b‖² − ‖Wᵀ(q − b)‖²/c, and, where b = 0 and every p has unit length,
    cosine, as ‖Wp‖ = √c. Otherwise L2 takes the mean squared column norm for c, and cosine leaves ‖Wp + b‖ out.
    Columns cannot be orthogonal where d_new < d_old.
    """
    weight, bias = affine.weight, affine.bias
    if target == "ip":
        return PushedQueries(queries @ weight, "ip", 1.0, queries @ bias, True, "inner product: always exact")
    square = _mean_squared_column_norm(weight)
    orthogonal = _columns_are_orthogonal(weight, square)
    if target == "l2":
        centred = queries - bias
        pulled = np.asarray((centred @ weight) / square, np.float32)
        offset = squared_norms(centred) - square * squared_norms(pulled)
        reason = "orthogonal columns keep distances" if orthogonal else "‖Wp‖ is approximated: columns not orthogonal"
        return PushedQueries(pulled, "l2", square, offset, orthogonal, reason)
    directions, length = as_indexed(queries, "cosine"), float(np.sqrt(square))
    pushed = (directions @ weight) / length
    offset = (directions @ bias) / length
    why = [
        *([] if orthogonal else ["columns not orthogonal"]),
        *([] if np.linalg.norm(bias) <= TOLERANCE * length else ["there is an intercept"]),
        *([] if source == "cosine" else ["old vectors are not of unit length"]),
    ]
    reason = f"the length ‖Wp + b‖ is left out: {', '.join(why)}" if why else "orthogonal columns keep angles"
    return PushedQueries(pushed, "ip", 1.0, offset, not why, reason)


def _mean_squared_column_norm(weight: Array) -> float:
    return max(float(np.mean(np.square(weight, dtype=np.float64).sum(axis=0))), float(np.finfo(np.float32).tiny))


def _columns_are_orthogonal(weight: Array, squared_norm: float) -> bool:
    gram = weight.T.astype(np.float64) @ weight
    return bool(np.abs(gram / squared_norm - np.eye(len(gram))).max() <= TOLERANCE)
