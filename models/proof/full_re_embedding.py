"""What embedding every item with the new model would give, as far as the pairs can tell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.arrays import Floats
from models.evaluation.bootstrap import Interval, group_sums, percentile_interval, resampled_sums
from models.evaluation.retrieval_metrics import BY_LABEL, METRICS, RetrievalMetric
from models.proof.bench import among_pairs, answerable_among_pairs
from models.proof.held_out_scores import HeldOutScores
from models.proof.report import FullReEmbedding, Quantity, quantity
from models.proof.setup import ProofSetup
from models.proof.stratum_estimate import RESAMPLES, Draws


@dataclass(frozen=True)
class ErrorsLeft:
    """The share of errors that re-embedding the pairs would leave: of the old model's and of the crossing's among the
    pairs, each a mean and its bootstrap draws, (resamples,). Above 1 where it would add some."""

    of_old: tuple[float, Floats]
    of_crossing: tuple[float, Floats]


def full_re_embedding(
    setup: ProofSetup, rows: HeldOutScores, metric: RetrievalMetric, seed: int
) -> tuple[FullReEmbedding | None, ErrorsLeft | None]:
    """What re-embedding the pairs would give, M(new, new), and the errors that it would leave.

    rows: the pairs as transformed with their rows held out. Pairs whose label no other has are not counted: no vectors
    could answer them right. Both are None where none is left, and for a metric that takes the new model's own answers
    for the truth.
    """
    if metric not in BY_LABEL:
        return None, None
    bench, column = setup.bench, METRICS.index(metric)
    counted = answerable_among_pairs(bench)
    if not counted.any():
        return None, None
    new, old = bench.pairs.new[bench.judged], bench.pairs.old[bench.judged]
    target = bench.target.metric
    by_old = among_pairs(bench, old, bench.source.metric, old)[counted, column]
    by_cross = among_pairs(bench, rows.vectors, target, new)[counted, column]
    by_new = among_pairs(bench, new, target, new)[counted, column]
    asked = bench.judged[counted]
    weight, runs = setup.weight[asked], setup.runs(setup.pair_row[asked])
    basis = f"{len(asked)} pairs as queries, {len(new)} as gallery"

    def ratio(top: Floats, bottom: Floats) -> tuple[float, Floats]:
        return ratio_of_sums(group_sums(np.column_stack([weight * top, weight * bottom]), runs), seed)

    def mean(values: Floats) -> Quantity:
        return quantity(percentile_interval(*ratio(values, np.ones_like(values))), basis)

    self_test, new_new = mean(by_old), mean(by_new)
    gain = new_new.mean / self_test.mean if self_test.mean > 0 else None
    return (
        FullReEmbedding(metric, self_test, mean(by_cross), new_new, mean(by_new - by_old), gain),
        ErrorsLeft(ratio(1 - by_new, 1 - by_old), ratio(1 - by_new, 1 - by_cross)),
    )


def ratio_of_sums(parts: Floats, seed: int) -> tuple[float, Floats]:
    """The sum of the first column of parts (n, 2) over that of the second, and its bootstrap draws, (resamples,)."""
    drawn = np.vstack([parts.sum(0), resampled_sums(parts, seed=seed, resamples=RESAMPLES)])
    ratios = np.ones(len(drawn))  # where there is nothing to divide by, nothing changes
    np.divide(drawn[:, 0], drawn[:, 1], out=ratios, where=drawn[:, 1] > 0)
    return float(ratios[0]), ratios[1:]


def new_is_worse(backfilled: FullReEmbedding | None, difference: Quantity) -> bool:
    """Whether the new model is worse than the old, or shows no gain where the crossing does not either.

    Where the pairs alone are so easy that the old model makes no mistake, they cannot tell.
    """
    if backfilled is None:
        return False
    gain, perfect = backfilled.gain, backfilled.old_old.mean >= 1
    return gain.high < 0 or (gain.mean <= 0 and difference.low <= 0 and not perfect)


def without_errors(seen: Draws | None, left: ErrorsLeft | None) -> Quantity | None:
    """The predicted figure of full re-embedding over the gallery, None where there is nothing to predict it from.

    seen: the figures of the part with pairs. The old model's errors are taken to shrink in the gallery as they do among
    the pairs, whose own figures cannot be taken over: they alone are a sparser gallery, which real vectors of either
    model suffer from more than the crossing's, which are smoother. The crossing's errors can be reckoned with in the
    same way, which is as a rule further off; the interval holds those of both ways.
    """
    if seen is None or left is None:
        return None

    def reckoned(errors: tuple[float, Floats], mean: float, fresh: Floats) -> Interval:
        return percentile_interval(1 - errors[0] * (1 - mean), 1 - errors[1] * (1 - fresh))

    by_old = reckoned(left.of_old, seen.old_mean, seen.fresh_old)
    by_cross = reckoned(left.of_crossing, seen.cross_mean, seen.fresh_cross)
    either = Interval(by_old.mean, min(by_old.low, by_cross.low), max(by_old.high, by_cross.high))
    return _clipped(either, "predicted: the old model's errors, in the proportion left by re-embedding the pairs")


def mixed(seen: Draws | None, re_embed: Quantity | None, share: float) -> Quantity | None:
    """The predicted figure with the covered part, `share` of the gallery, transformed and the rest re-embedded.

    Both parts rest on the same pairs, so the ends of their intervals add up. None where either is not known.
    """
    if seen is None or re_embed is None:
        return None
    covered = seen.predicted_cross()
    mean, low, high = (
        share * a + (1 - share) * b
        for a, b in zip(
            (covered.mean, covered.low, covered.high), (re_embed.mean, re_embed.low, re_embed.high), strict=True
        )
    )
    return Quantity(mean, low, high, "predicted: groups with pairs transformed, groups without re-embedded")


def _clipped(interval: Interval, basis: str) -> Quantity:
    mean, low, high = (min(max(v, 0.0), 1.0) for v in (interval.mean, interval.low, interval.high))
    return Quantity(mean, low, high, basis)
