"""How the scores of a query spread over a gallery, in closed form from the moments of the gallery's vectors."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .card import Distance
from .layers import Array, as_indexed

_CHUNK = 8192  # rows per matrix product
_ROUNDING = 2.0**-24  # of a float32: the share of it that rounding may have added
_FAR = 1e12  # a total variance beyond it, or below its inverse, asks for a unit
_LEAST = 1e-3  # of the spread in an average direction: what a query that hardly varies is taken to spread by


@dataclasses.dataclass(frozen=True)
class Linear:
    """Scores a·|x|² + ⟨b, x⟩ of items x, up to a constant for each query; higher is nearer.

    slope: (m, d) float64, b; square: (m,) float64, a, which is 0 or less.
    """

    slope: NDArray[np.float64]
    square: NDArray[np.float64]

    @classmethod
    def of(cls, queries: Array, metric: Distance) -> Linear:
        """Of queries (m, d) float32: the cosine and the inner product, a = 0, or −|q − x|² less its −|q|², a = −1.

        Items are compared as an index holds them, of unit length under cosine. The Euclidean distance is squared, since
        that ranks alike and is a sum of moments of x, which the distance itself is not.
        """
        slope = as_indexed(queries, metric).astype(np.float64)
        if metric == "l2":
            return cls(2 * slope, np.full(len(slope), -1.0))
        return cls(slope, np.zeros(len(slope)))

    def times(self, factor: NDArray[np.float64] | float) -> Linear:
        """The scores multiplied by a positive factor, one for all queries or one for each, (m,)."""
        return Linear(self.slope * np.reshape(factor, (-1, 1)), self.square * factor)

    def plus(self, other: Linear) -> Linear:
        """The sum of both scores."""
        return Linear(self.slope + other.slope, self.square + other.square)


@dataclasses.dataclass(frozen=True)
class Moments:
    """Moments of a gallery's vectors as an index holds them, about their mean: with y = (x − mean)/unit,

    mean: (d,) float64; covariance: (d, d) float32, of y; skew: (d,) float64, the covariance of y with |y|²; square: the
    variance of |y|². The last two are needed where scores are not linear in x. They are taken about the mean, so that
    nothing cancels where the mean is far from the origin, and where float32 could not hold the covariance, in a unit
    other than 1.
    """

    mean: NDArray[np.float64]
    covariance: Array
    skew: NDArray[np.float64]
    square: float
    unit: float = 1.0

    def __post_init__(self) -> None:
        d = len(self.mean)
        for name, array, shape, dtype in (
            ("mean", self.mean, (d,), np.float64),
            ("covariance", self.covariance, (d, d), np.float32),
            ("skew", self.skew, (d,), np.float64),
        ):
            if array.shape != shape or array.dtype != dtype or not np.isfinite(array).all():
                raise ValueError(f"{name} is {array.shape} {array.dtype}, not {shape} {np.dtype(dtype)}, or not finite")
        if not 0 <= self.square < np.inf:
            raise ValueError("a variance is finite and not negative")
        if not 0 < self.unit < np.inf:
            raise ValueError("a unit is finite and above 0")

    @classmethod
    def of(cls, vectors: Array, metric: Distance) -> Moments:
        """Of vectors (n, d) float32, n > 0, compared by `metric`."""
        return cls.of_parts((vectors[start : start + _CHUNK] for start in range(0, len(vectors), _CHUNK)), metric)

    @classmethod
    def of_parts(cls, parts: Iterable[Array], metric: Distance) -> Moments:
        """Of vectors that come in parts (n, d) float32, of which only one is looked at at a time.

        They are taken about the mean of the first part, which is near that of all, and then shifted to this. Raises
        ValueError where there are no vectors.
        """
        rows, pivot = 0, None
        for part in parts:
            vectors = as_indexed(part, metric)
            if pivot is None:
                pivot, d = vectors.mean(axis=0, dtype=np.float64), vectors.shape[1]
                summed, gram, third, second, fourth = np.zeros(d), np.zeros((d, d)), np.zeros(d), 0.0, 0.0
            y = vectors - pivot
            squared = np.einsum("ij,ij->i", y, y)
            rows += len(y)
            summed += y.sum(axis=0)
            gram += y.T @ y
            third += squared @ y
            second += float(squared.sum())
            fourth += float(squared @ squared)
        if pivot is None or not rows:
            raise ValueError("moments are of one vector or more")
        shift = summed / rows
        covariance = gram / rows - np.outer(shift, shift)
        about_pivot = third / rows - second / rows * shift
        turned = covariance @ shift
        variance = fourth / rows - (second / rows) ** 2 - 4 * shift @ about_pivot + 4 * shift @ turned
        mean, total = pivot + shift, float(np.trace(covariance))
        if total <= np.square(_ROUNDING * mean).sum():  # vectors that are all the same
            return cls(mean, np.zeros((d, d), np.float32), np.zeros(d), 0.0)
        unit = 1.0 if 1 / _FAR < total < _FAR else 2.0 ** round(math.log2(total) / 2)
        skew, square = (about_pivot - 2 * turned) / unit**3, max(float(variance), 0.0) / unit**4
        return cls(mean, (covariance / unit**2).astype(np.float32), skew, square, unit)

    def centre(self, scores: Linear) -> NDArray[np.float64]:
        """The mean of each query's scores over the gallery: (m,) float64."""
        around = float(self.mean @ self.mean) + self.total_variance
        return np.asarray(scores.slope @ self.mean + scores.square * around)

    def spread(self, scores: Linear) -> NDArray[np.float64]:
        """The standard deviation of each query's scores over the gallery: (m,) float64.

        It is never less than a thousandth of the spread in an average direction, as a query of which no item knows
        anything would otherwise be heard above all; 0 where the items are all alike.
        """
        slope = (scores.slope + 2 * scores.square[:, None] * self.mean) * self.unit
        factor = scores.square * self.unit**2
        variance = self._quadratic(slope)
        variance += 2 * factor * (slope @ self.skew) + factor**2 * self.square
        average = np.einsum("ij,ij->i", slope, slope) * self._trace / len(self.mean) + factor**2 * self.square
        return np.asarray(np.sqrt(np.maximum(variance, _LEAST**2 * average)))

    def _quadratic(self, slope: NDArray[np.float64]) -> NDArray[np.float64]:
        """bᵀΣb of each slope b: (m,) float64.

        One by one, since what a product rounds to depends on how many there are, and in float32, as Σ is kept: to
        widen it takes ten times as long.
        """
        size = np.abs(slope).max(axis=1, initial=0.0)
        size[size == 0] = 1.0
        unit = slope / size[:, None]
        forms = [float((row.astype(np.float32) @ self.covariance) @ row) for row in unit]
        return np.asarray(np.reshape(forms, len(slope)) * np.square(size))

    @property
    def total_variance(self) -> float:
        """The sum of the variances of all dimensions of x."""
        return self._trace * self.unit**2

    @cached_property
    def _trace(self) -> float:
        return float(np.trace(self.covariance, dtype=np.float64))
