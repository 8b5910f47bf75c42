"""What re-embedding everything would give is predicted from the old model, which pairs and gallery both know."""

import numpy as np
import pytest

from models.proof.full_re_embedding import ErrorsLeft, without_errors
from models.proof.stratum_estimate import Draws, MeasuredUnits, estimate


def figures(old: float, cross: float) -> Draws:
    units = MeasuredUnits(np.full(40, old), np.full(40, cross), np.ones(40))
    return estimate(units, None, seed=0, resamples=100)


def test_the_old_models_errors_in_the_gallery_shrink_as_they_do_among_the_pairs() -> None:
    drawn = 0.25, np.linspace(0.2, 0.3, 100)
    found = without_errors(figures(old=0.8, cross=0.8), ErrorsLeft(drawn, drawn))
    assert found is not None
    assert found.mean == pytest.approx(1 - 0.25 * 0.2)
    assert 0.94 <= found.low < found.mean < found.high <= 0.96


def test_where_the_crossings_errors_say_otherwise_the_interval_holds_that_too() -> None:
    left = ErrorsLeft((0.5, np.full(100, 0.5)), (0.9, np.full(100, 0.9)))
    found = without_errors(figures(old=0.8, cross=0.6), left)
    assert found is not None
    assert (found.mean, found.low, found.high) == pytest.approx((0.9, 1 - 0.9 * 0.4, 0.9))


def test_a_new_model_that_errs_many_times_as_often_is_predicted_to_find_nothing_and_no_less() -> None:
    many = 9.0, np.full(100, 9.0)
    found = without_errors(figures(old=0.5, cross=0.5), ErrorsLeft(many, many))
    assert found is not None
    assert (found.mean, found.low, found.high) == (0, 0, 0)
