"""What a search by both models' queries may be expected to gain, where its own interval leaves that open.

How many of the old model's errors such a search mends goes with how the crossing alone compares with the old model. So
the crossing's figures tell of it too, and with its own leave less open than those alone. The relation between the two
is learned from other migrations and is the prior of Bayes' rule (empirical Bayes: Efron, "Large-Scale Inference",
2010, ch. 1). What is expected is what a bet should go by where a bet is called for; it proves nothing, and no gate
reads it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from models.arrays import Floats
from models.proof.stratum_estimate import Draws

_REACH = 4.0  # standard errors around the crossing's figure that are reckoned with
_STEPS = 161
_VALUES = 1_000
_TINY = 1e-12
FEWEST_ERRORS = 0.02
"""The share that the old model must answer wrong for migrations that answered more wrong to tell of this one."""


@dataclass(frozen=True)
class GainRelation:
    """How the fused search's gain over the old model goes with the crossing's, each as a share of the old's errors.

    On average it is softplus: next to nothing where the crossing is far worse than the old model, the crossing's own
    where it is far better. centre: the crossing's share about which it bends; steepness: how sharply; spread: the
    standard deviation of migrations around it.
    """

    centre: float
    steepness: float
    spread: float

    def mended(self, crossing: Floats) -> Floats:
        """The share of the old model's errors that both models' queries are expected to mend, (k,) → (k,)."""
        return np.asarray(np.logaddexp(0.0, self.steepness * (crossing - self.centre)) / self.steepness)


OVER_MIGRATIONS = GainRelation(centre=0.106, steepness=2.89, spread=0.15)
"""Learned from 65 migrations measured in full: queries answered right at rank 1. Their own spread around it is 0.08; in
use is about how far images and digits, of which few are, lie from what texts foretell, since what is upgraded here may
be of any kind. `benchmarks.gains` prints both beside each other."""


@dataclass(frozen=True)
class ExpectedGain:
    """The fused search's gain over the old model: its mean, the ends of the interval that holds it with 95 %
    probability, and the probability that it is above 0."""

    mean: float
    low: float
    high: float
    better: float


def expected_gain(crossing: Draws, fused: Draws, relation: GainRelation = OVER_MIGRATIONS) -> ExpectedGain | None:
    """What the fused search gains, by its figures, the crossing's, and the relation of the two.

    None where the old model makes next to no errors, of which others tell nothing. No more is gained than it makes.

    crossing, fused: of the same resampled queries, whose luck they share. The figures are taken to be normal around
    what is so, and nothing is presumed of the crossing.
    """
    errors = 1 - fused.old_mean
    if errors < FEWEST_ERRORS:
        return None
    seen = fused.cross_mean - fused.old_mean
    own = np.cov(crossing.cross - crossing.old, fused.cross - fused.old)
    scatter = np.sqrt(max(own[0, 0], _TINY))
    shared = own[0, 1] / max(own[0, 0], _TINY)  # of the crossing's luck, the fused search's
    apart = max(own[1, 1] - shared * own[0, 1], _TINY)
    off = np.linspace(-_REACH, _REACH, _STEPS) * scatter
    of_crossing = crossing.cross_mean - crossing.old_mean + off
    foreseen, spread = errors * relation.mended(of_crossing / errors), (errors * relation.spread) ** 2
    observed = seen + shared * off
    likely = -0.5 * (np.square(off / scatter) + np.square(observed - foreseen) / (spread + apart))
    weight = np.exp(likely - likely.max())
    weight /= weight.sum()
    mean = (foreseen / spread + observed / apart) / (1 / spread + 1 / apart)
    deviation = np.sqrt(1 / (1 / spread + 1 / apart))
    values = np.linspace(mean.min() - 5 * deviation, mean.max() + 5 * deviation, _VALUES)
    below = stats.norm.cdf((values[:, None] - mean) / deviation) @ weight
    low, high = np.interp([0.025, 0.975], below, values)
    better = float(weight @ stats.norm.cdf(mean / deviation))
    expected, lowest, highest = (min(float(figure), errors) for figure in (weight @ mean, low, high))
    return ExpectedGain(expected, lowest, highest, better)
