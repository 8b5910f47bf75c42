"""What is said of a search that answers nearly every query as the old model does."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from models.evaluation.bootstrap import Interval
from models.proof.strata import Judged, Part

QUERIES, SIZE = 300, np.array([5000])


def difference(won: int, lost: int, weight: np.ndarray | None = None, seed: int = 0) -> Interval:
    """Of 300 queries, of which so many are won and lost and the others answered right by both."""
    old, cross = np.ones((2, QUERIES, 4))
    old[:won], cross[won : won + lost] = 0, 0
    code = np.arange(QUERIES)
    judged = Judged(np.zeros_like(code), np.ones(QUERIES) if weight is None else weight, code, old, cross)
    part = Part("covered", "pairs", np.array([True]), 1.0, judged, by_cell=False, known=None)
    return part.draws_with_few_flips("cmc@1", SIZE, seed).difference()


def test_few_queries_won_and_none_lost_are_no_proof() -> None:
    assert difference(won=1, lost=0).low < 0
    assert difference(won=4, lost=0).low <= 0
    assert difference(won=9, lost=0).low > 0
    assert difference(won=0, lost=0).low < 0 < difference(won=0, lost=0).high


@pytest.mark.parametrize(("won", "lost"), [(5, 0), (7, 0), (12, 1), (20, 7), (20, 12), (40, 15)])
def test_verdict_is_the_exact_sign_tests(won: int, lost: int) -> None:
    assert (difference(won, lost).low > 0) == (stats.binomtest(won, won + lost).pvalue < 0.05)


def test_interval_of_rare_flips_covers_the_truth() -> None:
    """Of 300 queries 1.2 are won and 0.6 lost on the average; in one of six draws none is either."""
    held, known, truth = 0.0, 0.0, (1.2 - 0.6) / QUERIES
    for won, lost in np.ndindex(7, 5):
        likely = float(stats.poisson.pmf(won, 1.2) * stats.poisson.pmf(lost, 0.6))
        if likely > 0.004:
            known += likely
            found = difference(won, lost)
            held += likely * (found.low <= truth <= found.high)
    assert held / known >= 0.95


def test_interval_of_many_flips_is_hardly_wider() -> None:
    wide = difference(won=60, lost=40)
    assert (wide.high - wide.low) / 2 == pytest.approx(1.96 * 10 / QUERIES, rel=0.06)


def test_flip_not_seen_weighs_as_the_queries_do() -> None:
    weight = np.where(np.arange(QUERIES) % 10 == 0, 10.0, 0.1)
    alike, unlike = difference(0, 0), difference(0, 0, weight)
    assert unlike.high - unlike.low > 2 * (alike.high - alike.low)
