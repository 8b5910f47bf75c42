"""Bootstrap confidence intervals of a mean, over rows or over whole groups of rows.

Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapters 6 and 13.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

DRAWS_IN_MEMORY = 4_000_000


@dataclass(frozen=True)
class Interval:
    """A mean with the ends of its confidence interval (95 % unless the maker says otherwise)."""

    mean: float
    low: float
    high: float


def bootstrap_mean(
    values: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    seed: int = 0,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    """The percentile interval of the (weighted) mean of `values`.

    values: (m,); groups: (m,), rows of one group are drawn together (cluster bootstrap); weights: (m,), non-negative.
    Raises ValueError where there are no values.
    """
    draws, mean = resampled_means(values, groups=groups, weights=weights, seed=seed, resamples=resamples)
    return percentile_interval(mean, draws, confidence)


def paired_bootstrap(
    a: ArrayLike,
    b: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    seed: int = 0,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    """The interval of mean(a − b), both measured on the same queries; a, b: (m,)."""
    difference = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    return bootstrap_mean(
        difference, groups=groups, weights=weights, seed=seed, resamples=resamples, confidence=confidence
    )


def resampled_means(
    values: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    seed: int = 0,
    resamples: int = 2000,
) -> tuple[NDArray[np.float64], float]:
    """The (weighted) mean in each resample, (resamples,) float64, and the mean itself.

    The same seed draws the same rows for all `values` of one length: draws of two measures on the same queries pair up.
    """
    x = np.asarray(values, np.float64)
    if x.ndim != 1 or len(x) == 0:
        raise ValueError("a bootstrap needs a non-empty vector of values")
    w = np.ones_like(x) if weights is None else np.asarray(weights, np.float64)
    top, bottom = w * x, w
    if groups is not None:
        code = np.unique(np.asarray(groups), return_inverse=True)[1]
        top = np.bincount(code, top).astype(np.float64)
        bottom = np.bincount(code, bottom).astype(np.float64)
    mean = float(top.sum() / bottom.sum())
    draws = np.empty(resamples)
    rng = np.random.default_rng(seed)
    step = max(1, DRAWS_IN_MEMORY // len(top))
    for start in range(0, resamples, step):
        rows = rng.integers(0, len(top), (min(step, resamples - start), len(top)))
        with np.errstate(invalid="ignore"):  # a resample of weightless rows only
            draws[start : start + step] = top[rows].sum(1) / bottom[rows].sum(1)
    return np.where(np.isnan(draws), mean, draws), mean


def percentile_interval(mean: float, draws: NDArray[np.float64], confidence: float = 0.95) -> Interval:
    """`mean` with the central share `confidence` of the bootstrap `draws` around it."""
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(mean, float(low), float(high))
