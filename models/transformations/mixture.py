"""Transformations that serve a gallery of which some items lack side-information."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.arrays import Known
from models.portable import Array, Transformation


class Mixture(Protocol):
    """What serves a gallery of which some items lack side-information."""

    @property
    def linear(self) -> bool:
        """Whether all that it applies is."""

    def apply(self, embeddings: Array, side: Array | None, has_side: NDArray[np.bool_]) -> Array:
        """(n, d_old), (n, d_side) or None, (n,) bool → (n, d_new) float32."""


Mover = Transformation | Mixture


def transform(h: Mover, old: Array, side: Array | None, has_side: Known = None) -> Array:
    """h of old vectors, side-information given only where it is read."""
    if isinstance(h, Transformation):
        reads = h.card.side_dimension is not None
        return h.apply(old, side if reads else None, has_side if reads else None)
    return h.apply(old, side, np.full(len(old), side is not None) if has_side is None else has_side)
