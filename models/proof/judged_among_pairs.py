"""What embedding items anew gives by judged queries, as far as the pairs can tell: they alone have new vectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.arrays import Floats
from models.evaluation.bootstrap import Interval, bootstrap_mean, paired_bootstrap, percentile_interval, resampled_sums
from models.evaluation.judged_metrics import JudgedMetric, judged_ranks
from models.portable import Array, Distance
from models.proof.full_re_embedding import new_is_worse
from models.proof.judged_queries import FEWEST_QUERIES
from models.proof.judged_scores import JudgedBench
from models.proof.report import FullReEmbedding, Quantity, quantity
from models.proof.stratum_estimate import RESAMPLES, Draws


@dataclass(frozen=True)
class AmongPairs:
    """The judged queries on the pairs alone, by their old, crossed and new vectors.

    result: the figures; left: the share of the crossing's errors that new vectors leave, and its bootstrap draws
    (resamples,); None where the metric has no errors to speak of.
    """

    result: FullReEmbedding
    left: tuple[float, Floats] | None

    def new_is_worse(self, difference: Quantity) -> bool:
        """Whether the new model is itself no better than the old, as the crossing's `difference` says as well."""
        return new_is_worse(self.result, difference)

    def re_embedded(self, crossing: Draws) -> Quantity | None:
        """The predicted figure of full re-embedding; crossing: that of the crossing, on the whole gallery.

        Its errors are taken to shrink as among the pairs, which alone are a sparser gallery than the real one.
        """
        if self.left is None:
            return None
        mean, draws = self.left
        interval = percentile_interval(1 - mean * (1 - crossing.cross_mean), 1 - draws * (1 - crossing.fresh_cross))
        mean, low, high = (min(max(v, 0.0), 1.0) for v in (interval.mean, interval.low, interval.high))
        return Quantity(
            mean, low, high, "predicted: the crossing's errors, in the proportion left by new vectors of the pairs"
        )


def among_judged_pairs(bench: JudgedBench, crossed: Array, metric: JudgedMetric, seed: int) -> AmongPairs | None:
    """None where fewer than `FEWEST_QUERIES` have a relevant item among the pairs.

    crossed: (n, d_new) the pairs' old vectors, as crossed by what has not learned from them.
    """
    items = np.flatnonzero(bench.pair_row >= 0)
    rows, first = np.unique(bench.pair_row[items], return_index=True)
    order = items[first]
    asked = bench.queries.searching(rows, len(bench.gallery)).answerable()
    if len(asked) < FEWEST_QUERIES:
        return None

    def found(queries: Array, gallery: Array, distance: Distance) -> Floats:
        return judged_ranks(queries, gallery[order], distance, asked.judgements).values(metric)

    old = found(asked.old, bench.pairs.old, bench.source.metric)
    cross = found(asked.new, crossed, bench.target.metric)
    new = found(asked.new, bench.pairs.new, bench.target.metric)
    basis = f"{len(asked)} judged queries, {len(order)} pairs as gallery"

    def mean(values: Floats) -> Quantity:
        return quantity(bootstrap_mean(values, seed=seed), basis)

    gain: Interval = paired_bootstrap(new, old, seed=seed)
    result = FullReEmbedding(
        str(metric),
        mean(old),
        mean(cross),
        mean(new),
        quantity(gain, basis),
        float(new.mean() / old.mean()) if old.mean() > 0 else None,
    )
    return AmongPairs(result, None if metric.name == "precision" else _left(cross, new, seed))


def _left(cross: Floats, new: Floats, seed: int) -> tuple[float, Floats]:
    """The share of the crossing's errors that new vectors leave: 1 where it makes none."""
    parts = np.column_stack([1 - new, 1 - cross])
    drawn = np.vstack([parts.sum(0), resampled_sums(parts, seed=seed, resamples=RESAMPLES)])
    ratios = np.ones(len(drawn))
    np.divide(drawn[:, 0], drawn[:, 1], out=ratios, where=drawn[:, 1] > 0)
    return float(ratios[0]), ratios[1:]
