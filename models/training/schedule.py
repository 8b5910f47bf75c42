"""Learning-rate schedules, as a pure function of the step, so that checkpoints need no schedule state."""

from __future__ import annotations

import math

from models.training.settings import LoopSettings

_RISING = 0.3  # share of the steps in which the one-cycle rate rises
_START = 1 / 25  # its first rate, as a share of the highest
_DECAY = 0.1  # factor of the rate at each step of the schedule "step"


def learning_rate(settings: LoopSettings, step: int, steps_per_epoch: int) -> float:
    """The learning rate of a step, numbered from 0 at the beginning of training."""
    total = settings.epochs * steps_per_epoch
    return settings.learning_rate * min(_warmth(settings, step, steps_per_epoch), _shape(settings, step, total))


def _warmth(settings: LoopSettings, step: int, steps_per_epoch: int) -> float:
    warm = settings.warm_up_epochs * steps_per_epoch
    return (step + 1) / warm if step < warm else 1.0


def _shape(settings: LoopSettings, step: int, total: int) -> float:
    match settings.schedule:
        case "step":
            every = settings.decay_every or max(1, settings.epochs // 3)
            return float(_DECAY ** (step * settings.epochs // total // every))
        case "cosine":
            return _cosine(step / total)
        case "one_cycle":  # Smith and Topin, "Super-Convergence" (2019)
            rising = _RISING * total
            if step < rising:
                return _START + (1 - _START) * (1 - _cosine(step / rising))
            return _cosine((step - rising) / (total - rising))


def _cosine(share: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * share))
