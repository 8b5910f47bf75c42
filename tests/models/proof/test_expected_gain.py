"""What both models' queries are expected to gain: where their own figures leave it open, the crossing's tell too."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from models.proof.expected_gain import OVER_MIGRATIONS, ExpectedGain, GainRelation, expected_gain
from models.proof.stratum_estimate import Draws

OLD = 0.8
LINE = GainRelation(centre=-0.5, steepness=50.0, spread=0.1)
"""Where the crossing is not far worse than the old model, a straight line: the crossing's share and a half."""


def draws(gain: float, luck: np.ndarray) -> Draws:
    """Figures of a search that was seen to gain so much, resampled with this scatter; the old model's are certain."""
    old, new = np.full(len(luck), OLD), OLD + gain + luck
    zero = np.zeros(len(luck))
    return Draws(OLD, OLD + gain, old, new, old, new, zero, zero)


def expect(crossing: Draws, fused: Draws, relation: GainRelation = OVER_MIGRATIONS) -> ExpectedGain:
    found = expected_gain(crossing, fused, relation)
    assert found is not None
    return found


def luck(crossing: float, fused: float, correlation: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """The scatter of both, of these standard deviations."""
    first, second = np.random.default_rng(0).standard_normal((2, 4000))
    return crossing * first, fused * (correlation * first + np.sqrt(1 - correlation**2) * second)


def test_figures_that_are_exact_are_what_is_expected() -> None:
    of_crossing, of_fused = luck(0.02, 1e-5)
    found = expect(draws(-0.05, of_crossing), draws(0.013, of_fused))
    assert found.mean == pytest.approx(0.013, abs=1e-4)
    assert found.better == pytest.approx(1)


def test_figures_that_say_nothing_leave_what_the_crossing_foretells() -> None:
    of_crossing, of_fused = luck(1e-5, 1.0)
    for gain in (-0.2, 0.0, 0.1):
        found = expect(draws(gain, of_crossing), draws(-0.04, of_fused))
        errors = 1 - OLD
        foreseen = errors * float(OVER_MIGRATIONS.mended(np.array([gain / errors]))[0])
        assert found.mean == pytest.approx(foreseen, abs=1e-3)
        assert found.high - found.low == pytest.approx(2 * 1.96 * errors * OVER_MIGRATIONS.spread, rel=0.03)


@pytest.mark.parametrize("correlation", [-0.5, 0.0, 0.7])
def test_both_are_weighed_as_bayes_rule_does_it(correlation: float) -> None:
    """Of a relation that is a straight line it is a normal distribution in two dimensions, which has a closed form."""
    of_crossing, of_fused = luck(0.015, 0.02, correlation)
    seen, errors = np.array([0.01, 0.09]), 1 - OLD
    found = expect(draws(seen[0], of_crossing), draws(seen[1], of_fused), LINE)
    # Unknowns: the crossing's gain c, of which nothing is presumed; the fused search's, c + errors / 2 + spread · e.
    scatter, spread = np.cov(of_crossing, of_fused), errors * LINE.spread
    link = np.array([[1.0, -1.0], [-1.0, 1.0]]) / spread**2
    precision = np.linalg.inv(scatter) + link
    mean = np.linalg.solve(precision, np.linalg.inv(scatter) @ seen + link @ np.array([0.0, errors / 2]))[1]
    closed = stats.norm(mean, np.sqrt(np.linalg.inv(precision)[1, 1]))
    assert found.mean == pytest.approx(mean, abs=2e-4)
    assert (found.low, found.high) == pytest.approx(closed.interval(0.95), abs=1e-3)
    assert found.better == pytest.approx(closed.sf(0), abs=1e-3)


def test_intervals_hold_what_is_so_as_often_as_they_say_and_are_narrower_than_the_figures_own() -> None:
    """Migrations drawn from the relation itself."""
    rng, errors, held = np.random.default_rng(1), 1 - OLD, 0
    of_crossing, of_fused = luck(0.02, 0.015, 0.5)
    for _ in range(120):
        crossing = 0.05 * rng.standard_normal()
        foreseen = errors * float(OVER_MIGRATIONS.mended(np.array([crossing / errors]))[0])
        fused = foreseen + errors * OVER_MIGRATIONS.spread * rng.standard_normal()
        off = np.linalg.cholesky(np.cov(of_crossing, of_fused)) @ rng.standard_normal(2)
        found = expect(draws(crossing + off[0], of_crossing), draws(fused + off[1], of_fused))
        held += found.low <= fused <= found.high
        assert found.high - found.low < 2 * 1.96 * 0.015
    assert 0.88 <= held / 120 <= 0.995


def test_an_old_model_that_makes_next_to_no_mistakes_leaves_nothing_to_expect() -> None:
    of_crossing, of_fused = luck(0.01, 0.01)
    for right in (0.985, 1.0):
        old, cross = np.full(4000, right), right - 0.017 + of_crossing
        lost = Draws(right, right - 0.017, old, cross, old, cross, np.zeros(4000), np.zeros(4000))
        fused = replace(lost, cross_mean=right - 0.013, cross=right - 0.013 + of_fused)
        assert expected_gain(lost, fused) is None


def test_no_more_is_expected_to_be_gained_than_the_old_model_has_errors() -> None:
    of_crossing, of_fused = luck(0.02, 0.02)
    old, high = np.full(4000, 0.97), 0.99 + of_crossing
    crossing = Draws(0.97, 0.99, old, high, old, high, np.zeros(4000), np.zeros(4000))
    found = expect(crossing, replace(crossing, cross_mean=0.999, cross=0.999 + of_fused))
    assert found.low < found.mean <= found.high == pytest.approx(0.03)


def test_models_that_see_the_same_are_not_all_but_certain_to_gain_by_both() -> None:
    """The crossing level with the old model, and figures of the fused search that reach below 0."""
    of_crossing, of_fused = luck(0.019, 0.018, 0.6)
    assert expect(draws(0.007, of_crossing), draws(0.016, of_fused)).better < 0.93
