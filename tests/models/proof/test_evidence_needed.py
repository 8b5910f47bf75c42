"""What would decide: the estimate against what then happens when so much more evidence is drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from models.evaluation.bootstrap import Interval
from models.proof.evidence_needed import (
    Judges,
    error_of_cross,
    error_of_difference,
    evidence_needed,
    in_words,
    standing,
)
from models.proof.gate import AcceptanceGate
from models.proof.stratum_estimate import Draws, KnownUnits, MeasuredUnits, combine, estimate

MANY = 10**6
GATE = AcceptanceGate()


@dataclass(frozen=True)
class Flips:
    """Queries in clusters that are all answered alike: of those, shares `won` and `lost` by the new search alone."""

    won: float
    lost: float
    cluster: int

    def draw(self, n: int, seed: int) -> Draws:
        rng = np.random.default_rng(seed)
        clusters = -(-n // self.cluster)
        kind = np.repeat(rng.choice(3, clusters, p=(self.won, self.lost, 1 - self.won - self.lost)), self.cluster)[:n]
        easy = np.repeat(rng.random(clusters) < 0.8, self.cluster)[:n]
        old = np.where(kind == 2, easy, kind == 1).astype(float)
        new = np.where(kind == 2, easy, kind == 0).astype(float)
        cluster = np.repeat(np.arange(clusters), self.cluster)[:n]
        return estimate(MeasuredUnits(old, new, np.ones(n), cluster), None, seed=seed, resamples=300)


def decided(figures: Draws) -> bool:
    return GATE.standing(figures.predicted_cross(), figures.difference()) != "open"


def judges(n: int) -> Judges:
    return Judges("pairs", n, n, MANY)


@pytest.mark.parametrize("population", [Flips(0.07, 0.05, 1), Flips(0.07, 0.05, 4)], ids=["apart", "in clusters"])
def test_a_real_gain_that_a_thousand_pairs_leave_open_is_decided_by_as_many_as_are_asked_for(population: Flips) -> None:
    """Two points of true gain; half of what is asked for is not enough as often."""
    whole, half, left_open = 0, 0, 0
    for seed in range(40):
        first = population.draw(1000, seed)
        if decided(first):
            continue
        error, lasting = error_of_difference(first)
        needed = evidence_needed(first.difference().mean, 0.0, error, lasting, judges(1000))
        assert needed.more is not None
        left_open += 1
        whole += decided(population.draw(1000 + needed.more, 1000 + seed))
        half += decided(population.draw((1000 + needed.more) // 2, 2000 + seed))
    assert left_open > 10
    assert whole / left_open > 0.7
    assert half < whole


def test_what_is_asked_for_decides_four_times_in_five_where_the_difference_is_what_it_was_seen_to_be() -> None:
    population = Flips(0.07, 0.05, 3)
    first = population.draw(1000, 0)
    error, lasting = error_of_difference(first)
    needed = evidence_needed(0.02, 0.0, error, lasting, judges(1000))
    assert needed.more is not None
    told = [decided(population.draw(1000 + needed.more, seed)) for seed in range(1, 121)]
    assert 0.7 < np.mean(told) < 0.92


def test_queries_that_depend_on_each_other_ask_for_more() -> None:
    more = []
    for cluster in (1, 5):
        error, lasting = error_of_difference(Flips(0.07, 0.05, cluster).draw(1000, 3))
        more.append(evidence_needed(0.01, 0.0, error, lasting, judges(1000)).more or 0)
    assert more[1] > 2 * more[0] > 0


@pytest.mark.parametrize(
    ("interval", "asked", "met", "stands"),
    [
        (Interval(0.02, 0.001, 0.04), 0.0, True, "met"),
        (Interval(-0.02, -0.04, -0.001), 0.0, False, "missed"),
        (Interval(0.02, -0.001, 0.04), 0.0, False, "open"),
        (Interval(-0.005, -0.03, 0.02), 0.0, False, "open"),
        (Interval(0.001, -0.009, 0.01), 0.0, False, "equal"),
        (Interval(-0.009, -0.03, 0.01), -0.01, False, "open"),
        (Interval(0.86, 0.84, 0.88), 0.85, False, "open"),
        (Interval(0.84, 0.82, 0.85), 0.851, False, "missed"),
    ],
)
def test_a_figure_is_told_from_what_is_asked_or_told_to_be_equal_to_it(
    interval: Interval, asked: float, met: bool, stands: str
) -> None:
    assert standing(interval, asked, met=met) == stands


def test_nearly_equal_figures_ask_for_what_shows_them_to_be_equal_and_not_for_infinitely_much() -> None:
    equal = evidence_needed(0.0, 0.0, 0.02, 0.0, judges(1000)).more
    assert equal == evidence_needed(0.01, 0.0, 0.02, 0.0, judges(1000)).more
    assert equal is not None
    assert equal < 40_000
    midway = evidence_needed(0.005, 0.0, 0.02, 0.0, judges(1000)).more
    assert midway is not None
    assert midway > 3 * equal


def test_what_more_pairs_cannot_narrow_is_not_asked_of_them() -> None:
    assert evidence_needed(0.02, 0.0, 0.02, 0.01, judges(1000)).more is None
    assert evidence_needed(0.02, 0.0, 0.02, 0.002, judges(1000)).more is not None
    assert evidence_needed(0.02, 0.0, 0.02, 0.0, Judges("pairs", 1000, 1000, 2000)).more is None
    assert "no number of pairs" in in_words(evidence_needed(0.02, 0.0, 0.02, 0.01, judges(1000)))


def test_difference_too_small_to_be_decided_asks_for_what_tells_it_to_within_a_point() -> None:
    capped = Judges("pairs", 1000, 1000, 10_000)
    needed = evidence_needed(0.003, 0.0, 0.012, 0.0, capped)
    assert not needed.decides
    assert needed.more == 4600  # (1.96 * 1.2)² - 1 = 4.53 times as many more
    assert "would tell it to within a point" in in_words(needed)
    half = Flips(0.06, 0.06, 1).draw(1000 + 4600, 1).difference()
    assert half.high - half.low < 2 * 0.011
    told = evidence_needed(0.003, 0.0, 0.005, 0.0, Judges("pairs", 9000, 9000, 10_000))
    assert told.more is None, "it is told to within a point already"


def test_number_is_given_to_two_digits_upwards() -> None:
    needed = evidence_needed(0.02, 0.0, 0.02, 0.0, judges(1000))
    assert needed.more == 6900  # (1.96 + 0.84)² - 1 = 6.85 times as many more
    assert in_words(needed) == "about 6,900 more pairs would as a rule decide"


def test_no_fewer_than_ten_are_asked_for() -> None:
    assert evidence_needed(0.02, 0.0, 0.005, 0.0, judges(1000)).more == 10


def test_scatter_of_gallery_rows_and_of_classes_lasts_and_that_of_queries_does_not() -> None:
    rng = np.random.default_rng(0)
    old = rng.random(400)
    sample = MeasuredUnits(old, 0.9 * old, np.ones(400))
    known = estimate(sample, KnownUnits(rng.random(50)), seed=0)
    plain = estimate(sample, None, seed=0)
    classes = estimate(MeasuredUnits(old, 0.9 * old, np.ones(400), population=5), None, seed=0)
    assert error_of_difference(plain)[1] == error_of_cross(plain)[1] == 0
    slope, rows = 0.9, float(np.std(rng.random(100_000))) / np.sqrt(50)
    assert error_of_cross(known)[1] == pytest.approx(slope * rows, rel=0.15)
    assert error_of_difference(known)[1] == pytest.approx((1 - slope) * rows, rel=0.15)
    assert error_of_difference(classes)[0] == pytest.approx(error_of_difference(classes)[1])
    both = combine([(0.5, plain), (0.5, classes)])
    assert error_of_difference(both)[1] == pytest.approx(0.5 * error_of_difference(classes)[1])
