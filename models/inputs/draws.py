"""Random numbers that depend on row and seed alone, so that augmentation does not depend on the batch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MOST = 8  # purposes per seed


def draw(rows: NDArray[np.int64], seed: int, purpose: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Random integers for each (row, seed, purpose): splitmix64's finaliser (Steele et al., OOPSLA 2014), vectorised.

    rows: (b,); purpose: (p, 1) from 0 to 7, to draw independent numbers for a row; returns (p, b) of 56 bits each.
    """
    with np.errstate(over="ignore"):
        x = rows.astype(np.uint64)[None, :] + np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15)
        x = x * np.uint64(_MOST) + purpose.astype(np.uint64)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
        return (x ^ (x >> np.uint64(31))) >> np.uint64(8)


def uniform(rows: NDArray[np.int64], seed: int, purposes: int) -> NDArray[np.float64]:
    """Random numbers from 0 to below 1 for rows (b,): (purposes, b) float64, independent; at most 8 purposes."""
    return draw(rows, seed, np.arange(purposes)[:, None]) / 2.0**56
