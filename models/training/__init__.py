"""How a network is trained, whatever it learns: epochs, schedule, precision, checkpoints, early stopping."""

from models.training.plan import Codes
from models.training.settings import LoopSettings, Precision, ScheduleName
from models.training.trainer import Epoch, NotTrainable, Progress, Trainer, diverged
from models.training.work import ALONE, Group, Work

__all__ = [
    "ALONE",
    "Codes",
    "Epoch",
    "Group",
    "LoopSettings",
    "NotTrainable",
    "Precision",
    "Progress",
    "ScheduleName",
    "Trainer",
    "Work",
    "diverged",
]
