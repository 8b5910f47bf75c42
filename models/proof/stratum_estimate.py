"""From measured queries to statements about a gallery: strata weighted by their shares, with one interval.

A stratum is a part of the gallery with queries that speak for it. What is known of the whole stratum and not only of
those queries (how the old model does there, how far its items are from what was learned) corrects the crossing's figure
by regression (Cochran, "Sampling Techniques", 1977, ch. 7; Särndal, Swensson and Wretman, "Model Assisted Survey
Sampling", 1992, ch. 6). Uncertainty is bootstrapped over queries, in runs or whole classes as they depend.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from models.arrays import Codes, Floats
from models.evaluation.bootstrap import Interval, group_sums, percentile_interval, resampled_sums

RESAMPLES = 2000
UNITS_FOR_A_SLOPE = 20  # with fewer, the crossing is taken to move with the old model, and distances are left aside
UNITS_PER_SLOPE = 10


@dataclass(frozen=True)
class MeasuredUnits:
    """Measured units, queries or whole classes: the old model's figure, the crossing's, weight, cluster; (m,) each.

    distances: (m, c) how far each is from what was learned, and whatever else tells how far it lies, the most important
    first, where that is known. population: how many units the stratum is itself made of,
    where they are so few that their own mean scatters around that of all units that could be (classes without pairs);
    None for queries.
    """

    old: Floats
    cross: Floats
    weight: Floats
    cluster: Codes | None = None
    distances: Floats | None = None
    population: int | None = None


@dataclass(frozen=True)
class KnownUnits:
    """What is known on the stratum's own gallery rows: the old model's figure (q,), distances (q, c), cluster (q,)."""

    old: Floats | None = None
    distances: Floats | None = None
    cluster: Codes | None = None


@dataclass(frozen=True)
class Draws:
    """A stratum's figures (or several strata's together) and what the bootstrap makes of them; (resamples,) each.

    fresh_old, fresh_cross: with the scatter of a fresh test of as many queries added. lasting_old, lasting_cross: of
    the scatter of old and cross, around 0, what more queries of the same kind would not narrow: that of gallery rows
    drawn to correct the figures by, or of classes.
    """

    old_mean: float
    cross_mean: float
    old: Floats
    cross: Floats
    fresh_old: Floats
    fresh_cross: Floats
    lasting_old: Floats
    lasting_cross: Floats

    def predicted_old(self) -> Interval:
        """What a fresh self test M(old, old) of as many queries would measure: a prediction interval."""
        return _proportion(percentile_interval(self.old_mean, self.fresh_old))

    def predicted_cross(self) -> Interval:
        """What a fresh cross test M(new, h(old)) of as many queries would measure: a prediction interval."""
        return _proportion(percentile_interval(self.cross_mean, self.fresh_cross))

    def difference(self) -> Interval:
        """M(new, h(old)) − M(old, old): a confidence interval."""
        return percentile_interval(self.cross_mean - self.old_mean, self.cross - self.old)


def estimate(sample: MeasuredUnits, known: KnownUnits | None, *, seed: int, resamples: int = RESAMPLES) -> Draws:
    """The stratum's figures from its sample and from what is known of the whole of it; at least two units."""
    known = known or KnownUnits()
    covariates = _covariates(sample, known)
    moments = _moments(sample, [mine for mine, _ in covariates])
    units = len(moments)
    widening = _student(units)
    mean, slope = _regression(moments.sum(0)[None], units, known.old is not None)
    drawn, drawn_slope = _regression(
        resampled_sums(moments, seed=seed, resamples=resamples), units, known.old is not None
    )
    again, _ = _regression(
        resampled_sums(moments, seed=seed + 1, resamples=resamples, size=sample.population),
        units,
        known.old is not None,
    )
    drawn, scatter = mean + widening * (drawn - mean), widening * (again - mean)
    stratum_mean, stratum = _stratum([whole for _, whole in covariates], known.cluster, seed + 2, resamples)
    cross_mean = mean[0, -2] + slope[0] @ (stratum_mean - mean[0, :-2])
    cross = drawn[:, -2] + np.einsum("rk,rk->r", drawn_slope, stratum - drawn[:, :-2])
    old_mean, old = (mean[0, -1], drawn[:, -1]) if known.old is None else (stratum_mean[0], stratum[:, 0])
    if sample.population is None:
        moved = stratum - stratum_mean
        return Draws(
            float(old_mean),
            float(cross_mean),
            old,
            cross,
            old + scatter[:, -1],
            cross + scatter[:, -2],
            np.zeros(resamples) if known.old is None else moved[:, 0],
            moved @ slope[0],
        )
    cross = cross + scatter[:, -2] - scatter[:, :-2] @ slope[0]
    old = old + scatter[:, -1] if known.old is None else old
    return Draws(float(old_mean), float(cross_mean), old, cross, old, cross, old - old_mean, cross - cross_mean)


