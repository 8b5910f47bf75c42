"""Scores of spaces that real models have: a dimension that tells nothing changes no translation, a unit changes it by
just that unit, and scores that tell nothing apart are worth the one score that there is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.arrays import Floats
from models.portable import Distance, ScoreCurve
from models.score_translation import FittedTranslation, draw_score_pairs, fit_score_translation, shown_scores
from tests.models.degenerate import (
    COLLAPSES,
    METRICS,
    PAIRS,
    QUERIES,
    collapsed,
    plain_vectors,
    with_dead_dimensions,
)

NEARLY_DEAD = st.sampled_from([0.0, 1e-38, 1e-33, 1e-20, 1e-9])
UNITS = st.sampled_from([1e-20, 1e-3, 1.0, 1e10, 1e17])
NOBODY = [np.empty(0, np.int64)] * QUERIES
metrics = st.sampled_from(METRICS)


def fitted(old: np.ndarray, new: np.ndarray, source: Distance, target: Distance) -> FittedTranslation:
    """What the first `PAIRS` vectors score by the other `QUERIES`, translated; old, new: (270, d)."""
    by_old, by_new = scores_of(old, source, PAIRS), scores_of(new, target, PAIRS)
    pairs = draw_score_pairs(by_old, by_new, np.arange(QUERIES), NOBODY, source=source, target=target, seed=0)
    return fit_score_translation(pairs, source, target, items=PAIRS)


def scores_of(vectors: np.ndarray, metric: Distance, items: int) -> Floats:
    """What the first `items` vectors score by the last `QUERIES`: (QUERIES, items)."""
    rows = np.asarray(vectors, np.float32)
    scores = shown_scores(rows[PAIRS:], rows[:items], metric)
    assert np.isfinite(scores).all()
    return scores


def at_shares(curve: ScoreCurve) -> np.ndarray:
    """The curve's value at five places of the range that it was fitted on: (5,)."""
    return curve(np.linspace(*curve.seen, 7)[1:-1]).value


def unit_of_score(unit: float, metric: Distance) -> float:
    """What a score is multiplied by where vectors are by `unit`."""
    return {"cosine": 1.0, "l2": unit, "ip": unit**2}[metric]


@given(dead=st.tuples(NEARLY_DEAD, NEARLY_DEAD), units=st.tuples(UNITS, UNITS), source=metrics, target=metrics)
@settings(max_examples=25)
def test_dead_dimensions_change_no_translation_and_units_change_it_by_the_unit(
    dead: tuple[float, float], units: tuple[float, float], source: Distance, target: Distance
) -> None:
    old, new, _ = plain_vectors()
    plain = fitted(old, new, source, target).translation
    changed = fitted(
        with_dead_dimensions(old, dead[0]) * units[0], with_dead_dimensions(new, dead[1]) * units[1], source, target
    )
    by_old, by_new = unit_of_score(units[0], source), unit_of_score(units[1], target)
    for curve, wanted, unit in (
        (changed.translation.to_new, plain.to_new, by_new),
        (changed.translation.to_old, plain.to_old, by_old),
    ):
        size = np.ptp(wanted.value)
        np.testing.assert_allclose(at_shares(curve) / unit, at_shares(wanted), atol=0.01 * size)
        assert curve.error / unit == pytest.approx(wanted.error, abs=0.01 * size)
    for kept in changed.kept:
        assert kept.after == pytest.approx(kept.before, rel=0.5, abs=2)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("how", COLLAPSES)
def test_scores_of_spaces_that_have_collapsed_are_translated_within_what_was_seen(how: str, metric: Distance) -> None:
    old, new, _ = plain_vectors()
    for vectors in ((collapsed(old, how), new), (old, collapsed(new, how)), (collapsed(old, how), collapsed(new, how))):
        found = fitted(*vectors, metric, metric).translation
        for curve, other in ((found.to_new, found.to_old), (found.to_old, found.to_new)):
            value = curve(np.linspace(*curve.seen, 9)).value
            first, last = other.seen
            slack = 1e-9 * max(abs(first), abs(last))
            assert (value >= first - slack).all()
            assert (value <= last + slack).all()


@pytest.mark.parametrize("metric", METRICS)
def test_where_the_new_model_gives_every_item_one_score_every_old_score_is_worth_that(metric: Distance) -> None:
    old, new, _ = plain_vectors()
    found = fitted(old, collapsed(new, "all the same"), metric, metric).translation
    the_one = {"cosine": 1.0, "l2": 0.0, "ip": 0.09 * new.shape[1]}[metric]
    np.testing.assert_allclose(at_shares(found.to_new), the_one, atol=1e-5)
    assert found.to_new.error < 1e-5
    assert found.to_old.at == pytest.approx(the_one, abs=1e-5), "one score, or the few that rounding makes of it"


@given(
    levels=st.integers(1, 6),
    value=st.floats(-1e3, 1e3, allow_nan=False),
    seed=st.integers(0, 100),
    many=st.integers(1, 60),
)
@settings(max_examples=50)
def test_old_scores_that_are_tied_are_translated_whatever_their_values_round_to(
    levels: int, value: float, seed: int, many: int
) -> None:
    """Few levels of old scores, of which each is at many knots, and one new score; of one item or of many."""
    old = np.random.default_rng(seed).integers(0, levels, (20, many)) / 7
    new = np.full(old.shape, value)
    queries = np.arange(len(old))
    for given_scores, other in ((old, new), (new, old)):
        pairs = draw_score_pairs(given_scores, other, queries, NOBODY[:20], source="ip", target="ip", seed=0)
        found = fit_score_translation(pairs, "ip", "ip", items=many).translation
        worth = found.to_new if given_scores is old else found.to_old
        assert (worth(old.ravel()).value == value).all()


def test_one_item_has_a_translation_and_no_item_has_none() -> None:
    """Each query has one score of it by either model, and the likeliest is translated into the likeliest."""
    old, new, _ = plain_vectors()
    by_old, by_new = scores_of(old, "l2", 1), scores_of(new, "l2", 1)
    asking = np.arange(QUERIES)
    pairs = draw_score_pairs(by_old, by_new, asking, NOBODY, source="l2", target="l2", seed=0)
    found = fit_score_translation(pairs, "l2", "l2", items=1)
    assert found.kept == (), "no threshold keeps one item of one for some queries and not for others"
    assert found.translation.to_new(np.median(by_old)).value == pytest.approx(np.median(by_new), rel=0.05)
    itself = [np.zeros(1, np.int64)] * QUERIES
    nothing = draw_score_pairs(by_old, by_new, asking, itself, source="l2", target="l2", seed=0)
    with pytest.raises(ValueError, match="0 queries do not tell"):
        fit_score_translation(nothing, "l2", "l2", items=1)
