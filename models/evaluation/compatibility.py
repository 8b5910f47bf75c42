"""Measures of how compatible a new model is with an old gallery: criterion, update gain, oracle gain and retention.

Notation: M(q, g) is a retrieval metric with queries embedded by q and the gallery by g; new* is the new model trained
without a compatibility constraint. Bootstraps are over queries and paired: both sides answered the same queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from models.evaluation.bootstrap import Interval, paired_bootstrap
from models.json_values import plain

Verdict = Literal["better", "worse", "undecided"]


@dataclass(frozen=True)
class Criterion:
    """M(new, old) > M(old, old) of BCT (Shen et al., CVPR 2020), judged by the confidence interval of the
    difference."""

    difference: Interval
    verdict: Verdict


@dataclass(frozen=True)
class UpdateGain:
    """gain: the share reached of what the unconstrained new model gains; denominator: that gain, M(new*, new*) −
    M(old, old). gain is None where the denominator is not above 0."""

    gain: float | None
    denominator: float


@dataclass(frozen=True)
class Benchmark:
    """One retrieval benchmark's M(old, old), M(new*, new*), M(new, old) and M(new, new), all in one metric."""

    old: float
    best: float
    cross: float
    new: float


@dataclass(frozen=True)
class CompatibilityScores:
    """P_comp, how well a new model searches the old gallery; P_up, how good it is by itself; P_1, their harmonic mean.

    Each is in [0, 1] and the mean over benchmarks. p_comp and p_1 are None where the update gain of a benchmark is.
    """

    p_comp: float | None
    p_up: float | None
    p_1: float | None
    gains: tuple[UpdateGain, ...]

    def to_json(self) -> dict[str, Any]:
        """The scores as JSON values."""
        scores: dict[str, Any] = plain(self)
        return scores


def criterion(cross: ArrayLike, old: ArrayLike, *, seed: int = 0, resamples: int = 2000) -> Criterion:
    """Whether the cross test M(new, old) beats the self test M(old, old).

    "better" where the whole interval of the difference is above 0, "worse" where it is below, else "undecided".

    cross, old: (m,) the metric of every query. Raises ValueError where there are no queries.
    """
    difference = paired_bootstrap(cross, old, seed=seed, resamples=resamples)
    if difference.low > 0:
        return Criterion(difference, "better")
    return Criterion(difference, "worse" if difference.high < 0 else "undecided")


def update_gain(cross: float, old: float, best: float) -> UpdateGain:
    """(M(new, old) − M(old, old)) / (M(new*, new*) − M(old, old))."""
    return UpdateGain((cross - old) / (best - old) if best > old else None, best - old)


def oracle_gain(new: float, old: float) -> float | None:
    """M(new, new) / M(old, old): at or below 1 even full re-embedding gains nothing; None where M(old, old) is 0."""
    return new / old if old > 0 else None


def retention(after: float, re_embedded: float) -> float | None:
    """Recall after the upgrade / recall after full re-embedding (ARR); None where the latter is 0."""
    return after / re_embedded if re_embedded > 0 else None


def compatibility_scores(benchmarks: Sequence[Benchmark]) -> CompatibilityScores:
    """P_comp = mean sigmoid(update gain); P_up = mean sigmoid((M(new, new) − M*) / M*); P_1 = mean 2·P_up·P_comp / (…).

    M* is M(new*, new*). P_1 is computed for each benchmark, then averaged. Raises ValueError where there is no
    benchmark, or an M* is not positive.
    """
    if not benchmarks or min(b.best for b in benchmarks) <= 0:
        raise ValueError("compatibility scores need at least one benchmark, each with M(new*, new*) above 0")
    gains = tuple(update_gain(b.cross, b.old, b.best) for b in benchmarks)
    up = _sigmoid([(b.new - b.best) / b.best for b in benchmarks])
    known = [g.gain for g in gains if g.gain is not None]
    if len(known) < len(gains):
        return CompatibilityScores(None, float(up.mean()), None, gains)
    comp = _sigmoid(known)
    return CompatibilityScores(float(comp.mean()), float(up.mean()), float(np.mean(2 * up * comp / (up + comp))), gains)


def _sigmoid(values: Sequence[float]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return 1 / (1 + np.exp(-np.asarray(values, np.float64)))
