"""Spreads, and the floors under them: dead, nearly dead and constant dimensions, tiny and huge spaces."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.spread import FLOOR, dimension_spreads, living_dimensions, mean_spread, total_spread, unit_of

SCALES = st.sampled_from([0.0, 1e-38, 1e-33, 1e-20, 1e-6, 1.0, 1e6, 1e17])


@given(st.lists(SCALES, min_size=1, max_size=6), st.integers(0, 5))
def test_every_spread_is_a_finite_divisor(scales: list[float], seed: int) -> None:
    rows = (np.random.default_rng(seed).standard_normal((20, len(scales))) * scales).astype(np.float32)
    spreads = dimension_spreads(rows)
    for divisor in (total_spread(rows), mean_spread(rows), *spreads):
        assert 0 < divisor < np.inf
    assert (spreads >= FLOOR * mean_spread(rows)).all()


@given(SCALES.filter(bool))
def test_spreads_grow_with_the_vectors(scale: float) -> None:
    rows = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float64)
    deviations = rows.std(axis=0)
    np.testing.assert_allclose(dimension_spreads(rows * scale), deviations * scale, rtol=1e-9)
    assert total_spread(rows * scale) == pytest.approx(scale * np.sqrt((deviations**2).sum()))
    assert mean_spread(rows * scale) == pytest.approx(scale * np.sqrt((deviations**2).mean()))


def test_a_dimension_that_hardly_varies_counts_as_a_share_of_all_together() -> None:
    rows = np.random.default_rng(0).standard_normal((50, 4)) * [1, 1, 1e-33, 0]
    assert dimension_spreads(rows)[2:] == pytest.approx(FLOOR * mean_spread(rows))


def test_rows_that_are_all_the_same_have_a_spread_of_one() -> None:
    rows = np.full((5, 3), 7, np.float32)
    assert total_spread(rows) == mean_spread(rows) == 1


def test_dimensions_that_do_not_live_change_no_mean_and_are_not_counted() -> None:
    rows = np.random.default_rng(0).standard_normal((50, 4))
    wider = np.concatenate([rows, np.full((50, 1), 0.3), 1e-33 * rows[:, :2]], axis=1)
    assert (living_dimensions(rows), living_dimensions(wider)) == (4, 4)
    assert mean_spread(wider) == pytest.approx(mean_spread(rows))


def test_what_rounding_alone_makes_vary_does_not_vary() -> None:
    same = np.repeat(np.array([[0.1, 0.7, 1e10]], np.float32), 30, axis=0)
    assert total_spread(same) == mean_spread(same) == unit_of(same) == 1
    adjacent = np.where(np.arange(30)[:, None] % 2, same, np.nextafter(same, np.float32(9e9)))
    assert (adjacent != same).any()
    assert total_spread(adjacent) == 1


@given(SCALES.filter(bool))
def test_the_unit_is_a_power_of_two_near_the_total_spread(scale: float) -> None:
    rows = scale * np.random.default_rng(0).standard_normal((50, 4))
    assert 0.7 < total_spread(rows) / unit_of(rows) < 1.5
    assert np.frexp(unit_of(rows))[0] == 0.5
