"""How far vectors spread, with floors for whoever divides by it.

Real models have dimensions that are dead (always 0), nearly dead (1e-33 in every vector of one widely used model) or
constant. Their deviation is above 0 and tells nothing; divided by it, rounding becomes the largest number there is. A
floor in absolute terms is right for one scale of vectors only, so the floors here are shares of what all dimensions
together spread.
"""

from __future__ import annotations

import numpy as np

from models.arrays import Floats
from models.portable import Array

FLOOR = 1e-4
"""Of the root mean variance of all dimensions: the least deviation that a dimension counts as having. Its square, 1e-8,
is below float32's relative rounding of 6e-8: what varies less is lost in the rounding of a squared distance."""


def total_spread(rows: Array | Floats) -> float:
    """The root of the total variance of rows (n, d), a distance; 1 where all rows are the same."""
    return float(np.sqrt(_variances(rows).sum())) or 1.0


def mean_spread(rows: Array | Floats) -> float:
    """The root of the mean variance of the dimensions of rows (n, d); 1 where all rows are the same."""
    return float(np.sqrt(_variances(rows).mean())) or 1.0


def dimension_spreads(rows: Array | Floats) -> Floats:
    """The deviation of each dimension of rows (n, d): (d,) float64, none below `FLOOR` of what all together have."""
    return np.maximum(np.sqrt(_variances(rows)), FLOOR * mean_spread(rows))


def _variances(rows: Array | Floats) -> Floats:
    """In float64: the squares of float32 leave its range long before the vectors themselves do."""
    return np.asarray(np.var(rows, axis=0, dtype=np.float64))
