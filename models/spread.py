"""How far vectors spread, with floors for whoever divides by it.

Real models have dimensions that are dead (always 0), nearly dead (1e-33 in every vector of one widely used model) or
constant. Their deviation is above 0 and tells nothing; divided by it, rounding becomes the largest number there is. A
floor in absolute terms is right for one scale of vectors only, so the floors here are shares of what the dimensions
that live spread.
"""

from __future__ import annotations

import math

import numpy as np

from models.arrays import Floats
from models.portable import Array

FLOOR = 1e-4
"""Of the greatest deviation of a dimension: what a dimension must vary by to live. Its square, 1e-8, is below float32's
relative rounding of 6e-8: what varies less is lost in the rounding of a squared distance."""

ROUNDING = 2.0**-24
"""Of a float32: the share of it that rounding may have added. A deviation of no more says nothing."""


def total_spread(rows: Array | Floats) -> float:
    """The root of the total variance of rows (n, d), a distance; 1 where all rows are the same."""
    return float(np.sqrt(_variances(rows).sum())) or 1.0


def mean_spread(rows: Array | Floats) -> float:
    """The root of the mean variance of the dimensions of rows (n, d) that live; 1 where all rows are the same."""
    variances = _variances(rows)
    return float(np.sqrt(variances.sum() / _living(variances))) or 1.0


def dimension_spreads(rows: Array | Floats) -> Floats:
    """The deviation of each dimension of rows (n, d): (d,) float64, none below `FLOOR` of `mean_spread`."""
    variances = _variances(rows)
    mean = float(np.sqrt(variances.sum() / _living(variances))) or 1.0
    return np.maximum(np.sqrt(variances), FLOOR * mean)


def living_dimensions(rows: Array | Floats) -> int:
    """How many dimensions of rows (n, d) vary by more than `FLOOR` of the one that varies most; at least 1."""
    return _living(_variances(rows))


def unit_of(rows: Array | Floats) -> float:
    """A power of two near `total_spread`, to divide rows (n, d) by before anything is squared.

    Division by it is exact, so that it changes nothing but what would leave float32's range.
    """
    return 2.0 ** round(math.log2(total_spread(rows)))


def _living(variances: Floats) -> int:
    return max(1, int((variances > FLOOR**2 * variances.max(initial=0.0)).sum()))


def _variances(rows: Array | Floats) -> Floats:
    """The variance of each dimension of rows (n, d), 0 where rounding alone could make it vary so much.

    In float64: the squares of float32 leave its range long before the vectors themselves do.
    """
    mean = rows.mean(axis=0, dtype=np.float64)
    variances = np.var(rows, axis=0, dtype=np.float64, mean=mean[None])
    return np.where(variances > np.square(ROUNDING * mean), variances, 0.0)
