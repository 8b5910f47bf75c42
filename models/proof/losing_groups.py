"""Which groups (labels, or regions of the old space) lose by a crossing, and which need pairs to be judged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.stats import binomtest

from models.evaluation.bootstrap import bootstrap_mean
from models.evaluation.retrieval_metrics import METRICS, RetrievalMetric
from models.proof.report import (
    LosingGroup,
    WantedPairs,
)
from models.proof.setup import ProofSetup
from models.proof.strata import Part

LOSING = 0.01  # one-sided level of the sign test by which a covered group is said to lose


def losing_groups(
    setup: ProofSetup, parts: Sequence[Part], metric: RetrievalMetric, seed: int
) -> tuple[LosingGroup, ...]:
    """The groups where the crossing does worse than the old model, the greatest loss first.

    A group with queries loses by a sign test of theirs. A group without loses where the old model's figure on it lies
    above the interval of the crossing on groups that were held out whole.
    """
    losing = [
        group
        for part in parts
        for group in (
            _losing_unseen(setup, part, metric, seed) if part.by_cell else _losing_by_queries(setup, part, metric)
        )
    ]
    return tuple(sorted(losing, key=lambda group: (group.new - group.old, group.name)))


def _losing_unseen(setup: ProofSetup, part: Part, metric: RetrievalMetric, seed: int) -> Iterator[LosingGroup]:
    """Losing groups of a part that was judged by other groups, held out whole."""
    judged, known, column = part.judged, part.known, METRICS.index(metric)
    expected = bootstrap_mean(judged.cross[:, column], groups=judged.cell, weights=judged.weight, seed=seed)
    old_on_average = float(np.average(judged.old[:, column], weights=judged.weight))
    for cell in np.flatnonzero(part.cells).tolist():
        mine = np.zeros(0, bool) if known is None else known.cell == cell
        old = (
            old_on_average
            if known is None or not mine.any() or not setup.bench.labelled
            else float(known.scores[mine, column].mean())
        )
        if old > expected.high:
            yield _losing_group(setup, cell, old, expected.mean, f"predicted: {part.judged_on}")


def _losing_by_queries(setup: ProofSetup, part: Part, metric: RetrievalMetric) -> Iterator[LosingGroup]:
    """Losing groups of a part that was judged by queries of its own groups."""
    judged, column = part.judged, METRICS.index(metric)
    for cell in np.unique(judged.cell).tolist():
        mine = judged.cell == cell
        old, cross = judged.old[mine, column], judged.cross[mine, column]
        if _sign_test(int((cross < old).sum()), int((cross > old).sum())) < LOSING:
            before, after = (float(np.average(scores, weights=judged.weight[mine])) for scores in (old, cross))
            if after < before:
                yield _losing_group(setup, cell, before, after, f"{mine.sum()} queries: {part.judged_on}")


def _losing_group(setup: ProofSetup, cell: int, old: float, new: float, known_by: str) -> LosingGroup:
    c = setup.coverage
    pairs = int((c.pair_cell == cell).sum())
    return LosingGroup(c.names[cell], bool(c.covered[cell]), int(c.size[cell]), pairs, old, new, known_by)


def _sign_test(against: int, favourable: int) -> float:
    """The one-sided p-value of the sign test: how likely a fair coin falls `against` so often or more often.

    against, favourable: queries that the crossing answers worse, and better, than the old model.
    """
    flips = against + favourable
    return float(binomtest(against, flips, alternative="greater").pvalue) if flips else 1.0


def wanted_pairs(setup: ProofSetup) -> tuple[WantedPairs, ...]:
    """The groups that the pairs do not cover, largest first, each with how many pairs to add: as many as the median
    covered group has, but no more than the group has items."""
    c = setup.coverage
    pairs = np.bincount(c.pair_cell[c.pair_cell >= 0], minlength=len(c.names))
    usual = max(1, round(float(np.median(pairs[c.covered])))) if c.covered.any() else 1
    cells = np.flatnonzero(~c.covered & (c.size > 0))
    cells = cells[np.argsort(-c.size[cells], kind="stable")]
    return tuple(WantedPairs(c.names[i], int(c.size[i]), min(usual, int(c.size[i]))) for i in cells)
