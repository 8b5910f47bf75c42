"""The settings that every training has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ScheduleName = Literal["step", "one_cycle", "cosine"]
Precision = Literal["auto", "float32", "mixed"]


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """How long, how fast and how precisely a network is trained.

    batch: rows a step at most. decay_every: epochs between two steps of the schedule `step`, a third of all where None.
    patience: epochs without a better validation after which training ends, the best epoch's weights being kept; None
    trains to the end and keeps the last. workers: processes that prepare batches.
    """

    epochs: int
    batch: int
    learning_rate: float
    weight_decay: float
    schedule: ScheduleName
    decay_every: int | None = None
    warm_up_epochs: float = 0.0
    precision: Precision = "auto"
    seed: int = 0
    patience: int | None = None
    workers: int = 1
