"""The order in which an epoch reads its rows, and the seeds of all that is random in it."""

from __future__ import annotations

import numpy as np

from models.arrays import Codes


def steps_per_epoch(rows: int, batch: int) -> int:
    """Steps of an epoch that visits every row once in batches of nearly equal size, `batch` at most."""
    return max(1, -(-rows // batch))


def epoch_plan(rows: int, batch: int, seed: int, epoch: int, rank: int = 0, world: int = 1) -> list[Codes]:
    """The rows of every step of one epoch, for one of `world` processes that share each batch.

    Depends on the arguments alone, so that a resumed epoch reads what the interrupted one would have read.
    """
    order = np.random.default_rng([seed, epoch]).permutation(rows)
    return [part[rank::world] for part in np.array_split(order, steps_per_epoch(rows, batch))]


def derived_seed(seed: int, *words: int) -> int:
    """A seed of its own for every purpose, such as an epoch's augmentation and dropout."""
    return int(np.random.SeedSequence([seed, *words]).generate_state(1)[0])
