"""The order in which an epoch reads its rows, and the seeds of an epoch."""

from __future__ import annotations

import numpy as np

from models.arrays import RowNumbers


def steps_per_epoch(rows: int, batch: int) -> int:
    """The number of steps of an epoch that reads every row once in nearly equal batches of at most `batch` rows."""
    return max(1, -(-rows // batch))


def epoch_plan(rows: int, batch: int, seed: int, epoch: int, rank: int = 0, world: int = 1) -> list[RowNumbers]:
    """The rows of every step of one epoch, for process `rank` of the `world` processes that share each batch.

    It depends on the arguments alone, so that a resumed training reads what an uninterrupted one would have read.
    """
    order = np.random.default_rng([seed, epoch]).permutation(rows)
    return [part[rank::world] for part in np.array_split(order, steps_per_epoch(rows, batch))]


def derived_seed(seed: int, *words: int) -> int:
    """A seed derived from another one and from numbers that name its purpose, such as an epoch's augmentation."""
    return int(np.random.SeedSequence([seed, *words]).generate_state(1)[0])
