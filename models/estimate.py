"""From measured queries to statements about a gallery: strata weighted by their shares, with one interval.

A stratum is a part of the gallery with queries that speak for it. Where the old model's figure is known for the whole
stratum and not only for those queries, the crossing's is corrected by regression on it (Cochran, "Sampling Techniques",
1977, ch. 7). Uncertainty is bootstrapped over queries, in runs or whole classes as they depend on each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.bootstrap import Interval, group_sums, percentile_interval, resampled_sums

RESAMPLES = 2000
UNITS_FOR_A_SLOPE = 20  # with fewer the slope is taken as 1: the plain paired difference
TINY = np.finfo(np.float64).tiny

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Sample:
    """Measured units, queries or whole classes: the old model's figure, the crossing's, weight, cluster; (m,) each.

    population: how many units the stratum is itself made of, where they are so few that their own mean scatters around
    that of all units that could be (classes without pairs); None for queries.
    """

    old: Floats
    cross: Floats
    weight: Floats
    cluster: Codes | None = None
    population: int | None = None


@dataclass(frozen=True)
class Known:
    """The old model's figure measured on the stratum's own gallery rows: value, weight, cluster; (q,) each."""

    old: Floats
    weight: Floats
    cluster: Codes | None = None


@dataclass(frozen=True)
class Draws:
    """A stratum's figures (or several strata's together) and what the bootstrap makes of them; (resamples,) each.

    fresh_old, fresh_cross: with the scatter of a fresh test of as many queries added.
    """

    old_mean: float
    cross_mean: float
    old: Floats
    cross: Floats
    fresh_old: Floats
    fresh_cross: Floats

    def predicted_old(self) -> Interval:
        """What a fresh self test M(old, old) of as many queries would measure: a prediction interval."""
        return _proportion(percentile_interval(self.old_mean, self.fresh_old))

    def predicted_cross(self) -> Interval:
        """What a fresh cross test M(new, h(old)) of as many queries would measure: a prediction interval."""
        return _proportion(percentile_interval(self.cross_mean, self.fresh_cross))

    def difference(self) -> Interval:
        """M(new, h(old)) − M(old, old): a confidence interval."""
        return percentile_interval(self.cross_mean - self.old_mean, self.cross - self.old)


def estimate(sample: Sample, known: Known | None, *, seed: int, resamples: int = RESAMPLES) -> Draws:
    """The stratum's figures from its sample and from what is known of the old model on the whole of it."""
    parts = _moments(sample)
    old_mean, cross_mean, slope = (float(v[0]) for v in _regression(parts.sum(0)[None], len(parts)))
    drawn_old, drawn_cross, drawn_slope = _regression(resampled_sums(parts, seed=seed, resamples=resamples), len(parts))
    again_old, again_cross, _ = _regression(
        resampled_sums(parts, seed=seed + 1, resamples=resamples, size=sample.population), len(parts)
    )
    widening = _student(len(parts))
    scatter_old, scatter_cross = widening * (again_old - old_mean), widening * (again_cross - cross_mean)
    drawn_old, drawn_cross = (m + widening * (d - m) for m, d in ((old_mean, drawn_old), (cross_mean, drawn_cross)))
    realised = sample.population is not None
    stratum_mean, stratum = old_mean, drawn_old + scatter_old * realised
    if known is not None:
        stratum_mean, stratum = _known(known, seed + 2, resamples)
    cross_mean += slope * (stratum_mean - old_mean)
    cross = drawn_cross + drawn_slope * (stratum - drawn_old)
    if realised:
        cross += scatter_cross - slope * scatter_old
        return Draws(stratum_mean, cross_mean, stratum, cross, stratum, cross)
    return Draws(stratum_mean, cross_mean, stratum, cross, stratum + scatter_old, cross + scatter_cross)


def combine(strata: Sequence[tuple[float, Draws]]) -> Draws:
    """The weighted sum of independent strata: (share, figures) each, shares summing to 1."""
    return Draws(
        sum(share * d.old_mean for share, d in strata),
        sum(share * d.cross_mean for share, d in strata),
        np.sum([share * d.old for share, d in strata], axis=0),
        np.sum([share * d.cross for share, d in strata], axis=0),
        np.sum([share * d.fresh_old for share, d in strata], axis=0),
        np.sum([share * d.fresh_cross for share, d in strata], axis=0),
    )


def _moments(s: Sample) -> Floats:
    parts = np.column_stack([s.weight * v for v in (np.ones_like(s.old), s.old, s.cross, s.old**2, s.old * s.cross)])
    return group_sums(parts, s.cluster)


def _regression(sums: Floats, units: int) -> tuple[Floats, Floats, Floats]:
    """Means of old and cross and the slope of cross on old, from (r, 5) sums of w, w·x, w·y, w·x², w·x·y."""
    weight = np.maximum(sums[:, 0], TINY)
    old, cross, old_old, old_cross = (sums[:, i] / weight for i in range(1, 5))
    slope = np.ones(len(sums))
    if units >= UNITS_FOR_A_SLOPE:
        variance = old_old - old**2
        np.divide(old_cross - old * cross, variance, out=slope, where=variance > 1e-9)
    return old, cross, slope


def _known(known: Known, seed: int, resamples: int) -> tuple[float, Floats]:
    parts = group_sums(np.column_stack([known.weight * known.old, known.weight]), known.cluster)
    drawn = resampled_sums(parts, seed=seed, resamples=resamples)
    top, bottom = parts.sum(0)
    return float(top / bottom), drawn[:, 0] / np.maximum(drawn[:, 1], TINY)


def _student(units: int) -> float:
    """How much wider Student's t makes a 95 % interval of a mean of few units than the bootstrap's normal one.

    The quantile by the Cornish-Fisher expansion (Abramowitz and Stegun 26.7.5), the variance by n / (n − 1).
    """
    if units < 2:
        return np.inf
    z, v = 1.959964, units - 1
    t = z + (z**3 + z) / (4 * v) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
    return float(t / z * np.sqrt(units / v))


def _proportion(interval: Interval) -> Interval:
    mean, low, high = (min(max(v, 0.0), 1.0) for v in (interval.mean, interval.low, interval.high))
    return Interval(mean, low, high)
