"""The settings that all trainings have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ScheduleName = Literal["step", "one_cycle", "cosine"]
Precision = Literal["auto", "float32", "mixed"]


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """How long, how fast and how precisely a network is trained.

    batch: the most rows of a training step. decay_every: epochs between two decays of the schedule "step"; None is a
    third of all epochs. patience: epochs without a better validation after which training stops and the best epoch's
    weights are kept; None trains to the end and keeps the last. workers: processes that prepare batches.
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
