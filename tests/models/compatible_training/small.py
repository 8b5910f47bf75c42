"""A small model trained on pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.compatible_training import LabelledInputs, Trained, TrainingSettings, train_compatible, with_signed_features
from models.inputs import Preprocessing
from models.portable import Architecture, Distance, Space
from tests.pictures import CLASSES

SMALL = Architecture.from_json(
    {
        "type": "resnet",
        "stem": "small",
        "config": {"embedding_size": 8, "hidden_sizes": [8, 8, 16, 24], "depths": [1, 1, 1, 1], "layer_type": "basic"},
    }
)


def trained(training: LabelledInputs, folder: Path, held_out: LabelledInputs | None = None, **given: Any) -> Trained:
    """A small model trained on the CPU, unless another device is given; `given` go to the settings, but for those of
    `train_compatible`."""
    own: dict[str, Any] = {
        "architecture": with_signed_features(SMALL, training.old),
        "dimension": 24,
        "device": torch.device("cpu"),
        "processes": None,
        "progress": lambda done, total: None,
    }
    own |= {name: given.pop(name) for name in list(given) if name in own}
    settings: dict[str, Any] = {
        "epochs": 3,
        "batch": 32,
        "schedule": "one_cycle",
        "workers": 0,
        "precision": "float32",
        **given,
    }
    metric: Distance = settings.pop("metric", "l2")
    preprocessing = settings.pop("preprocessing", Preprocessing.images(8))
    return train_compatible(
        training,
        training.take(np.empty(0, np.int64)) if held_out is None else held_out,
        classes=CLASSES,
        old=Space("old", training.old.shape[1], metric),
        preprocessing=preprocessing,
        settings=TrainingSettings(**settings),
        folder=folder,
        **own,
    )


def _unheard(done: int, total: int) -> None:
    """Progress that nobody follows."""
