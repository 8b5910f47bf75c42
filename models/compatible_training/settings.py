"""The settings of compatible training; the defaults are the papers' figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from models.compatible_training.instance_weights import InstanceWeightSettings
from models.training.settings import LoopSettings, ScheduleName

CompatibleMethod = Literal["random_walk", "averaged_normalised", "averaged", "trained", "l2", "none"]
COMPATIBLE_METHODS: tuple[CompatibleMethod, ...] = get_args(CompatibleMethod)


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(LoopSettings):
    """How a compatible model is trained.

    The defaults are those of "Non-Inherent Feature Compatible Learning" (ICLR 2021 submission), §4: SGD from 0.1,
    divided by ten every 30 of 90 epochs, weight decay 1e-4, momentum 0.9, batches of 1024, both losses weighted 1.

    method: a pseudo-classifier, or one of the baselines `l2` (regression to φ_old) and `none`. influence_weight: λ_bc.
    damping, temperature: λ and T of the random walk. scale: factor of the cosine in the new classifier's logits.
    patience: of early stopping, which looks at the cross test. instance_weights: None to weigh all rows alike.
    """

    method: CompatibleMethod = "random_walk"
    epochs: int = 90
    batch: int = 1024
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: ScheduleName = "step"
    influence_weight: float = 1.0
    damping: float = 0.9
    temperature: float = 0.1
    scale: float = 16.0
    instance_weights: InstanceWeightSettings | None = None

    @property
    def constrained(self) -> bool:
        """Whether the loss has a term that makes the new model compatible with the old one."""
        return self.method != "none" and self.influence_weight > 0
