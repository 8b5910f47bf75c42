"""Spreads, and the floors under them: dead, nearly dead and constant dimensions, tiny and huge spaces."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.spread import FLOOR, dimension_spreads, mean_spread, total_spread

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