def flips_not_seen(weight: Floats, cluster: Codes, *, seed: int, resamples: int = RESAMPLES) -> Floats:
    """What two units more, one won and one lost, add to a mean of differences as it is resampled: (resamples,).

    weight, cluster: (m,) of the measured queries. Where two searches answer nearly every query alike, a handful of
    queries is all that a bootstrap has to draw: with four won and none lost it knows of no loss, however likely one
    is. A unit won and one lost, of the weight of the others (root mean square), make its interval about as wide as the
    exact sign test's there, and change nothing to speak of where many queries differ (after Agresti and Min, "Simple
    improved confidence intervals for comparing matched proportions", Statistics in Medicine 24, 2005).
    """
    units = group_sums(weight[:, None], cluster)[:, 0]
    won, lost = np.random.default_rng(seed).poisson(1, (2, resamples))  # how often each is drawn
    return np.asarray((won - lost) * np.sqrt(np.square(units).mean()) / units.sum())


def combine(strata: Sequence[tuple[float, Draws]]) -> Draws:
    """The weighted sum of independent strata: (share, figures) each, shares summing to 1."""
    return Draws(
        sum(share * d.old_mean for share, d in strata),
        sum(share * d.cross_mean for share, d in strata),
        np.sum([share * d.old for share, d in strata], axis=0),
        np.sum([share * d.cross for share, d in strata], axis=0),
        np.sum([share * d.fresh_old for share, d in strata], axis=0),
        np.sum([share * d.fresh_cross for share, d in strata], axis=0),
        np.sum([share * d.lasting_old for share, d in strata], axis=0),
        np.sum([share * d.lasting_cross for share, d in strata], axis=0),
    )


def _covariates(sample: MeasuredUnits, known: KnownUnits) -> list[tuple[Floats, Floats]]:
    """What is known of the units as well as of the whole stratum, as far as there are units to learn slopes from: the
    old model's figure and the distances, (m,) of the units and (q,) of the stratum each."""
    pairs: list[tuple[Floats, Floats]] = []
    if known.old is not None:
        pairs.append((sample.old, known.old))
    if sample.distances is not None and known.distances is not None:
        pairs += zip(sample.distances.T, known.distances.T, strict=True)
    units = len(sample.old) if sample.cluster is None else len(np.unique(sample.cluster))
    if units < UNITS_FOR_A_SLOPE:
        return pairs[:1] if known.old is not None else []
    return pairs[: units // UNITS_PER_SLOPE]


def _moments(s: MeasuredUnits, covariates: list[Floats]) -> Floats:
    """Weighted products of [1, covariates…, cross, old] with each other, summed by cluster: (units, p²)."""
    values = np.column_stack([np.ones_like(s.old), *covariates, s.cross, s.old])
    products = s.weight[:, None, None] * values[:, :, None] * values[:, None, :]
    return group_sums(products.reshape(len(values), -1), s.cluster)


def _regression(sums: Floats, units: int, with_old: bool) -> tuple[Floats, Floats]:
    """From (r, p²) sums of products: means of [covariates…, cross, old], (r, k + 2), and cross' slopes, (r, k)."""
    p = round(np.sqrt(sums.shape[1]))
    table = sums.reshape(-1, p, p)
    table = table / np.maximum(table[:, :1, :1], np.finfo(np.float64).tiny)
    mean = table[:, 0, 1:]
    k = p - 3
    slope = np.zeros((len(table), k))
    if units >= UNITS_FOR_A_SLOPE:
        covariance = table[:, 1:, 1:] - mean[:, :, None] * mean[:, None, :]
        spread = np.maximum(np.einsum("rkk->rk", covariance[:, :k, :k]), 1e-9)
        ridge = 1e-6 * spread[:, :, None] * np.eye(k)
        slope = np.linalg.solve(covariance[:, :k, :k] + ridge, covariance[:, :k, k, None])[:, :, 0]
    elif with_old:
        slope[:, 0] = 1
    return mean, slope


def _stratum(columns: list[Floats], cluster: Codes | None, seed: int, resamples: int) -> tuple[Floats, Floats]:
    """The covariates' means over the whole stratum, (k,), and resampled, (resamples, k)."""
    if not columns:
        return np.zeros(0), np.zeros((resamples, 0))
    parts = group_sums(np.column_stack([np.ones_like(columns[0]), *columns]), cluster)
    drawn = resampled_sums(parts, seed=seed, resamples=resamples)
    total = parts.sum(0)
    return total[1:] / total[0], drawn[:, 1:] / drawn[:, :1]


def _student(units: int) -> float:
    """How much wider Student's t makes a 95 % interval of a mean of few units than the bootstrap's normal one.

    The ratio of the two distributions' quantiles, times that of the standard deviations: the bootstrap's divides by
    the number of units, Student's by one less.
    """
    freedom = units - 1
    return float(stats.t.ppf(0.975, freedom) / stats.norm.ppf(0.975) * np.sqrt(units / freedom))


def _proportion(interval: Interval) -> Interval:
    mean, low, high = (min(max(v, 0.0), 1.0) for v in (interval.mean, interval.low, interval.high))
    return Interval(mean, low, high)
