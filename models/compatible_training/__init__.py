"""Compatible training: a new model whose queries search the old gallery directly.

The old model is a black box: only its vectors of the training rows are known. A frozen pseudo-classifier made of them
(`pseudo_classifier.py`) pulls the new features into the old space while the new model learns a classifier of its own.
Source: "Non-Inherent Feature Compatible Learning" (ICLR 2021 submission).
"""

from models.compatible_training.data import LabelledInputs
from models.compatible_training.holding_out import Split, hold_out
from models.compatible_training.loop import CompatibleEpoch
from models.compatible_training.pseudo_classifier import PSEUDO_METHODS
from models.compatible_training.settings import COMPATIBLE_METHODS, CompatibleMethod, TrainingSettings
from models.compatible_training.training import Trained, train_compatible, with_signed_features
from models.training import NotTrainable

__all__ = [
    "COMPATIBLE_METHODS",
    "PSEUDO_METHODS",
    "CompatibleEpoch",
    "CompatibleMethod",
    "LabelledInputs",
    "NotTrainable",
    "Split",
    "Trained",
    "TrainingSettings",
    "hold_out",
    "train_compatible",
    "with_signed_features",
]
