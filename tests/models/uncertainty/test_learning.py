"""Where a transformation misses is learned from pairs, and what is expected agrees with what is observed."""

import numpy as np
import pytest
import torch

from models.portable import Affine, Array, Card, Nearest, Space, Transformation
from models.transformations.linear import ridge
from models.transformations.pairs import Pairs, Refit
from models.uncertainty import (
    NothingToLearn,
    calibrate,
    cross_val_fits,
    cross_val_transform,
    learn_uncertainty,
    reliability,
)
from models.uncertainty.heads import cross_entropy_of_new_classifier, fit_head
from models.uncertainty.learning import FOLDS, rank_correlation

OLD, NEW = Space("old", 12, "l2"), Space("new", 10, "l2")
CPU = torch.device("cpu")


def pairs(seed: int, rows: int = 250, labelled: bool = True, side: int = 0) -> Pairs:
    """Twelve classes, of which the old model cannot tell four apart; the new vectors follow the class."""
    rng = np.random.default_rng(seed)
    fixed = np.random.default_rng(99)
    old_centres, new_centres = 3 * fixed.normal(size=(12, 12)), 2 * fixed.normal(size=(12, 10))
    old_centres[:4] = old_centres[:4].mean(axis=0)
    code = rng.integers(0, 12, rows)
    old = old_centres[code] + 0.7 * rng.normal(size=(rows, 12))
    new = new_centres[code] + 0.5 * rng.normal(size=(rows, 10))
    names = np.array([f"class-{i}" for i in code], dtype=object)
    beside = rng.normal(size=(rows, side)).astype(np.float32) if side else None
    return Pairs(old.astype(np.float32), new.astype(np.float32), beside, names if labelled else None)


def learn(part: Pairs) -> Transformation:
    return ridge(part, OLD, NEW, strength=0.01)


def transformed_by(part: Pairs, refit: Refit, folds: int = FOLDS) -> Array:
    return cross_val_transform(part, cross_val_fits(part, refit, folds=folds))


@pytest.mark.parametrize("labelled", [True, False])
def test_expected_errors_find_the_items_that_the_transformation_misses(labelled: bool) -> None:
    known, fresh = pairs(0, labelled=labelled), pairs(1, 600)
    h = learn(known)
    transformed = transformed_by(known, learn)
    learned = learn_uncertainty(known, transformed, h, device="cpu")
    landed = h.apply(fresh.old)
    expected = learned.uncertainty.expected_error(fresh.old, None, landed)
    true = np.square(landed - fresh.new).sum(1)
    assert rank_correlation(expected.astype(float), true.astype(float)) > 0.5
    assert expected.mean() == pytest.approx(true.mean(), rel=0.15)
    best = next(each for each in learned.candidates if each.method == learned.method)
    assert best.rank_correlation > 0.5
    assert (learned.uncertainty.card.method, learned.uncertainty.card.pairs) == (learned.method, 250)
    if labelled:
        assert best.gain is not None
        assert best.gain.low > 0
        assert {each.method for each in learned.candidates} >= {"mse", "fastfill", "class_mean"}
    else:
        assert {each.method for each in learned.candidates}.isdisjoint({"fastfill", "class_mean"})
        assert best.rank_correlation == max(each.rank_correlation for each in learned.candidates)


def test_what_is_expected_of_held_out_pairs_agrees_with_what_is_observed() -> None:
    known = pairs(2, 500)
    transformed = transformed_by(known, learn)
    learned = learn_uncertainty(known, transformed, learn(known), device="cpu")
    error = np.square(transformed - known.new, dtype=np.float64).sum(1)
    assert sum(each.rows for each in learned.reliability) == 500
    assert [each.expected for each in learned.reliability] == sorted(each.expected for each in learned.reliability)
    assert learned.reliability[-1].observed.low > 3 * learned.reliability[0].observed.high
    for each in learned.reliability:
        assert each.expected == pytest.approx(each.observed.mean, rel=0.5)
    assert learned.held_out.mean() == pytest.approx(error.mean(), rel=0.05)


