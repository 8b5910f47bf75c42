"""What a score is worth: what as many items reach, whichever the metrics, by queries that were not fitted on."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from models.arrays import Floats
from models.portable import Distance
from models.score_translation import ScorePairs, draw_score_pairs, fit_score_translation

METRICS: tuple[Distance, ...] = ("cosine", "ip", "l2")
QUERIES, ITEMS = 120, 1_000
NOBODY = [np.empty(0, np.int64)] * QUERIES


def loosely_related(seed: int, noise: float) -> tuple[Floats, Floats]:
    """Scores of both models, (QUERIES, ITEMS): of what they have in common, and of what each sees by itself."""
    rng = np.random.default_rng(seed)
    common, by_old, by_new = rng.normal(size=(3, QUERIES, ITEMS))
    return common + noise * by_old, 2 * (common + noise * by_new)


def drawn(old: Floats, new: Floats, source: Distance = "ip", target: Distance = "ip", nearest: int = 100) -> ScorePairs:
    queries = np.arange(len(old))
    return draw_score_pairs(old, new, queries, NOBODY, source=source, target=target, seed=0, nearest=nearest)


@pytest.mark.parametrize("source", METRICS)
@pytest.mark.parametrize("target", METRICS)
def test_scores_that_follow_each_other_are_translated_into_each_other(source: Distance, target: Distance) -> None:
    """Nearness n is shown as n by a similarity and as 4 - n by a distance; the new model's is tanh of it."""
    near = np.random.default_rng(0).normal(size=(QUERIES, ITEMS))
    old, new = (4 - n if metric == "l2" else n for n, metric in ((near, source), (np.tanh(near), target)))
    fitted = fit_score_translation(drawn(old, new, source, target), source, target, items=ITEMS).translation
    asked = np.quantile(old, [0.02, 0.3, 0.7, 0.98])
    expected = np.quantile(
        new, [0.02, 0.3, 0.7, 0.98] if (source == "l2") == (target == "l2") else [0.98, 0.7, 0.3, 0.02]
    )
    np.testing.assert_allclose(fitted.to_new(asked).value, expected, atol=0.05)
    np.testing.assert_allclose(fitted.to_old(expected).value, asked, atol=0.1)
    assert fitted.to_new.error < 0.05


def test_a_threshold_keeps_as_many_items_of_other_queries_as_before_where_a_mean_would_keep_more() -> None:
    old, new = loosely_related(0, noise=0.7)
    fitted = fit_score_translation(drawn(old, new), "ip", "ip", items=ITEMS)
    mean = IsotonicRegression(out_of_bounds="clip").fit(old.ravel(), new.ravel())
    fresh_old, fresh_new = loosely_related(1, noise=0.7)
    for share in (0.01, 0.001):
        threshold = np.quantile(old, 1 - share)
        before = (fresh_old >= threshold).mean()
        after = (fresh_new >= fitted.translation.to_new(threshold).value).mean()
        assert after == pytest.approx(before, rel=0.25)
        assert (fresh_new >= mean.predict([threshold])).mean() > 1.5 * before


def test_the_interval_holds_nine_in_ten_of_the_scores_of_other_queries() -> None:
    fitted = fit_score_translation(drawn(*loosely_related(0, noise=0.7)), "ip", "ip", items=ITEMS).translation
    old, new = (scores.ravel() for scores in loosely_related(1, noise=0.7))
    for curve, given, other in ((fitted.to_new, old, new), (fitted.to_old, new, old)):
        near = given > np.quantile(given, 0.99)
        for some in (near, ~near):
            translated = curve(given[some])
            inside = (other[some] >= translated.low) & (other[some] <= translated.high)
            assert inside.mean() == pytest.approx(0.9, abs=0.04)


def test_what_is_said_of_kept_items_is_true_of_other_queries() -> None:
    old, new = loosely_related(0, noise=0.3)
    fitted = fit_score_translation(drawn(old, new), "ip", "ip", items=ITEMS)
    fresh_old, fresh_new = loosely_related(1, noise=0.3)
    assert [one.items for one in fitted.kept] == [1, 10, 100]
    for one in fitted.kept[1:]:
        was, now = fresh_old >= one.old, fresh_new >= one.new
        assert one.before == pytest.approx(was.sum(axis=1).mean(), rel=0.1)
        assert one.after == pytest.approx(now.sum(axis=1).mean(), rel=0.1)
        assert one.same == pytest.approx((was & now).sum() / now.sum(), abs=0.05)


def test_errors_are_of_queries_that_were_left_out() -> None:
    """Each query's scores are moved by as much as no other's, so that nothing fitted on others foretells its own."""
    near = np.random.default_rng(0).normal(size=(20, ITEMS))
    moved = near + np.where(np.arange(20) < 10, 0.0, 5.0)[:, None]
    pairs = draw_score_pairs(near, moved, np.arange(20), NOBODY[:20], source="ip", target="ip", seed=0)
    assert fit_score_translation(pairs, "ip", "ip", items=ITEMS).translation.to_new.error > 1


def test_the_error_is_the_mean_over_all_items_though_the_nearest_are_drawn_more_often() -> None:
    """The nearest tenth, all drawn, follows the old scores exactly; the rest, of which few are, does not."""
    rng = np.random.default_rng(0)
    old = rng.normal(size=(QUERIES, ITEMS))
    far = old < np.quantile(old, 0.9, axis=1, keepdims=True)
    new = old + far * rng.normal(scale=0.5, size=old.shape) * (old < 0)
    pairs = draw_score_pairs(
        old, new, np.arange(QUERIES), NOBODY, source="ip", target="ip", seed=0, nearest=100, rest=20
    )
    fitted = fit_score_translation(pairs, "ip", "ip", items=ITEMS).translation.to_new
    over_all = float(np.abs(new - fitted(old.ravel()).value.reshape(new.shape)).mean())
    assert fitted.error == pytest.approx(over_all, rel=0.1)


def test_the_nearest_by_either_score_are_drawn_and_the_rest_counts_for_all() -> None:
    old, new = loosely_related(0, noise=1.0)
    own = [np.array([row, row + 1]) for row in range(QUERIES)]
    pairs = draw_score_pairs(old, new, np.arange(QUERIES), own, source="ip", target="l2", seed=0, nearest=5, rest=20)
    for row in range(QUERIES):
        of_row = pairs.of_queries(np.array([row]))
        others = np.delete(np.arange(ITEMS), own[row])
        assert of_row.weight.sum() == pytest.approx(ITEMS - 2)
        assert set(np.sort(old[row, others])[-5:]) <= set(of_row.old)
        assert set(np.sort(new[row, others])[:5]) <= set(of_row.new)
        assert not set(old[row, own[row]]) & set(of_row.old)


def test_too_few_queries_tell_nothing() -> None:
    old, new = loosely_related(0, noise=0.1)
    with pytest.raises(ValueError, match="9 queries"):
        fit_score_translation(drawn(old, new).of_queries(np.arange(9)), "ip", "ip", items=ITEMS)
