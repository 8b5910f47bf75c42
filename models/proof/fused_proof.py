"""How good a search by both models' queries together is on the whole gallery, with a weight α that was chosen fairly.

The α that is kept is chosen on all held-out queries. The figures are not of that α: a query that helped to choose it
would be judged by its own vote. Each fold's queries are judged by the α that the other folds' queries choose.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.arrays import Codes, Floats, Scores
from models.evaluation.retrieval_metrics import METRICS, RetrievalMetric
from models.proof.fused_scores import ScoresByAlpha, alphas_for, best_alpha
from models.proof.setup import ProofSetup


@dataclass(frozen=True)
class HeldOutByAlpha:
    """The judged pairs' scores by every α, (m, a, 4), with rows held out, and with whole cells held out where that was
    measured."""

    rows: ScoresByAlpha
    cells: ScoresByAlpha | None


@dataclass(frozen=True)
class ChosenAlpha:
    """The weight α that held-out queries choose, and what is to be reported with it.

    place: of α on the grid; curve: (a,) the metric at every α, over the whole gallery. rows, cells: (m, 4) the scores
    that the judged pairs are judged by, each with the α of the other folds; cells is None where none was held out.
    """

    alpha: float
    place: int
    curve: Floats
    rows: Scores
    cells: Scores | None

    def of(self, scores: ScoresByAlpha) -> Scores:
        """The scores (m, 4) at this α of queries that had no say in choosing it."""
        return np.asarray(scores[:, self.place])


def choose_alpha(setup: ProofSetup, held_out: HeldOutByAlpha, metric: RetrievalMetric) -> ChosenAlpha:
    """Chooses by the metric; rows count for the part of the gallery that pairs cover, cells for the rest."""
    ballot = _Ballot.of(setup, held_out, METRICS.index(metric))
    judged = setup.bench.judged

    def judged_by_others(scores: ScoresByAlpha, fold: Codes) -> Scores:
        chosen = np.full((len(scores), len(METRICS)), np.nan)
        for k in range(int(fold.max()) + 1):
            mine = fold == k
            chosen[mine] = scores[mine, ballot.choice(~mine)]
        return chosen

    place = ballot.choice(np.ones(len(judged), bool))
    return ChosenAlpha(
        float(alphas_for(metric)[place]),
        place,
        ballot.means(),
        judged_by_others(held_out.rows, setup.row_fold[judged]),
        None if held_out.cells is None else judged_by_others(held_out.cells, setup.cell_fold[judged]),
    )


@dataclass(frozen=True)
class _Ballot:
    """Every query's say: query (v,) the place of the judged pair, values (v, a), weight (v,), summing to 1."""

    query: Codes
    values: Floats
    weight: Floats

    @classmethod
    def of(cls, setup: ProofSetup, held_out: HeldOutByAlpha, column: int) -> _Ballot:
        votes = list(_votes(setup, held_out, column))
        weight = np.concatenate([weight for _, _, weight in votes])
        return cls(
            np.concatenate([query for query, _, _ in votes]),
            np.concatenate([values for _, values, _ in votes]),
            weight / weight.sum(),
        )

    def choice(self, queries: NDArray[np.bool_]) -> int:
        """The place of the α that these queries, (m,) bool, choose; all do where these have no say."""
        asked = queries[self.query]
        if not self.weight[asked].any():
            asked = np.ones(len(self.query), bool)
        return best_alpha(self.values[asked], self.weight[asked])

    def means(self) -> Floats:
        """The metric at every α: (a,)."""
        return np.asarray(self.weight @ self.values)


def _votes(setup: ProofSetup, held_out: HeldOutByAlpha, column: int) -> Iterator[tuple[Codes, Floats, Floats]]:
    judged = setup.bench.judged
    share, covered = setup.coverage.share, setup.coverage.covered[setup.coverage.pair_cell[judged]]
    parts = [(held_out.rows, share if held_out.cells is not None else 1.0)]
    if held_out.cells is not None:
        parts.append((held_out.cells, 1 - share))
    told = 0.0
    for scores, part in parts:
        values = scores[:, :, column]
        known = np.flatnonzero(~np.isnan(values).any(axis=1) & covered)
        weight = setup.weight[judged[known]]
        if weight.any():
            told += part
            yield known, values[known], part * weight / weight.sum()
    if not told:
        everyone = np.arange(len(judged))
        yield everyone, np.nan_to_num(held_out.rows[:, :, column]), np.ones(len(judged))