def test_out_of_fold_vectors_come_from_refits_that_had_not_seen_the_row() -> None:
    known = pairs(3, 60, side=3)
    seen: list[Pairs] = []

    def spy(part: Pairs) -> Transformation:
        seen.append(part)
        return learn(part.without_side())

    transformed = transformed_by(known, spy, folds=4)
    assert [len(part) for part in seen] == [45] * 4
    for row in range(len(known)):
        unseen = [part for part in seen if not (part.old == known.old[row]).all(1).any()]
        assert len(unseen) == 1
        expected = learn(unseen[0].without_side()).apply(known.old[[row]])[0]
        np.testing.assert_allclose(transformed[row], expected, atol=1e-4)


def test_side_information_is_read_where_the_transformation_reads_it() -> None:
    known = pairs(4, 120, labelled=False, side=3)

    def with_side(part: Pairs) -> Transformation:
        return ridge(part, OLD, NEW, strength=0.01)

    transformed = transformed_by(known, with_side)
    learned = learn_uncertainty(known, transformed, with_side(known), device="cpu").uncertainty
    assert learned.side_dimension == 3
    assert learned.expected_error(known.old, known.side, transformed).shape == (120,)
    plain = learn(known.without_side())
    without = learn_uncertainty(known, transformed, plain, device="cpu").uncertainty
    assert without.side_dimension is None
    if isinstance(without.score, Nearest) and without.score.reads == "inputs":
        assert without.score.points.shape[1] == 12


def test_learning_again_gives_the_same() -> None:
    known = pairs(5, 60)
    transformed = transformed_by(known, learn)
    first, second = (learn_uncertainty(known, transformed, learn(known), device="cpu", seed=3) for _ in range(2))
    assert first.candidates == second.candidates
    np.testing.assert_array_equal(first.held_out, second.held_out)


def test_too_few_pairs_and_vectors_of_another_shape_are_refused() -> None:
    known = pairs(6, 40)
    with pytest.raises(NothingToLearn, match="9 pairs"):
        transformed_by(known.subset(np.arange(9)), learn)
    with pytest.raises(NothingToLearn, match="9 pairs"):
        learn_uncertainty(known.subset(np.arange(9)), known.new[:9], learn(known))
    with pytest.raises(ValueError, match="must have shape"):
        learn_uncertainty(known, known.new[1:], learn(known))
    card = Card("ridge", OLD, NEW, 2, 40, {}, {}, "2026-01-01T00:00:00Z")
    needs = Transformation(
        card, Affine(np.ones((10, 12), np.float32), np.ones(10, np.float32), np.ones((10, 2), np.float32))
    )
    with pytest.raises(ValueError, match="reads side-information"):
        learn_uncertainty(known, known.new, needs)


def test_head_minimises_fastfills_loss() -> None:
    rng = np.random.default_rng(0)
    transformed = rng.normal(size=(4000, 6)).astype(np.float32)
    slope = np.array([1.0, -0.5, 0, 0, 0.8, 0])
    loss = np.exp(transformed @ slope - 1) * rng.exponential(size=4000)
    head = fit_head(transformed, loss, device=CPU, seed=0)
    np.testing.assert_allclose(head.layer.weight[0], slope, atol=0.1)
    assert head.layer.bias[0] == pytest.approx(-1, abs=0.1)

    def fastfill(weight: np.ndarray, bias: float) -> float:
        total = 0.0
        for row, value in zip(transformed, loss, strict=True):
            sigma = float(weight @ row + bias)
            total += 0.5 * np.exp(-sigma) * value + 0.5 * sigma
        return total / len(transformed)

    fitted = fastfill(head.layer.weight[0], float(head.layer.bias[0]))
    assert fitted <= fastfill(slope, -1.0) + 0.002
    assert fitted < fastfill(np.zeros(6), float(np.log(loss.mean()))) - 0.1


def test_cross_entropy_is_larger_where_the_new_classifier_would_answer_wrongly() -> None:
    rng = np.random.default_rng(1)
    centres, codes = 3 * rng.normal(size=(5, 8)), rng.integers(0, 5, 500)
    new = (centres[codes] + rng.normal(size=(500, 8))).astype(np.float32)
    transformed = new.copy()
    transformed[:50] = (centres[(codes[:50] + 1) % 5]).astype(np.float32)
    entropy = cross_entropy_of_new_classifier(transformed, new, codes, device=CPU, seed=0)
    assert np.median(entropy[:50]) > 3 * np.median(entropy[50:])
    assert entropy.min() > 0


