"""Bootstrap confidence intervals of a mean, over rows or over whole groups of rows.

Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapters 6 and 13.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.arrays import Floats

DRAWS_IN_MEMORY = 4_000_000
DRAWS_KEPT = 20_000_000  # of a byte each as a rule, for what is compared next


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval, of 95 % where no other confidence was given."""

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
    """The bootstrap percentile interval of the (weighted) mean of `values`.

    values: (m,); groups: (m,), rows of one group are drawn together (cluster bootstrap); weights: (m,), non-negative.
    Raises ValueError where there are no values.
    """
    x = np.asarray(values, np.float64)
    if x.ndim != 1 or len(x) == 0:
        raise ValueError("a bootstrap needs a non-empty vector of values")
    w = np.ones_like(x) if weights is None else np.asarray(weights, np.float64)
    parts = group_sums(np.column_stack([w * x, w]), groups)
    total, weight = parts.sum(0)
    drawn = resampled_sums(parts, seed=seed, resamples=resamples)
    means = np.full(resamples, total / weight)  # kept by a draw of weightless rows only
    np.divide(drawn[:, 0], drawn[:, 1], out=means, where=drawn[:, 1] > 0)
    return percentile_interval(float(total / weight), means, confidence)


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
    """The bootstrap percentile interval of mean(a − b), where a and b (m,) were measured on the same queries.

    groups, weights, confidence and ValueError as in `bootstrap_mean`.
    """
    difference = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    return bootstrap_mean(
        difference, groups=groups, weights=weights, seed=seed, resamples=resamples, confidence=confidence
    )


def group_sums(parts: Floats, groups: ArrayLike | None) -> Floats:
    """The sum of each group's rows: (m, s) → (groups, s); without groups, the rows themselves."""
    if groups is None:
        return parts
    code = np.unique(np.asarray(groups), return_inverse=True)[1]
    summed = np.zeros((int(code.max()) + 1, parts.shape[1]))
    np.add.at(summed, code, parts)
    return summed


def resampled_sums(parts: Floats, *, seed: int = 0, resamples: int = 2000, size: int | None = None) -> Floats:
    """Column sums over `size` rows drawn with replacement (default n): (n, s) → (resamples, s) float64.

    Equal seeds draw equal rows from tables of equally many rows.
    """
    n, size = len(parts), size or len(parts)
    if resamples * max(n, size) <= DRAWS_IN_MEMORY:
        return np.asarray(_draws(n, size, seed, resamples) @ parts)
    few = resamples * n <= DRAWS_KEPT
    pieces = _kept_draws(n, size, seed, resamples) if few else _draw(n, size, seed, resamples)
    return np.concatenate([counts.astype(np.float64, copy=False) @ parts for counts in pieces])


@lru_cache(maxsize=3)  # figures that are compared are of the same queries, and an estimate takes draws of three kinds
def _draws(n: int, size: int, seed: int, resamples: int) -> Floats:
    """All of `_draw`, which is not to be written to."""
    return np.concatenate(list(_draw(n, size, seed, resamples)))


@lru_cache(maxsize=3)
def _kept_draws(n: int, size: int, seed: int, resamples: int) -> tuple[NDArray[Any], ...]:
    """The pieces of `_draw`, whole numbers of as few bytes as they need."""
    return tuple(
        counts.astype(np.min_scalar_type(int(counts.max(initial=0)))) for counts in _draw(n, size, seed, resamples)
    )


def _draw(n: int, size: int, seed: int, resamples: int) -> Iterator[Floats]:
    """How often each of n rows is among the `size` drawn: (resamples, n) float64, in pieces of bounded size."""
    rng = np.random.default_rng(seed)
    step = max(1, DRAWS_IN_MEMORY // max(n, size))
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        rows = rng.integers(0, n, (count, size)) + n * np.arange(count)[:, None]
        yield np.bincount(rows.ravel(), minlength=count * n).reshape(count, n).astype(np.float64)


def percentile_interval(mean: float, draws: Floats, confidence: float = 0.95) -> Interval:
    """`mean` with the interval that holds the central share `confidence` of the bootstrap `draws`."""
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(mean, float(low), float(high))
