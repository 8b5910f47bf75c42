"""How far an item is from what was learned: the distance to the nearest pair, of its own label where there are labels.

A crossing does best next to what it learned from, and a held-out pair is farther from the rest than a gallery item is
from all pairs, most of all where the pairs were chosen to be spread out. Knowing both distances corrects for it. But an
item may also be far from every pair because it is far from everything of its label, and such items are harder whatever
was learned. So a second distance is known of each, to the gallery itself, and what the first says is what it says
beside it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from models.arrays import Codes, Floats
from models.portable import Array, Distance, as_indexed
from models.portable.layers import squared_norms
from models.spread import total_spread
from models.transformations.pairs import side_factor

Allowed = Callable[[Codes, Codes], NDArray[np.bool_]]  # (rows (a,), pairs (b,)) → (a, b) whether the pair may count

BLOCK = 2048
FARTHEST = 10.0
"""How far a row counts as being at most: one far from everything is not to decide a regression on distances alone."""


def features(old: Array, side: Array | None, metric: Distance, like: tuple[Array, Array | None]) -> Array:
    """The vectors between which distances are taken: (m, d_old + d_side) float32, [old ; side] as `metric` indexes old.

    Side-information is scaled to the spread of the old vectors, both measured on `like`, an (old, side) of the pairs.
    """
    rows = as_indexed(np.asarray(old, np.float32), metric)
    if side is None or like[1] is None:
        return rows
    factor = side_factor(as_indexed(np.asarray(like[0], np.float32), metric), np.asarray(like[1], np.float32))
    return np.concatenate([rows, factor * np.asarray(side, np.float32)], axis=1)


def distance_to_pairs(
    rows: Array, cell: Codes, pairs: Array, pair_cell: Codes, allowed: Allowed, *, nearest: int = 1
) -> Floats:
    """Each row's distance to the nearest allowed pair of its cell, in units of the root mean square distance of two
    pairs, which stands for it where there is none.

    nearest: which of the pairs is meant, from 1 on; the farthest where there are not as many. rows: (m, d), pairs:
    (n, d) float32; cell: (m,), pair_cell: (n,) int64; → (m,) float64, from 0 to `FARTHEST`.
    """
    middle, unit = pairs.mean(axis=0, dtype=np.float64).astype(np.float32), np.sqrt(2) * total_spread(pairs)
    rows, pairs = ((each - middle) / np.float32(unit) for each in (rows, pairs))
    squared = np.ones(len(rows))
    for code in np.unique(cell):
        candidates = np.flatnonzero(pair_cell == code)
        rows_of_cell = np.flatnonzero(cell == code)
        for start in range(0, len(rows_of_cell) if len(candidates) else 0, BLOCK):
            block = rows_of_cell[start : start + BLOCK]
            products = rows[block] @ pairs[candidates].T
            gap = squared_norms(rows[block])[:, None] + squared_norms(pairs[candidates]) - 2 * products
            reached = _smallest(np.where(allowed(block, candidates), gap, np.inf), nearest)
            squared[block] = np.where(np.isfinite(reached), np.clip(reached, 0, FARTHEST**2), 1)
    distance: Floats = np.sqrt(squared)
    return distance


def _smallest(values: Array, place: int) -> Array:
    """The `place`-th smallest finite number of each row of (m, n), or the largest where there are fewer; inf for none.

    Works in place.
    """
    place = min(place, values.shape[1])
    values.partition(place - 1, axis=1)
    values = values[:, :place]
    largest = np.where(np.isfinite(values), values, -np.inf).max(axis=1)
    return np.asarray(np.where(np.isfinite(largest), largest, np.inf))
