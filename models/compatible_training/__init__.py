"""Compatible training: a new model whose queries search the old gallery directly.

The old model is a black box: only its vectors of the training rows are known. A frozen pseudo-classifier made of them
(`pseudo_classifier.py`) pulls the new features into the old space while the new model learns a classifier of its own.
Source: "Non-Inherent Feature Compatible Learning" (ICLR 2021 submission).
"""

from models.compatible_training.data import LabelledInputs
from models.compatible_training.holding_out import Split, hold_out
from models.compatible_training.loop import CompatibleEpoch
from models.compatible_training.settings import METHODS, PSEUDO_METHODS, Method, TrainingSettings
from models.compatible_training.training import Trained, reaching, train
from models.training import NotTrainable

__all__ = [
    "METHODS",
    "PSEUDO_METHODS",
    "CompatibleEpoch",
    "LabelledInputs",
    "Method",
    "NotTrainable",
    "Split",
    "Trained",
    "TrainingSettings",
    "hold_out",
    "reaching",
    "train",
]
