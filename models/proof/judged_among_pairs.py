"""What embedding items anew gives by judged queries, as far as the pairs can tell: they alone have new vectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.arrays import Floats
from models.evaluation.bootstrap import bootstrap_mean, paired_bootstrap
from models.evaluation.judged_metrics import JudgedMetric, judged_ranks
from models.portable import Array, Distance
from models.proof.full_re_embedding import ErrorsLeft, new_is_worse, ratio_of_sums, without_errors
from models.proof.judged_queries import FEWEST_QUERIES
from models.proof.judged_scores import JudgedBench
from models.proof.report import FullReEmbedding, Quantity, quantity
from models.proof.stratum_estimate import Draws


@dataclass(frozen=True)
class AmongPairs:
    """The judged queries on the pairs alone, by their old, crossed and new vectors.

    result: the figures; left: the errors that new vectors leave, None where the metric has none to speak of.
    """

    result: FullReEmbedding
    left: ErrorsLeft | None

    def new_is_worse(self, difference: Quantity) -> bool:
        """Whether the new model is itself no better than the old, as the crossing's `difference` says as well."""
        return new_is_worse(self.result, difference)

    def re_embedded(self, crossing: Draws) -> Quantity | None:
        """The predicted figure of full re-embedding; crossing: what was measured on the whole gallery."""
        return without_errors(crossing, self.left)


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

    gain = paired_bootstrap(new, old, seed=seed)
    result = FullReEmbedding(
        str(metric),
        mean(old),
        mean(cross),
        mean(new),
        quantity(gain, basis),
        float(new.mean() / old.mean()) if old.mean() > 0 else None,
    )
    left = None
    if metric.name != "precision":
        of_old, of_crossing = (ratio_of_sums(1 - np.column_stack([new, each]), seed) for each in (old, cross))
        left = ErrorsLeft(of_old, of_crossing)
    return AmongPairs(result, left)
