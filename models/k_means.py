"""k-means (Lloyd, 1982) over rows that fit in memory, in float32 throughout.

By hand, since scipy's `kmeans2` neither stops when nothing changes nor gives a centroid without rows new work, and
scikit-learn, whose `KMeans` does both and is hardly faster, is not installed with the service.
"""

from __future__ import annotations

import numpy as np

from models.arrays import Floats32, RowNumbers
from models.portable import Array
from models.portable.layers import squared_norms
from models.spread import unit_of

ITERATIONS = 10
BLOCK = 4_096  # rows whose distances to all centroids are in memory at once


def k_means(rows: Array, start: Array) -> Array:
    """The centroids of k clusters of `rows`, begun at those of `start`: (k, d) float32.

    rows: (n, d) and start: (k, d) float32, k ≤ n. A centroid that loses all its rows moves to one of the rows that are
    farthest from their own.
    """
    centroids = start.copy()
    before: RowNumbers = np.full(len(rows), -1)
    for _ in range(ITERATIONS):
        nearest, distances = nearest_centroid(rows, centroids)
        if np.array_equal(nearest, before):
            break
        order, before = np.argsort(nearest, kind="stable"), nearest
        present, starts, counts = np.unique(nearest[order], return_index=True, return_counts=True)
        centroids[present] = np.add.reduceat(rows[order], starts, axis=0) / counts[:, None]
        absent = np.setdiff1d(np.arange(len(centroids)), present)
        centroids[absent] = rows[np.argsort(-distances, kind="stable")[: len(absent)]]
    return centroids


def nearest_centroid(rows: Array, centroids: Array) -> tuple[RowNumbers, Floats32]:
    """The number of every row's nearest centroid, and its squared distance in the square of the centroids' unit
    (`models.spread.unit_of`): (n,) int64 and (n,) float32."""
    nearest, distances = np.empty(len(rows), np.int64), np.empty(len(rows), np.float32)
    middle, unit = centroids.mean(axis=0, dtype=np.float64).astype(np.float32), np.float32(unit_of(centroids))
    about = (centroids - middle) / unit
    half = squared_norms(about) / 2
    for start in range(0, len(rows), BLOCK):
        block = (rows[start : start + BLOCK] - middle) / unit
        scores = block @ about.T - half
        best = scores.argmax(axis=1)
        nearest[start : start + BLOCK] = best
        distances[start : start + BLOCK] = squared_norms(block) - 2 * scores[np.arange(len(block)), best]
    return nearest, distances
