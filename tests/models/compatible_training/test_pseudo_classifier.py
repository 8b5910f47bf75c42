from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from models.compatible_training.pseudo_classifier import (
    PSEUDO_METHODS,
    PseudoClassifier,
    PseudoMethod,
    build_pseudo_classifier,
)
from models.portable import Array, Distance
from tests.models.compatible_training.one_class import refine

Codes = NDArray[np.int64]


def classes(each: int = 30, seed: int = 0) -> tuple[Array, Codes]:
    """Five classes of rows of many lengths, the last two without rows; some rows of no class."""
    rng = np.random.default_rng(seed)
    codes = rng.permutation(np.repeat(np.array([-1, 0, 1, 2]), each))
    rows = rng.normal(size=(4, 12))[codes] + 0.7 * rng.normal(size=(len(codes), 12))
    return (rows * rng.uniform(0.5, 4, (len(codes), 1))).astype(np.float32), codes


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True))


def logits(classifier: PseudoClassifier, rows: np.ndarray) -> np.ndarray:
    return np.asarray(classifier.scale * rows @ classifier.columns.T + classifier.bias)


@pytest.mark.parametrize("metric", ["l2", "ip"])
def test_averaged_is_the_mean_of_raw_rows(metric: Distance) -> None:
    rows, codes = classes()
    classifier = build_pseudo_classifier("averaged", rows, codes, 5, metric)
    for code in range(3):
        assert classifier.columns[code] == pytest.approx(rows[codes == code].astype(float).mean(0), abs=1e-6)
    assert not classifier.bias.any()
    assert classifier.scale == 1


def test_averaged_under_cosine_is_the_mean_of_unit_rows() -> None:
    rows, codes = classes()
    classifier = build_pseudo_classifier("averaged", rows, codes, 5, "cosine")
    for code in range(3):
        assert classifier.columns[code] == pytest.approx(unit(rows[codes == code]).mean(0), abs=1e-6)


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
def test_averaged_normalised_is_averaged_at_unit_length(metric: Distance) -> None:
    rows, codes = classes()
    mean = build_pseudo_classifier("averaged", rows, codes, 5, metric).columns[:3]
    assert build_pseudo_classifier("averaged_normalised", rows, codes, 5, metric).columns[:3] == pytest.approx(
        unit(mean), abs=1e-6
    )


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
def test_random_walk_is_each_class_refined(metric: Distance) -> None:
    rows, codes = classes()
    classifier = build_pseudo_classifier("random_walk", rows, codes, 5, metric, damping=0.8, temperature=0.2)
    assert classifier.outlier is not None
    for code in range(3):
        own = rows[codes == code]
        alone = refine(unit(own) if metric == "cosine" else own, 0.8, 0.2)
        assert classifier.columns[code] == pytest.approx(alone.column, abs=2e-6)
        assert classifier.outlier[codes == code] == pytest.approx(30 * alone.weights, abs=1e-4)


def test_outlier_is_one_on_average_low_for_a_stranger_and_nan_for_a_row_of_no_class() -> None:
    rows, codes = classes()
    stranger = int(np.flatnonzero(codes == 1)[0])
    rows[stranger] = -rows[codes == 1].mean(0)
    outlier = build_pseudo_classifier("random_walk", rows, codes, 5, "cosine").outlier
    assert outlier is not None
    assert np.isnan(outlier).tolist() == (codes < 0).tolist()
    for code in range(3):
        assert outlier[codes == code].mean() == pytest.approx(1, abs=1e-5)
    assert outlier[stranger] < 0.2


@pytest.mark.parametrize("method", PSEUDO_METHODS)
def test_class_without_rows_is_not_usable(method: PseudoMethod) -> None:
    rows, codes = classes()
    classifier = build_pseudo_classifier(method, rows, codes, 5, "l2")
    assert classifier.usable.tolist() == [True, True, True, False, False]
    assert not classifier.columns[3:].any()
    assert classifier.columns.dtype == classifier.bias.dtype == np.float32
    assert (classifier.outlier is not None) == (method == "random_walk")


@pytest.mark.parametrize("method", ["averaged", "averaged_normalised", "random_walk"])
@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_class_whose_mean_has_no_direction_is_not_usable(method: PseudoMethod, metric: Distance) -> None:
    row = np.random.default_rng(0).normal(size=12)
    rows = np.stack([row, -row, np.zeros(12), np.zeros(12), row]).astype(np.float32)
    classifier = build_pseudo_classifier(method, rows, np.array([0, 0, 1, 1, 2]), 3, metric)
    assert classifier.usable.tolist() == [False, False, True]
    assert not classifier.columns[:2].any()


@pytest.mark.parametrize("method", ["averaged_normalised", "random_walk"])
def test_zeros_alone_leave_nothing_usable(method: PseudoMethod) -> None:
    classifier = build_pseudo_classifier(method, np.zeros((3, 4), np.float32), np.array([0, 0, 1]), 2, "cosine")
    assert not classifier.usable.any()


@pytest.mark.parametrize("method", PSEUDO_METHODS)
def test_rows_without_any_class_are_refused(method: PseudoMethod) -> None:
    with pytest.raises(ValueError, match="no row has a class"):
        build_pseudo_classifier(method, np.ones((3, 4), np.float32), np.full(3, -1), 2, "cosine")


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_trained_is_as_accurate_as_logistic_regression(metric: Distance) -> None:
    data, target = load_digits(return_X_y=True)
    train = np.random.default_rng(0).random(len(target)) < 0.5
    rows = unit(data) if metric == "cosine" else data
    peer = LogisticRegression(max_iter=2000).fit(rows[train] / rows.std(), target[train])
    classifier = build_pseudo_classifier(
        "trained", data[train].astype(np.float32), target[train].astype(np.int64), 10, metric
    )
    ours = np.mean(logits(classifier, rows[~train]).argmax(1) == target[~train])
    assert ours > peer.score(rows[~train] / rows.std(), target[~train]) - 0.01


def test_trained_does_not_depend_on_the_units_of_the_features() -> None:
    rows, codes = classes()
    plain, scaled = (build_pseudo_classifier("trained", factor * rows, codes, 5, "l2") for factor in (1, 1000))
    known = codes >= 0
    assert logits(scaled, 1000 * rows[known]) == pytest.approx(logits(plain, rows[known]), abs=0.2)


@pytest.mark.parametrize("method", PSEUDO_METHODS)
def test_same_seed_same_classifier(method: PseudoMethod) -> None:
    rows, codes = classes()
    one, two = (build_pseudo_classifier(method, rows, codes, 5, "cosine", seed=3) for _ in range(2))
    assert np.array_equal(one.columns, two.columns)
    assert np.array_equal(one.bias, two.bias)
    assert one.scale == two.scale


@pytest.mark.parametrize("method", ["averaged_normalised", "random_walk"])
def test_cosine_scale_is_softer_where_classes_lie_nearer_one_another(method: PseudoMethod) -> None:
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(6), 50)
    centres = rng.normal(size=(6, 16))
    scales = [
        build_pseudo_classifier(
            method, (centres[codes] + noise * rng.normal(size=(300, 16))).astype(np.float32), codes, 6, "cosine"
        ).scale
        for noise in (0.3, 2.0)
    ]
    assert scales[1] < scales[0]


@pytest.mark.parametrize("method", PSEUDO_METHODS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_rows_that_are_not_finite_are_refused(method: PseudoMethod, bad: float) -> None:
    rows, codes = classes()
    rows[0, 0] = bad
    with pytest.raises(ValueError, match="finite"):
        build_pseudo_classifier(method, rows, codes, 5, "l2")
