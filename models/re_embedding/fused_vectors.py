"""The search by both models' queries together as one search by inner product, of vectors joined from both models.

Each side's score is a·|x|² + ⟨b, x⟩ (`models.portable.moments`), so the fused score of an item is the inner product of
[b_old, a_old, b_new, a_new], each side divided by its spread and weighed, with [x_old, |x_old|², x_new, |x_new|²].
"""

from __future__ import annotations

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
        return np.concatenate([_with_square(old, self.source), _with_square(new, self.target)], axis=1)

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
            sides += [form.slope, form.square[:, None]]
        return np.concatenate(sides, axis=1).astype(np.float32)


def _with_square(vectors: Array, space: Space) -> Array:
    rows = as_indexed(vectors, space.metric)
    return np.concatenate([rows, np.square(rows).sum(axis=1, keepdims=True)], axis=1)
