"""k-means: as good as scikit-learn's from the same start, no centroid idle, distances as they are by definition."""

import numpy as np
import pytest
from sklearn.cluster import KMeans

from models.k_means import BLOCK, ITERATIONS, k_means, nearest_centroid
from models.portable import Array
from models.spread import unit_of


def scattered(rows: int, dimension: int = 16, groups: int = 30, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    centres = 2 * rng.standard_normal((groups, dimension))
    return (centres[rng.integers(0, groups, rows)] + rng.standard_normal((rows, dimension))).astype(np.float32)


def inertia(rows: Array, centroids: Array) -> float:
    return float(nearest_centroid(rows, centroids)[1].mean()) * unit_of(centroids) ** 2


def some_of(rows: Array, k: int, seed: int = 0) -> Array:
    return rows[np.random.default_rng(seed).choice(len(rows), k, replace=False)]


def test_clusters_are_as_tight_as_scikit_learns_from_the_same_start() -> None:
    rows = scattered(3000)
    for seed in range(3):
        start = some_of(rows, 40, seed)
        theirs = KMeans(40, init=start, n_init=1, max_iter=ITERATIONS).fit(rows)
        assert inertia(rows, k_means(rows, start)) == pytest.approx(theirs.inertia_ / len(rows), rel=0.02)


def test_centroids_that_begin_at_equal_rows_end_at_different_ones() -> None:
    rows = np.concatenate([np.zeros((200, 6), np.float32), 10 * np.eye(6, dtype=np.float32)])
    centroids = k_means(rows, rows[:7])
    assert inertia(rows, centroids) == 0
    assert len(np.unique(centroids, axis=0)) == 7


def test_rows_and_start_are_left_as_they_were() -> None:
    rows = scattered(100)
    start = some_of(rows, 5)
    before = rows.copy(), start.copy()
    k_means(rows, start)
    np.testing.assert_array_equal(rows, before[0])
    np.testing.assert_array_equal(start, before[1])


def test_nearest_centroid_is_that_of_the_least_distance_in_every_block() -> None:
    rows, centroids = scattered(BLOCK + 100), scattered(20, seed=1)
    nearest, squared = nearest_centroid(rows, centroids)
    distances = np.stack([np.square(rows.astype(np.float64) - each).sum(axis=1) for each in centroids], axis=1)
    assert (nearest == distances.argmin(axis=1)).mean() > 0.999  # but for ties within float32's precision
    np.testing.assert_allclose(squared * unit_of(centroids) ** 2, distances.min(axis=1), rtol=1e-3, atol=1e-3)
