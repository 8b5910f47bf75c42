"""Which groups (classes, or regions of the old space) lose by a crossing, and which need pairs to be judged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from models.evaluation.bootstrap import bootstrap_mean
from models.proof.inputs import METRICS, RetrievalMetric
from models.proof.report import (
    LosingGroup,
    WantedPairs,
)
from models.proof.setup import ProofSetup
from models.proof.strata import Part

LOSING = 0.01  # one-sided level of the sign test by which a covered group is said to lose


def losing_groups(
    trial: ProofSetup, parts: Sequence[Part], metric: RetrievalMetric, seed: int
) -> tuple[LosingGroup, ...]:
    """Groups that lose: by a sign test where they have queries; where not, if groups held out whole stay below them."""
    coverage, column = trial.coverage, METRICS.index(metric)
    pairs = np.bincount(coverage.pair_cell[coverage.pair_cell >= 0], minlength=len(coverage.names))
    found: list[LosingGroup] = []
    for part in parts:
        j, known = part.judged, part.known
        if part.by_cell:
            expected = bootstrap_mean(j.cross[:, column], groups=j.cell, weights=j.weight, seed=seed)
            unseen = float(np.average(j.old[:, column], weights=j.weight))
            for cell in np.flatnonzero(part.cells).tolist():
                mine = np.zeros(0, bool) if known is None else known.cell == cell
                before = (
                    unseen
                    if known is None or not mine.any() or not trial.bench.labelled
                    else float(known.scores[mine, column].mean())
                )
                if before > expected.high:
                    by = f"predicted: {part.judged_on}"
                    found.append(_losing_group(trial, cell, pairs, before, expected.mean, by))
            continue
        for cell in np.unique(j.cell).tolist():
            mine = j.cell == cell
            old, cross = j.old[mine, column], j.cross[mine, column]
            if _sign_test(int((cross < old).sum()), int((cross > old).sum())) < LOSING:
                weight = j.weight[mine]
                before, after = (float(np.average(v, weights=weight)) for v in (old, cross))
                if after < before:
                    found.append(
                        _losing_group(trial, cell, pairs, before, after, f"{mine.sum()} queries: {part.judged_on}")
                    )
    return tuple(sorted(found, key=lambda g: (g.new - g.old, g.name)))


def _losing_group(
    trial: ProofSetup, cell: int, pairs: NDArray[np.int64], old: float, new: float, known_by: str
) -> LosingGroup:
    c = trial.coverage
    return LosingGroup(c.names[cell], bool(c.covered[cell]), int(c.size[cell]), int(pairs[cell]), old, new, known_by)


def _sign_test(against: int, favourable: int) -> float:
    """The one-sided p-value of the sign test: the probability that a fair coin turns at least `against` of them."""
    flips = against + favourable
    return float(binomtest(against, flips, alternative="greater").pvalue) if flips else 1.0


def wanted_pairs(trial: ProofSetup) -> tuple[WantedPairs, ...]:
    """For every group without (enough) pairs, as many as the median covered group has."""
    c = trial.coverage
    pairs = np.bincount(c.pair_cell[c.pair_cell >= 0], minlength=len(c.names))
    usual = max(1, round(float(np.median(pairs[c.covered])))) if c.covered.any() else 1
    cells = np.flatnonzero(~c.covered & (c.size > 0))
    cells = cells[np.argsort(-c.size[cells], kind="stable")]
    return tuple(WantedPairs(c.names[i], int(c.size[i]), min(usual, int(c.size[i]))) for i in cells)
