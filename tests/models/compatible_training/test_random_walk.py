from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.compatible_training import random_walk
from models.compatible_training.random_walk import RefinedClasses, refine_classes
from models.portable import Array
from tests.models.compatible_training.one_class import refine


def walk(rows: np.ndarray, temperature: float) -> np.ndarray:
    """A (m, m), row by row in float64, as the formula is written; a zero row resembles nothing."""
    m = len(rows)
    lengths = np.linalg.norm(rows, axis=1)
    unit = rows / np.where(lengths > 0, lengths, 1)[:, None]
    refined = np.zeros((m, m))
    for i in range(m):
        others = [j for j in range(m) if j != i]
        logits = unit[others] @ unit[i] / temperature
        share = np.exp(logits - logits.max())
        refined[i, others] = share / share.sum()
    return refined


def exact(features: np.ndarray, damping: float, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """The column and π by the dense inverse, float64."""
    rows = features.astype(np.float64)
    inverse = np.linalg.inv(np.eye(len(rows)) - damping * walk(rows, temperature))
    mean = ((1 - damping) * inverse @ rows).mean(0)
    return mean / np.linalg.norm(mean), (1 - damping) * inverse.mean(0)


def with_strangers(seed: int, m: int = 100, d: int = 64, together: bool = False) -> tuple[Array, np.ndarray]:
    """Rows about a centre, but for the first fifth, about other centres or, together, about one; and the centre."""
    rng = np.random.default_rng(seed)
    centre = rng.normal(size=d)
    others = rng.normal(size=(1 if together else m // 5, d))
    rows = centre + 0.8 * rng.normal(size=(m, d))
    rows[: m // 5] += others - centre
    return rows.astype(np.float32), centre / np.linalg.norm(centre)


def unit(row: np.ndarray) -> np.ndarray:
    return np.asarray(row / np.linalg.norm(row))


@pytest.mark.parametrize("damping", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("temperature", [0.05, 0.1, 1.0])
def test_column_averaged_form_is_the_plain_mean_and_ours_is_not(damping: float, temperature: float) -> None:
    rows, _ = with_strangers(0)
    on_the_right = walk(rows.astype(np.float64), temperature).T  # the paper's K × m layout: columns sum to 1
    refined = (1 - damping) * rows.T @ np.linalg.inv(np.eye(len(rows)) - damping * on_the_right.T)
    assert refined.mean(1) == pytest.approx(rows.mean(0), abs=1e-6)
    assert np.abs(refine(rows, damping, temperature).column - unit(rows.mean(0))).max() > 1e-3


@pytest.mark.parametrize("together", [False, True])
def test_column_lies_nearer_the_true_centre_when_a_fifth_are_outliers(together: bool) -> None:
    nearer = 0
    for seed in range(100):
        rows, centre = with_strangers(seed, together=together)
        nearer += bool(refine(rows).column @ centre > unit(rows.mean(0)) @ centre)
    assert nearer >= 95


def test_outliers_weigh_less() -> None:
    rows, _ = with_strangers(0)
    relative = 100 * refine(rows).weights
    assert relative[:20].max() < 0.4
    assert relative[20:].mean() > 1.1


@settings(max_examples=60, derandomize=True)
@given(
    m=st.integers(1, 60),
    d=st.integers(2, 24),
    damping=st.sampled_from([0.0, 0.1, 0.5, 0.9, 0.95, 0.99, 0.999]),
    temperature=st.sampled_from([0.02, 0.05, 0.1, 1.0, 10.0]),
    clusters=st.integers(1, 4),
    seed=st.integers(0, 1000),
)
def test_equals_the_dense_inverse(m: int, d: int, damping: float, temperature: float, clusters: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = 1 + rng.normal(size=(clusters, d))[rng.integers(clusters, size=m)] + 0.3 * rng.normal(size=(m, d))
    rows = rows.astype(np.float32)
    refined = refine(rows, damping, temperature)
    if m == 1:
        assert refined.column == pytest.approx(unit(rows[0]), abs=1e-6)
        return
    column, weights = exact(rows, damping, temperature)
    assert refined.column == pytest.approx(column, abs=1e-5)
    assert refined.weights == pytest.approx(weights, abs=1e-5)


def many(sizes: list[int], seed: int = 0) -> tuple[Array, np.ndarray]:
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(len(sizes)), sizes)
    rows = rng.normal(size=(len(sizes), 8))[codes] + rng.normal(size=(len(codes), 8))
    order = rng.permutation(len(codes))
    return rows[order].astype(np.float32), codes[order]


SIZES = [0, 1, 1, 2, 2, 3, 7, 8, 9, 10, 30, 31, 33, 39, 120, 0]


@pytest.mark.parametrize("at_once", [100, 2_000, 1_000_000])
def test_many_classes_equal_one_by_one(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(random_walk, "_IN_CACHE", at_once)
    rows, codes = many(SIZES)
    refined = refine_classes(rows, codes, len(SIZES))
    for code, size in enumerate(SIZES):
        if size == 0:
            assert not refined.columns[code].any()
            continue
        alone = refine(rows[codes == code])
        assert refined.columns[code] == pytest.approx(alone.column, abs=2e-6)
        assert refined.weights[codes == code] == pytest.approx(alone.weights, abs=2e-6)


def test_answer_does_not_depend_on_threads() -> None:
    rows, codes = many(SIZES)
    threads = torch.get_num_threads()
    answers: list[RefinedClasses] = []
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            answers.append(refine_classes(rows, codes, len(SIZES)))
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(threads)
    assert np.array_equal(answers[0].columns, answers[1].columns)
    assert np.array_equal(answers[0].weights, answers[1].weights)


def test_weights_sum_to_one_in_every_class_and_are_zero_in_none() -> None:
    rows, codes = many(SIZES)
    codes = np.where(np.arange(len(codes)) % 5 == 0, -1, codes)
    refined = refine_classes(rows, codes, len(SIZES))
    sums = np.bincount(codes[codes >= 0], refined.weights[codes >= 0], len(SIZES))
    filled = np.isin(np.arange(len(SIZES)), codes)
    assert sums[filled] == pytest.approx(1, abs=1e-6)
    assert not refined.weights[codes < 0].any()
    assert np.linalg.norm(refined.columns[filled], axis=1) == pytest.approx(1, abs=1e-6)


def test_permuted_rows_permute_weights() -> None:
    rows, _ = with_strangers(1)
    order = np.random.default_rng(2).permutation(len(rows))
    plain, permuted = refine(rows), refine(rows[order])
    assert permuted.weights == pytest.approx(plain.weights[order], abs=1e-6)
    assert permuted.column == pytest.approx(plain.column, abs=1e-6)


def test_class_of_one_row_is_that_row() -> None:
    refined = refine(np.array([[3.0, 4.0]]))
    assert refined.column == pytest.approx(np.array([0.6, 0.8]))
    assert refined.weights.tolist() == [1.0]


def test_two_rows_weigh_the_same() -> None:
    assert refine(np.array([[3.0, 4.0], [1.0, 0.0]])).weights == pytest.approx(np.array([0.5, 0.5]))


def test_duplicates_weigh_the_same() -> None:
    rows, _ = with_strangers(3, m=20)
    weights = refine(np.concatenate([rows, rows, rows])).weights
    assert weights[:20] == pytest.approx(weights[20:40], abs=1e-6)
    assert weights[:20] == pytest.approx(weights[40:], abs=1e-6)


def test_identical_rows_are_all_the_mean() -> None:
    refined = refine(np.tile(np.array([0.0, 5.0]), (7, 1)), temperature=1e-6)
    assert refined.column == pytest.approx(np.array([0.0, 1.0]))
    assert refined.weights == pytest.approx(np.full(7, 1 / 7))


def test_zero_rows_resemble_nothing() -> None:
    rows, _ = with_strangers(4, m=30)
    rows[[0, 7]] = 0
    refined = refine(rows)
    column, weights = exact(rows, 0.9, 0.1)
    assert refined.weights == pytest.approx(weights, abs=1e-5)
    assert refined.column == pytest.approx(column, abs=1e-5)


def test_class_of_zeros_has_no_column() -> None:
    refined = refine(np.zeros((5, 3)))
    assert not refined.column.any()
    assert refined.weights == pytest.approx(np.full(5, 0.2))


def test_rows_that_cancel_have_no_column() -> None:
    row = np.random.default_rng(0).normal(size=16)
    assert not refine(np.stack([row, -row])).column.any()


def test_no_damping_is_the_plain_mean() -> None:
    rows, _ = with_strangers(5)
    refined = refine(rows, damping=0)
    assert refined.weights == pytest.approx(np.full(100, 0.01))
    assert refined.column == pytest.approx(unit(rows.mean(0)), abs=1e-6)


@pytest.mark.parametrize("temperature", [1e-12, 1e-4, random_walk._WARM, 1e6])
def test_extreme_temperatures_are_stable(temperature: float) -> None:
    rows, _ = with_strangers(6)
    refined = refine(rows, temperature=temperature)
    assert np.isfinite(refined.column).all()
    assert refined.weights.sum() == pytest.approx(1, abs=1e-5)


def test_length_of_rows_counts_in_the_mean_and_not_in_the_walk() -> None:
    rows, _ = with_strangers(7)
    longer = rows * np.random.default_rng(0).uniform(0.1, 10, (100, 1)).astype(np.float32)
    refined = refine(longer)
    assert refined.weights == pytest.approx(refine(rows).weights, abs=1e-6)
    assert refined.column == pytest.approx(unit(refined.weights @ longer), abs=1e-6)


def test_neighbours_stand_for_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, _ = with_strangers(8, m=300)
    dense = refine(rows)
    monkeypatch.setattr(random_walk, "DENSE_ROWS", 200)
    near = refine(rows)
    assert near.column @ dense.column > 0.999
    assert near.weights.sum() == pytest.approx(1, abs=1e-5)
    assert 300 * near.weights[:60].mean() < 0.5
    monkeypatch.setattr(random_walk, "GRAPH_NEIGHBOURS", 200)
    nearer = refine(rows)
    assert nearer.column @ dense.column > 0.9999
    assert 0 < np.abs(nearer.weights - dense.weights).sum() < np.abs(near.weights - dense.weights).sum() / 2


@pytest.mark.parametrize("damping", [0.9, 0.99])
def test_all_rows_as_neighbours_equal_the_dense_walk(monkeypatch: pytest.MonkeyPatch, damping: float) -> None:
    rows, _ = with_strangers(9, m=80)
    dense = refine(rows, damping)
    monkeypatch.setattr(random_walk, "DENSE_ROWS", 20)
    monkeypatch.setattr(random_walk, "GRAPH_NEIGHBOURS", 79)
    monkeypatch.setattr(random_walk, "_AT_ONCE", 1_000)  # blocks of 12 rows
    near = refine(rows, damping)
    assert near.weights == pytest.approx(dense.weights, abs=2e-6)
    assert near.column == pytest.approx(dense.column, abs=2e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_any_float_type_and_tensors_are_taken(dtype: type) -> None:
    rows: np.ndarray = with_strangers(0)[0].astype(dtype)
    assert np.array_equal(refine(rows).weights, refine(rows.astype(np.float32)).weights)
    assert np.array_equal(refine(torch.from_numpy(rows)).weights, refine(rows).weights)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_are_refused(bad: float) -> None:
    rows, _ = with_strangers(0)
    rows[3, 1] = bad
    with pytest.raises(ValueError, match="finite"):
        refine(rows)


@pytest.mark.parametrize("damping", [-0.1, 1.0, np.nan])
def test_damping_out_of_range_is_refused(damping: float) -> None:
    with pytest.raises(ValueError, match="damping"):
        refine(np.ones((3, 2)), damping=damping)


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan, np.inf])
def test_temperature_that_is_not_positive_is_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature"):
        refine(np.ones((3, 2)), temperature=temperature)
