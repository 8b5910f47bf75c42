"""Which items to embed with the new model, so that a transformation is learned best from few pairs.

One item nearest to each of n k-means centroids over [old ; side-information]: the gallery's every region is seen once,
where a random sample sees dense regions many times. numpy alone, one pass over the gallery in bounded memory: all after
the pass works on a uniform sample of `NUMBERS_IN_MEMORY` numbers, which is the whole gallery up to that size.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.arrays import RowNumbers
from models.k_means import ITERATIONS, k_means, nearest_centroid
from models.portable import Array, Distance, as_indexed
from models.spread import living_dimensions, unit_of
from models.transformations.pairs import side_factor

NUMBERS_IN_MEMORY = 32_000_000  # 128 MiB of float32
OPERATIONS_FOR_CENTROIDS = 2e12  # floating-point operations that k-means may take, under a minute on one core


@dataclass(frozen=True)
class ChosenItems:
    """The items chosen, by position in the stream, ascending, and the share of the gallery that each stands for.

    indices: (n,) int64, distinct; weights: (n,) float64, sum 1.
    """

    indices: RowNumbers
    weights: NDArray[np.float64]


def choose(
    batches: Iterable[tuple[Array, Array | None]], n: int, *, metric: Distance = "cosine", seed: int = 0
) -> ChosenItems:
    """The n items to embed first, or all of them where there are no more than n.

    batches: (rows, d_old) float32 old vectors and (rows, d_side) side-information or None, streamed once; `metric` is
    the old model's. Deterministic for a seed, however the stream is cut. Raises ValueError for n < 1 or no items.
    """
    if n < 1:
        raise ValueError(f"a sample needs at least one item, not {n}")
    sample = _uniform_sample(batches, n, seed)
    if len(sample.positions) <= n:
        return ChosenItems(np.sort(sample.positions), np.full(len(sample.positions), 1 / len(sample.positions)))
    features = _features(sample, metric)
    affordable = int(OPERATIONS_FOR_CENTROIDS / (2 * ITERATIONS * n * features.shape[1]))
    learning = features[: max(4 * n, affordable)]
    start = np.random.default_rng(seed).choice(len(learning), n, replace=False)
    rows = _medoids(features, k_means(learning, learning[start]))
    rows = rows[np.argsort(sample.positions[rows])]
    nearest, _ = nearest_centroid(features, features[rows])
    share = np.bincount(nearest, minlength=n) / len(features)
    return ChosenItems(sample.positions[rows], share)


@dataclass(frozen=True)
class _UniformSample:
    """A uniform sample of the stream in random order: positions (k,), old (k, d_old), side (k, d_side) or None."""

    positions: RowNumbers
    old: Array
    side: Array | None


def _uniform_sample(batches: Iterable[tuple[Array, Array | None]], n: int, seed: int) -> _UniformSample:
    """The rows of the smallest random keys, one key per row of the stream (bottom-k sampling)."""
    generator = np.random.default_rng(seed)
    keys, positions = np.empty(0), np.empty(0, np.int64)
    parts: list[tuple[Array, Array | None]] = []
    seen, largest, capacity = 0, np.inf, 0
    for old, side in batches:
        drawn = generator.random(len(old))
        taken = np.flatnonzero(drawn < largest)
        keys, positions = np.concatenate([keys, drawn[taken]]), np.concatenate([positions, seen + taken])
        parts.append(
            (np.asarray(old, np.float32)[taken], None if side is None else np.asarray(side, np.float32)[taken])
        )
        seen += len(old)
        capacity = max(NUMBERS_IN_MEMORY // (old.shape[1] + (0 if side is None else side.shape[1])), 4 * n)
        if len(keys) > 1.25 * capacity:
            order = np.argsort(keys)[:capacity]
            keys, positions, parts = keys[order], positions[order], [_rows(parts, order)]
            largest = float(keys[-1])
    if not len(keys):
        raise ValueError("there are no items to choose from")
    order = np.argsort(keys)[:capacity]
    old, side = _rows(parts, order)
    return _UniformSample(positions[order], old, side)


def _rows(parts: list[tuple[Array, Array | None]], order: RowNumbers) -> tuple[Array, Array | None]:
    sides = [side for _, side in parts if side is not None]
    return np.concatenate([old for old, _ in parts])[order], np.concatenate(sides)[order] if sides else None


def _features(sample: _UniformSample, metric: Distance) -> Array:
    """Centred [old ; side] along its principal axes, each divided by the square root of its standard deviation.

    Between distances as they are, which see the widest directions alone, and whitened ones, which see mostly noise.
    """
    rows = as_indexed(sample.old, metric)
    if sample.side is not None:
        rows = np.concatenate([rows, side_factor(rows, sample.side) * sample.side], axis=1)
    rows = (rows - rows.mean(axis=0, dtype=np.float64).astype(np.float32)) / np.float32(unit_of(rows))
    variances, axes = np.linalg.eigh((rows.T @ rows).astype(np.float64) / len(rows))
    floor = 1e-3 * float(np.maximum(variances, 0).sum()) / living_dimensions(rows) or 1.0
    return np.asarray(rows @ (axes * np.maximum(variances, floor) ** -0.25).astype(np.float32), np.float32)


def _medoids(features: Array, centroids: Array) -> RowNumbers:
    """Of every centroid's rows the nearest, and worst served rows for centroids without any: (n,) int64, distinct."""
    nearest, distances = nearest_centroid(features, centroids)
    order = np.lexsort((distances, nearest))
    _, first = np.unique(nearest[order], return_index=True)
    medoids = order[first]
    distances[medoids] = -np.inf
    return np.concatenate([medoids, np.argsort(-distances, kind="stable")[: len(centroids) - len(medoids)]])
