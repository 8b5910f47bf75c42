"""The search by both models' queries together as one search by inner product, of vectors joined from both models.

Each side's score is a·|x|² + ⟨b, x⟩ (`models.portable.moments`), so the fused score of an item is the inner product of
[b_old, a_old, b_new, a_new], each side divided by its spread and weighed, with [x_old, |x_old|², x_new, |x_new|²]. Each
side's x is taken about its mean, m, and in a unit of its own, so that squares stay within float32: a·|x|² + ⟨b, x⟩ is
a·|x − m|² + ⟨b + 2a·m, x − m⟩ and a constant for each query.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from models.portable import Array, Linear, Moments, Space, as_indexed


@dataclass(frozen=True)
class JoinedVectors:
    """Items and queries as both models know them.

    old, crossed: moments of a gallery's old vectors and of their transforms; alpha: how much the new query weighs.
    """

    source: Space
    target: Space
    old: Moments
    crossed: Moments
    alpha: float

    def items(self, old: Array, new: Array) -> Array:
        """(n, d_old) and (n, d_new), crossed or real → (n, d_old + d_new + 2) float32."""
        sides = ((old, self.source, self.old), (new, self.target, self.crossed))
        return np.concatenate([_with_square(as_indexed(x, space.metric), m) for x, space, m in sides], axis=1)

    def queries(self, old: Array, new: Array) -> Array:
        """(m, d_old) and (m, d_new) → (m, d_old + d_new + 2) float32."""
        sides = []
        for queries, space, moments, weight in (
            (old, self.source, self.old, 1 - self.alpha),
            (new, self.target, self.crossed, self.alpha),
        ):
            form = Linear.of(queries, space.metric)
            spread = moments.spread(form)
            form = form.times(np.divide(weight, spread, out=np.zeros_like(spread), where=spread > 0))
            unit = _unit(moments)
            slope = form.slope + 2 * form.square[:, None] * moments.mean
            sides += [slope * unit, form.square[:, None] * unit**2]
        return np.concatenate(sides, axis=1).astype(np.float32)


def _unit(moments: Moments) -> float:
    """A power of two near the spread of all dimensions together; 1 where all vectors are the same."""
    variance = moments.total_variance
    return 2.0 ** round(math.log2(variance) / 2) if variance > 0 else 1.0


def _with_square(rows: Array, moments: Moments) -> Array:
    centred = ((rows - moments.mean) / _unit(moments)).astype(np.float32)
    return np.concatenate([centred, np.square(centred).sum(axis=1, keepdims=True)], axis=1)
