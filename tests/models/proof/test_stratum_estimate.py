from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from models.proof.stratum_estimate import KnownUnits, MeasuredUnits, combine, estimate


def sample(rng: np.random.Generator, m: int = 300, population: int | None = None) -> MeasuredUnits:
    old = rng.random(m)
    return MeasuredUnits(old, 0.2 + 0.6 * old + 0.1 * rng.normal(size=m), np.ones(m), population=population)


def test_estimate_without_knowledge_is_the_weighted_mean() -> None:
    d = estimate(MeasuredUnits(np.array([0.0, 1.0]), np.array([1.0, 0.0]), np.array([3.0, 1.0])), None, seed=0)
    assert (d.old_mean, d.cross_mean) == (0.25, 0.75)


def test_knowledge_of_the_old_model_corrects_the_crossing_by_regression() -> None:
    rng = np.random.default_rng(0)
    known = KnownUnits(np.full(500, 0.9))
    d = estimate(sample(rng), known, seed=0)
    assert d.old_mean == pytest.approx(0.9)
    assert d.cross_mean == pytest.approx(0.2 + 0.6 * 0.9, abs=0.03)


def test_distance_to_what_was_learned_corrects_the_crossing_and_not_the_old_model() -> None:
    rng = np.random.default_rng(5)
    distance = rng.random(400) + 1
    s = MeasuredUnits(np.full(400, 0.5), 1 - 0.3 * distance, np.ones(400), None, distance[:, None])
    d = estimate(s, KnownUnits(distances=np.full((100, 1), 0.5)), seed=0)
    assert d.cross_mean == pytest.approx(1 - 0.3 * 0.5, abs=1e-3)
    assert d.old_mean == pytest.approx(0.5)


def test_few_units_are_paired_instead() -> None:
    s = MeasuredUnits(np.array([0.2, 0.4, 0.6]), np.array([0.5, 0.7, 0.9]), np.ones(3))
    d = estimate(s, KnownUnits(np.full(50, 0.8)), seed=0)
    assert d.cross_mean == pytest.approx(0.8 + 0.3)


def test_interval_covers_a_fresh_test_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for seed in range(150):
        interval = estimate(sample(rng, 100), None, seed=seed, resamples=300).predicted_cross()
        held += interval.low <= sample(rng, 100).cross.mean() <= interval.high
    assert 0.88 <= held / 150 <= 1


def test_confidence_interval_of_the_difference_covers_its_truth() -> None:
    rng = np.random.default_rng(2)
    held = 0
    for seed in range(150):
        interval = estimate(sample(rng, 100), None, seed=seed, resamples=300).difference()
        held += interval.low <= 0.2 + 0.6 * 0.5 - 0.5 <= interval.high
    assert 0.88 <= held / 150 <= 0.995


@pytest.mark.parametrize("units", [4, 6, 12])
def test_interval_of_few_units_is_as_wide_as_students(units: int) -> None:
    widths = []
    for seed in range(20):
        lead = np.random.default_rng(seed).normal(size=units)
        ours = estimate(MeasuredUnits(np.zeros(units), lead, np.ones(units)), None, seed=seed).difference()
        students = stats.t.interval(0.95, units - 1, loc=lead.mean(), scale=stats.sem(lead))
        widths.append((ours.high - ours.low) / (students[1] - students[0]))
    assert np.mean(widths) == pytest.approx(1, abs=0.06)


def test_stratum_of_few_classes_scatters_more_than_the_mean_of_many() -> None:
    rng = np.random.default_rng(3)
    wide = estimate(sample(rng, 60, population=4), None, seed=0).difference()
    narrow = estimate(sample(rng, 60, population=400), None, seed=0).difference()
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_rows_of_one_run_count_as_one() -> None:
    rng = np.random.default_rng(4)
    value = np.repeat(rng.random(30), 10)
    alone = estimate(MeasuredUnits(value, value, np.ones(300)), None, seed=0).predicted_old()
    together = estimate(
        MeasuredUnits(value, value, np.ones(300), np.repeat(np.arange(30), 10)), None, seed=0
    ).predicted_old()
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_strata_combine_by_their_share() -> None:
    a, b = (
        estimate(MeasuredUnits(np.array([x, x]), np.array([y, y]), np.ones(2)), None, seed=0)
        for x, y in ((0.2, 0.4), (0.8, 0.6))
    )
    whole = combine([(0.25, a), (0.75, b)])
    assert whole.old_mean == pytest.approx(0.65)
    assert whole.cross_mean == pytest.approx(0.55)
    assert whole.difference().mean == pytest.approx(-0.1)
    assert whole.predicted_old().low == pytest.approx(0.65)


def test_items_that_are_far_from_everything_are_not_taken_to_be_hard_because_no_pair_is_near() -> None:
    rng = np.random.default_rng(6)
    atypical, known_atypical = rng.random(400), rng.random(4000)
    to_pairs = 2 * atypical + 0.1 * rng.random(400) + 0.5  # held out, each lacks the pair that it is itself
    known_to_pairs = 2 * known_atypical + 0.1 * rng.random(4000)
    s = MeasuredUnits(np.full(400, 0.5), 1 - 0.3 * atypical, np.ones(400), None, np.column_stack([to_pairs, atypical]))
    both = KnownUnits(distances=np.column_stack([known_to_pairs, known_atypical]))
    one = KnownUnits(distances=known_to_pairs[:, None])
    truth = 1 - 0.3 * known_atypical.mean()
    assert estimate(s, both, seed=0).cross_mean == pytest.approx(truth, abs=1e-3)
    alone = MeasuredUnits(s.old, s.cross, s.weight, None, to_pairs[:, None])
    assert estimate(alone, one, seed=0).cross_mean > truth + 0.05


def test_few_units_teach_few_slopes() -> None:
    rng = np.random.default_rng(7)
    distances = rng.random((25, 2))
    s = MeasuredUnits(rng.random(25), rng.random(25), np.ones(25), None, distances)
    known = KnownUnits(np.full(50, 0.5), np.column_stack([np.full(50, 0.5), np.full(50, 1e6)]))
    assert abs(estimate(s, known, seed=0).cross_mean) < 2
