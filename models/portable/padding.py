"""The transformation of a compatible model: old vectors, zero-padded to the new dimension."""

from __future__ import annotations

import numpy as np

from .card import Card, Space
from .layers import Affine
from .transformation import Transformation


def zero_padding(source: Space, target: Space, *, created_at: str) -> Transformation:
    """h(p) = [p; 0], (n, d_old) → (n, d_new): exact when pushed into the query, for every metric.

    Raises ValueError where d_new < d_old, or the metrics differ.
    """
    if target.dimension < source.dimension:
        raise ValueError(f"{target} has fewer dimensions than {source}: its vectors cannot be zero-padded")
    if target.metric != source.metric:
        raise ValueError(f"{source} and {target} are compared in different ways")
    weight = np.eye(target.dimension, source.dimension, dtype=np.float32)
    card = Card(
        method="zero_padding",
        source=source,
        target=target,
        side_dimension=None,
        pairs=0,
        settings={},
        metrics={},
        created_at=created_at,
    )
    return Transformation(card, Affine(weight, np.zeros(target.dimension, np.float32)))
