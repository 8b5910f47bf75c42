from __future__ import annotations

import numpy as np
import pytest

from models.proof.distance_to_pairs import FARTHEST, distance_to_pairs, features


def everything(rows: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    return np.ones((len(rows), len(pairs)), bool)


def test_distance_equals_loops() -> None:
    rng = np.random.default_rng(0)
    rows, pairs = (rng.normal(size=(n, 3)).astype(np.float32) for n in (20, 15))
    cell, pair_cell = rng.integers(0, 3, 20), rng.integers(0, 3, 15)
    forbidden = rng.random((20, 15)) < 0.3
    distances = distance_to_pairs(rows, cell, pairs, pair_cell, lambda a, b: ~forbidden[np.ix_(a, b)])
    far = np.sqrt(2 * pairs.var(axis=0).sum())
    for i in range(20):
        near = [
            np.linalg.norm(rows[i].astype(float) - pairs[j])
            for j in range(15)
            if cell[i] == pair_cell[j] and not forbidden[i, j]
        ]
        assert distances[i] == pytest.approx(min(near, default=far) / far, abs=1e-3)


def test_label_without_pairs_is_as_far_as_two_random_pairs() -> None:
    pairs = np.array([[1.0, 0], [-1, 0]], np.float32)
    distances = distance_to_pairs(pairs[:1], np.array([5]), pairs, np.array([0, 0]), everything)
    assert distances[0] == pytest.approx(1)


def test_distances_depend_neither_on_the_unit_nor_on_the_place_of_the_space() -> None:
    rng = np.random.default_rng(0)
    rows, pairs = (rng.normal(size=(n, 3)) for n in (20, 15))
    cell, pair_cell = np.zeros(20, np.int64), np.zeros(15, np.int64)

    def measured(scale: float, offset: float) -> np.ndarray:
        each = (((vectors + offset) * scale).astype(np.float32) for vectors in (rows, pairs))
        return distance_to_pairs(next(each), cell, next(each), pair_cell, everything)

    for scale, offset in ((1e-30, 0), (1e10, 0), (1, 300), (1e-20, 300)):
        np.testing.assert_allclose(measured(scale, offset), measured(1, 0), rtol=1e-3, atol=1e-3)


def test_a_row_far_from_everything_counts_as_no_farther_than_the_bound() -> None:
    pairs = np.random.default_rng(0).normal(size=(15, 3)).astype(np.float32)
    outlier = np.full((1, 3), 1e15, np.float32)
    assert distance_to_pairs(outlier, np.array([0]), pairs, np.zeros(15, np.int64), everything) == [FARTHEST]


def test_side_information_has_the_spread_of_the_old_vectors() -> None:
    rng = np.random.default_rng(0)
    old, side = rng.normal(size=(200, 4)).astype(np.float32), 100 * rng.normal(size=(200, 3)).astype(np.float32)
    rows = features(old, side, "l2", (old, side))
    assert rows.shape == (200, 7)
    assert rows[:, 4:].var(axis=0).sum() == pytest.approx(rows[:, :4].var(axis=0).sum(), rel=1e-4)


def test_features_without_side_information_are_the_old_vectors_as_indexed() -> None:
    old = np.array([[3.0, 4.0]], np.float32)
    assert features(old, None, "cosine", (old, None)) == pytest.approx(np.array([[0.6, 0.8]]))


def test_the_nearest_but_one_is_found_and_the_farthest_where_there_is_none() -> None:
    pairs = np.array([[1.0], [2], [4]], np.float32)
    cell = np.zeros(3, np.int64)
    row = np.zeros((1, 1), np.float32)
    second, fifth = (distance_to_pairs(row, cell[:1], pairs, cell, everything, nearest=place)[0] for place in (2, 5))
    assert fifth / second == pytest.approx(2)
