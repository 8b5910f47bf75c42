"""Transformations of items of which some have side-information and some do not."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.arrays import Known
from models.portable import Array, Transformation


class Mixture(Protocol):
    """A transformation that takes items with and without side-information, such as one for each kind."""

    @property
    def linear(self) -> bool:
        """Whether every transformation that it applies is affine."""

    def apply(self, embeddings: Array, side: Array | None, has_side: NDArray[np.bool_]) -> Array:
        """(n, d_old), (n, d_side) or None, (n,) bool → (n, d_new) float32."""


Mover = Transformation | Mixture
"""Anything that transforms old vectors into the new space."""


def transform(h: Mover, old: Array, side: Array | None, has_side: Known = None) -> Array:
    """Transforms old vectors by h: (n, d_old), (n, d_side) or None → (n, d_new) float32; h may not read `side`.

    has_side: (n,) bool, the rows whose side-information is known; None for all.
    """
    if isinstance(h, Transformation):
        reads = h.card.side_dimension is not None
        return h.apply(old, side if reads else None, has_side if reads else None)
    return h.apply(old, side, np.full(len(old), side is not None) if has_side is None else has_side)
