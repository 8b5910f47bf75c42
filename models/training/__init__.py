"""Training of a network, independent of its task: epochs, schedule, precision, checkpoints, early stopping."""

from models.training.settings import LoopSettings, Precision, ScheduleName
from models.training.trainer import Epoch, NotTrainable, Trainer, diverged
from models.training.work import ALONE, ProcessGroup, TrainingWork

__all__ = [
    "ALONE",
    "Epoch",
    "LoopSettings",
    "NotTrainable",
    "Precision",
    "ProcessGroup",
    "ScheduleName",
    "Trainer",
    "TrainingWork",
    "diverged",
]
