"""A gallery's strata: the part that pairs cover, the part without pairs, and what the user's evaluation set covers.

Each stratum is judged by queries of its own kind, and counts by its share of the gallery.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.arrays import Codes, Floats, Scores
from models.evaluation.retrieval_metrics import METRICS, RetrievalMetric
from models.proof.coverage import Coverage
from models.proof.stratum_estimate import Draws, KnownUnits, MeasuredUnits, estimate, flips_not_seen


@dataclass(frozen=True)
class Judged:
    """Queries with their scores by the old model and by the crossing, old and cross (m, 4).

    cell: (m,) codes of label or region; weight: (m,) gallery rows that each stands for; cluster: (m,) codes of queries
    that depend on each other. distances: (m, 2) float64 from each query's item to the nearest pair that the
    transformation judged on it had learned from, and to the nearest that pairs drawn at random would have been; None
    where they are not needed.
    """

    cell: Codes
    weight: Floats
    cluster: Codes
    old: Scores
    cross: Scores
    distances: Floats | None = None

    def take(self, chosen: NDArray[np.bool_]) -> Judged:
        """The queries where `chosen`, (m,) bool."""
        return Judged(
            self.cell[chosen],
            self.weight[chosen],
            self.cluster[chosen],
            self.old[chosen],
            self.cross[chosen],
            None if self.distances is None else self.distances[chosen],
        )


@dataclass(frozen=True)
class GalleryKnown:
    """What is known of gallery rows drawn at random, without any new vector of theirs.

    cell, cluster: (q,) as of Judged; scores: (q, 4) the old model's, each row being the query, NaN where nothing is
    labelled; distances: (q, 2) to the nearest pair, and to the nearest that pairs drawn at random would have been.
    """

    cell: Codes
    cluster: Codes
    scores: Scores
    distances: Floats


@dataclass(frozen=True)
class Part:
    """A stratum: its cells (c,) bool, its share of the gallery, and the queries it is judged by.

    by_cell: the queries come from other cells that were held out whole, and cells are the units of inference, not
    queries. known: what is known of gallery rows, to correct the figures of queries that are a sample of such rows;
    None for queries that are taken as they are.
    """

    name: str
    judged_on: str
    cells: NDArray[np.bool_]
    share: float
    judged: Judged
    by_cell: bool
    known: GalleryKnown | None

    def draws(self, metric: RetrievalMetric, size: Codes, seed: int) -> Draws:
        """The figures of this stratum; size: (c,) gallery rows of every cell."""
        column = METRICS.index(metric)
        j, known = self.judged, self._known(column)
        if not self.by_cell:
            sample = MeasuredUnits(j.old[:, column], j.cross[:, column], j.weight, j.cluster, j.distances)
            return estimate(sample, known, seed=seed)
        cells, code = np.unique(j.cell, return_inverse=True)
        weight = np.bincount(code, j.weight)
        old, cross = (np.bincount(code, j.weight * v[:, column]) / weight for v in (j.old, j.cross))
        own_sizes = size[self.cells].astype(np.float64)
        population = max(1, round(float(own_sizes.sum() ** 2 / (own_sizes**2).sum())))
        sample = MeasuredUnits(old, cross, size[cells].astype(np.float64), population=population)
        return estimate(sample, known, seed=seed)

    def draws_with_few_flips(self, metric: RetrievalMetric, size: Codes, seed: int) -> Draws:
        """The same where the search judged may answer nearly every query as the old model does, so that the queries
        that tell them apart are few."""
        drawn = self.draws(metric, size, seed)
        more = flips_not_seen(self.judged.weight, self.judged.cluster, seed=seed + 3)
        return replace(drawn, cross=drawn.cross + more, fresh_cross=drawn.fresh_cross + more)

    def _known(self, column: int) -> KnownUnits | None:
        if self.known is None:
            return None
        mine = self.cells[self.known.cell]
        if not mine.any():
            return None
        old = self.known.scores[mine, column]
        distances = None if self.judged.distances is None else self.known.distances[mine]
        return KnownUnits(None if np.isnan(old).any() else old, distances, self.known.cluster[mine])


def strata(
    coverage: Coverage,
    row_judged: Judged | None,
    cell_judged: Judged | None,
    evaluated: Judged | None,
    known: GalleryKnown | None,
) -> list[Part]:
    """Cuts the gallery into parts, each judged by the most direct evidence there is.

    row_judged: the pairs, rows held out; cell_judged: the pairs, whole cells held out; evaluated: a separate set that
    nothing was learned from. A part with fewer than two units of evidence is left out: then shares sum to less than 1.
    """
    parts: list[Part] = []
    total = coverage.size.sum()
    rest = coverage.size > 0

    def add(
        name: str, judged_on: str, cells: NDArray[np.bool_], judged: Judged, by_cell: bool, like: GalleryKnown | None
    ) -> None:
        nonlocal rest
        units = len(np.unique(judged.cell)) if by_cell else len(np.unique(judged.cluster))
        cells = cells & rest
        if units >= 2 and cells.any():
            parts.append(Part(name, judged_on, cells, float(coverage.size[cells].sum() / total), judged, by_cell, like))
            rest &= ~cells

    if evaluated is not None:
        seen = np.zeros(len(rest), bool)
        seen[evaluated.cell[evaluated.cell >= 0]] = True
        real = evaluated.cell >= 0
        on = real & coverage.covered[evaluated.cell]
        add("covered", "evaluation set", coverage.covered, evaluated.take(on), False, None)
        add("evaluated, not covered", "evaluation set", seen, evaluated.take(real & ~on), False, None)
    if row_judged is not None:
        on = (row_judged.cell >= 0) & coverage.covered[row_judged.cell] & (row_judged.weight > 0)
        add("covered", "pairs, rows held out", coverage.covered, row_judged.take(on), False, known)
    if cell_judged is not None:
        on = (cell_judged.cell >= 0) & (cell_judged.weight > 0)
        what = "classes" if coverage.by == "label" else "regions"
        add("not covered", f"pairs, whole {what} held out", ~coverage.covered, cell_judged.take(on), True, known)
    return parts
