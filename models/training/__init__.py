"""How a network is trained, whatever it learns: epochs, schedule, precision, checkpoints, early stopping."""

from models.training.settings import LoopSettings, Precision, ScheduleName
from models.training.trainer import Epoch, NotTrainable, Trainer, diverged
from models.training.work import ALONE, Group, Work

__all__ = [
    "ALONE",
    "Epoch",
    "Group",
    "LoopSettings",
    "NotTrainable",
    "Precision",
    "ScheduleName",
    "Trainer",
    "Work",
    "diverged",
]
