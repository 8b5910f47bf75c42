"""Every setting of compatible training, with the papers' figures as defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from models.instance_weights import InstanceWeightSettings
from models.pseudo_classifier import PseudoMethod

Method = Literal["random_walk", "averaged_normalised", "averaged", "trained", "l2", "none"]
METHODS: tuple[Method, ...] = get_args(Method)
PSEUDO_METHODS: tuple[PseudoMethod, ...] = get_args(PseudoMethod)

ScheduleName = Literal["step", "one_cycle", "cosine"]
Precision = Literal["auto", "float32", "mixed"]


@dataclass(frozen=True)
class TrainingSettings:
    """How a compatible model is trained.

    The defaults are those of "Non-Inherent Feature Compatible Learning" (ICLR 2021 submission), §4: SGD from 0.1,
    divided by ten every 30 of 90 epochs, weight decay 1e-4, momentum 0.9, batches of 1024, both losses alike.

    method: a pseudo-classifier, or one of the baselines `l2` (regression to φ_old) and `none`. influence_weight: λ_bc.
    damping, temperature: λ and T of the random walk. scale: of the new classifier's cosine. decay_every: epochs between
    two steps of the schedule `step`, a third of all where None. patience: epochs without a better validation cross test
    after which training ends, the best epoch's weights being kept; None trains to the end and keeps the last. workers:
    processes that prepare batches.
    """

    method: Method = "random_walk"
    epochs: int = 90
    batch: int = 1024
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: ScheduleName = "step"
    decay_every: int | None = None
    warm_up_epochs: float = 0.0
    influence_weight: float = 1.0
    damping: float = 0.9
    temperature: float = 0.1
    scale: float = 16.0
    instance_weights: InstanceWeightSettings | None = None
    precision: Precision = "auto"
    seed: int = 0
    patience: int | None = None
    workers: int = 1

    @property
    def constrained(self) -> bool:
        """Whether anything ties the new model to the old one."""
        return self.method != "none" and self.influence_weight > 0