def test_bins_whose_errors_fall_with_the_score_share_one_mean_by_their_rows() -> None:
    raw = np.arange(75.0)  # three bins of 25
    for levels, expected in (((1.0, 3.0, 2.0), (1, 2.5, 2.5)), ((3.0, 2.0, 1.0), (2, 2, 2))):
        curve = calibrate(raw, np.repeat(levels, 25))
        np.testing.assert_allclose(curve.at, [12, 37, 62])
        np.testing.assert_allclose(np.exp(curve.log_error), expected)
    curve = calibrate(np.arange(77.0), np.repeat([4.0, 2.0, 1.0], [26, 26, 25]))  # the last bin has one row less
    np.testing.assert_allclose(np.exp(curve.log_error), (26 * 4 + 26 * 2 + 25) / 77)


def test_calibration_is_right_on_average_and_never_falls_even_for_a_score_that_says_nothing() -> None:
    rng = np.random.default_rng(2)
    raw, error = rng.normal(size=2000), rng.exponential(size=2000)
    for scores in (raw, np.zeros(2000), raw[:3]):
        curve = calibrate(scores, error[: len(scores)])
        assert curve(scores).mean() == pytest.approx(error[: len(scores)].mean(), rel=0.1)
        assert (np.diff(curve(np.linspace(-5, 5, 200))) > -1e-6).all()
    bins = reliability(calibrate(raw, error)(raw), error)
    assert len(bins) == 10
    assert all(each.observed.low <= each.observed.mean <= each.observed.high for each in bins)


def test_rank_correlation_is_spearmans() -> None:
    assert rank_correlation(np.array([1.0, 2, 3, 4]), np.array([10.0, 20, 25, 99])) == pytest.approx(1)
    assert rank_correlation(np.array([1.0, 2, 3]), np.array([3.0, 2, 1])) == pytest.approx(-1)
    assert rank_correlation(np.array([1.0, 2, 2, 3]), np.array([1.0, 3, 2, 4])) == pytest.approx(0.9486833)
    assert rank_correlation(np.ones(4), np.arange(4.0)) == 0
    assert rank_correlation(np.arange(4.0), np.ones(4)) == 0


def test_a_transformation_that_misses_nothing_leaves_nothing_to_learn() -> None:
    known = pairs(0)
    exact = Pairs(known.old, learn(known).apply(known.old), None, known.label)
    rounded = (exact.new * np.float32(1 + 1e-7)).astype(np.float32)
    for transformed in (exact.new, rounded):
        with pytest.raises(NothingToLearn, match="no error to learn"):
            learn_uncertainty(exact, transformed, learn(known), device="cpu")


@pytest.mark.parametrize("scale", [1e-15, 1e-6, 1e6, 1e15])
def test_expected_errors_are_right_in_spaces_of_any_size(scale: float) -> None:
    known = pairs(0)
    part = Pairs(known.old, (known.new * np.float32(scale)).astype(np.float32), None, known.label)
    h = learn(part)
    learned = learn_uncertainty(part, transformed_by(part, learn), h, device="cpu")
    error = np.square((h.apply(part.old) - part.new) / scale, dtype=np.float64).sum(1)
    expected = learned.uncertainty.expected_error(part.old, None, h.apply(part.old)).astype(np.float64) / scale / scale
    assert np.isfinite(expected).all()
    assert expected.mean() == pytest.approx(error.mean(), rel=0.3)


@pytest.mark.parametrize(
    "case", ["all errors are 0", "one error is not 0", "one row is far off", "every row is the same"]
)
def test_a_head_is_finite_whatever_the_errors_are(case: str) -> None:
    rows = np.random.default_rng(0).standard_normal((40, 4)).astype(np.float32)
    errors, first = np.zeros(40), np.arange(40) == 0
    if case == "one error is not 0":
        errors = first.astype(float)
    elif case == "one row is far off":
        rows, errors = np.where(first[:, None], rows * np.float32(1e12), rows), np.where(first, 1e24, 1.0)
    elif case == "every row is the same":
        rows, errors = np.ones_like(rows), np.ones(40)
    head = fit_head(rows, errors, device=torch.device("cpu"), seed=0)
    assert np.isfinite(head.layer.weight).all()
    assert np.isfinite(head.layer.bias).all()
