"""The random walk of one class, as most of its tests look at it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from models.compatible_training.random_walk import DAMPING, TEMPERATURE, refine_classes
from models.portable import Array


@dataclass(frozen=True)
class RefinedClass:
    """column: (d,) float32; weights: (m,) float32, summing to 1."""

    column: Array
    weights: Array


def refine(features: ArrayLike, damping: float = DAMPING, temperature: float = TEMPERATURE) -> RefinedClass:
    """Refines rows, (m, d), that are all of one class."""
    codes = np.zeros(len(np.asarray(features)), np.int64)
    refined = refine_classes(features, codes, 1, damping=damping, temperature=temperature)
    return RefinedClass(refined.columns[0], refined.weights)
