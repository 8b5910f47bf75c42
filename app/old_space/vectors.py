"""Vectors of a new model as vectors for an old index: queries are pushed, documents are pulled back. Arrays alone.

Both belong together: a pushed query q′ compares with an old vector p as the new query does with Wp + b, so the vector
that a new document x is to have there is the p whose Wp + b comes nearest to x.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.portable import Affine, Array, Distance, Fusion, Transformation, as_indexed

_RIDGE = 1e-3
"""How much the pull is damped, as a share of the mean squared singular value of W: directions that W hardly has cannot
be told from what it makes of them."""


class NotSearchable(Exception):
    """An old index cannot rank by what was pushed; the message says why."""


@dataclass(frozen=True)
class OldSpaceVectors:
    """Vectors (m, d_old) float32 for an old index. exact: whether it ranks by them as the transformed gallery would be
    ranked; note: why not, or how else they came about."""

    vectors: Array
    exact: bool
    note: str


def pushed_queries(new: Array, crossing: Transformation, old: Array | None, fusion: Fusion | None) -> OldSpaceVectors:
    """Queries of the new model, (m, d_new), fused with those of the old one, (m, d_old), where there is a fusion.

    Raises NotPushable where the crossing is not linear, and NotSearchable where an index of the old metric cannot
    compare with them.
    """
    source = crossing.card.source.metric
    if fusion is None or old is None:
        pushed = crossing.push(new)
        queries, score, exact, reason = pushed.queries, pushed.score, pushed.exact, pushed.reason
    else:
        fused = fusion.push(old, new, crossing)
        queries, score, exact, reason = fused.queries, fused.score, fused.exact, fused.reason
    if source not in ("cosine", score):
        raise NotSearchable(
            f"an index of {source} cannot rank by the {'inner product' if score == 'ip' else 'distance'} that queries "
            "of this new model are compared by"
        )
    return OldSpaceVectors(queries, exact, reason)


@dataclass(frozen=True)
class Pull:
    """What brings documents of a new model into the old space: the p that makes ‖Wp + b − x‖² + ε·‖p‖² least, which is
    (WᵀW + εI)⁻¹Wᵀ(x − b). matrix: (d_old, d_new) float32; bias: b, (d_new,)."""

    matrix: Array
    bias: Array

    @classmethod
    def of(cls, affine: Affine) -> Pull:
        """Solved once for a crossing, in float64: for thousands of dimensions, seconds."""
        weight = affine.weight.astype(np.float64)
        gram = weight.T @ weight
        gram += np.eye(len(gram)) * _RIDGE * np.trace(gram) / len(gram)
        return cls(np.linalg.solve(gram, weight.T).astype(np.float32), affine.bias)

    def documents(self, new: Array, source: Distance, target: Distance) -> OldSpaceVectors:
        """Documents of the new model, (m, d_new), as old vectors, (m, d_old) float32; unit rows where the old metric,
        `source`, is cosine."""
        pulled = (as_indexed(new, target) - self.bias) @ self.matrix.T
        note = "the old vector whose transformation comes nearest"
        return OldSpaceVectors(as_indexed(pulled.astype(np.float32), source), False, note)
