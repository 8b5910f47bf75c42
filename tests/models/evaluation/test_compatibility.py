from __future__ import annotations

import json

import numpy as np
import pytest

from models.evaluation.compatibility import (
    Benchmark,
    compatibility_scores,
    criterion,
    oracle_gain,
    retention,
    update_gain,
)

# mAP on RParis, ROxford and GLDv2
OLD, BEST = (75.45, 49.15, 10.03), (81.15, 63.85, 16.48)


@pytest.mark.parametrize(
    ("new", "cross", "published"),
    [
        ((80.58, 56.34, 14.61), (77.37, 49.66, 11.30), (48.02, 54.71, 51.13)),
        ((82.78, 62.13, 15.71), (78.55, 52.31, 11.49), (49.55, 58.09, 53.45)),
    ],
)
def test_scores_equal_the_published_rows(
    new: tuple[float, ...], cross: tuple[float, ...], published: tuple[float, ...]
) -> None:
    scores = compatibility_scores([Benchmark(*row) for row in zip(OLD, BEST, cross, new, strict=True)])
    assert scores.p_up is not None
    assert scores.p_comp is not None
    assert scores.p_1 is not None
    assert [round(100 * p, 2) for p in (scores.p_up, scores.p_comp, scores.p_1)] == pytest.approx(published, abs=1e-9)


def test_scores_do_not_depend_on_the_unit() -> None:
    percent = Benchmark(75.0, 81.0, 77.0, 80.0)
    share = Benchmark(0.75, 0.81, 0.77, 0.8)
    assert compatibility_scores([percent]).p_1 == pytest.approx(compatibility_scores([share]).p_1)


def test_a_benchmark_without_update_gain_leaves_the_scores_that_rest_on_it_unknown() -> None:
    scores = compatibility_scores([Benchmark(0.5, 0.6, 0.55, 0.6), Benchmark(0.5, 0.5, 0.55, 0.6)])
    assert (scores.p_comp, scores.p_1) == (None, None)
    assert scores.p_up is not None
    assert [g.gain is None for g in scores.gains] == [False, True]
    assert json.loads(json.dumps(scores.to_json(), allow_nan=False))["gains"][1] == {"gain": None, "denominator": 0.0}


@pytest.mark.parametrize("benchmarks", [[], [Benchmark(0.0, 0.0, 0.0, 0.0)]])
def test_scores_of_nothing_are_refused(benchmarks: list[Benchmark]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        compatibility_scores(benchmarks)


def test_update_gain_is_the_share_gained_and_shows_its_denominator() -> None:
    half = update_gain(0.6, 0.5, 0.7)
    assert half.gain == pytest.approx(0.5)
    assert half.denominator == pytest.approx(0.2)
    lost = update_gain(0.4, 0.5, 0.7)
    assert lost.gain == pytest.approx(-0.5)


@pytest.mark.parametrize("best", [0.5, 0.3])
def test_update_gain_is_null_where_the_new_model_gains_nothing(best: float) -> None:
    none = update_gain(0.6, 0.5, best)
    assert none.gain is None
    assert none.denominator == pytest.approx(best - 0.5)


def test_ratios_are_null_where_they_have_no_denominator() -> None:
    assert oracle_gain(0.9, 0.6) == pytest.approx(1.5)
    assert oracle_gain(0.9, 0.0) is None
    assert retention(0.8, 0.9) == pytest.approx(0.8 / 0.9)
    assert retention(0.8, 0.0) is None


def test_criterion_is_about_the_interval_and_not_the_point() -> None:
    rng = np.random.default_rng(0)
    old = (rng.random(2000) < 0.5).astype(float)
    better = np.maximum(old, rng.random(2000) < 0.1)
    assert criterion(better, old).verdict == "better"
    assert criterion(old, better).verdict == "worse"
    barely = old.copy()
    barely[np.flatnonzero(old == 0)[0]] = 1  # one query of 2,000
    judged = criterion(barely, old)
    assert judged.difference.mean > 0
    assert judged.verdict == "undecided"


def test_criterion_does_not_hold_for_equal_figures() -> None:
    judged = criterion(np.ones(50), np.ones(50))
    assert (judged.difference.low, judged.difference.high, judged.verdict) == (0, 0, "undecided")
