"""What is trained on, as plain data, and the order in which an epoch reads it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.inputs import Inputs, Taken
from models.portable import Array

Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    """Rows of raw input with their class and the old model's vector, which is all that is known of that model.

    inputs: n encoded images or texts; codes: (n,) int64 classes from 0; old: (n, d_old) float32.
    """

    inputs: Inputs
    codes: Codes
    old: Array

    def __post_init__(self) -> None:
        if not len(self.inputs) == len(self.codes) == len(self.old):
            raise ValueError(f"{len(self.inputs)} inputs, {len(self.codes)} classes, {len(self.old)} old vectors")

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, rows: Codes) -> Rows:
        """These rows, in this order; the inputs stay where they are."""
        return Rows(Taken(self.inputs, rows), self.codes[rows], self.old[rows])


def steps_per_epoch(rows: int, batch: int) -> int:
    """Steps of an epoch that visits every row once in batches of nearly equal size, `batch` at most."""
    return max(1, -(-rows // batch))


def epoch_plan(rows: int, batch: int, seed: int, epoch: int, rank: int = 0, world: int = 1) -> list[Codes]:
    """The rows of every step of one epoch, for one of `world` processes that share each batch.

    Depends on the arguments alone, so that a resumed epoch reads what the interrupted one would have read.
    """
    order = np.random.default_rng([seed, epoch]).permutation(rows)
    return [part[rank::world] for part in np.array_split(order, steps_per_epoch(rows, batch))]


def epoch_seed(seed: int, epoch: int) -> int:
    """The seed of an epoch's augmentation and dropout."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
