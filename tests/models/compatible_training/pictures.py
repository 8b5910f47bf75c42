"""Small pictures of digits, and a dim old model of them: what compatible training is tried on."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits

from models.compatible_training import Rows, Trained, TrainingSettings, train
from models.inputs import Preprocessing
from models.portable import Architecture, Metric, Space

CLASSES, OLD = 10, 16

SMALL = Architecture.from_json(
    {
        "type": "resnet",
        "stem": "small",
        "config": {"embedding_size": 8, "hidden_sizes": [8, 8, 16, 24], "depths": [1, 1, 1, 1], "layer_type": "basic"},
    }
)


def digits(many: int, *, noise: float = 0.4, start: int = 0) -> Rows:
    """Digits as PNG, and old vectors that are the class's direction under noise."""
    data = load_digits()
    codes = data.target.astype(np.int64)
    centres = np.random.default_rng(1).normal(size=(CLASSES, OLD))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    rng = np.random.default_rng(2)
    old = (3 * (centres[codes] + noise * rng.normal(size=(len(codes), OLD)))).astype(np.float32)
    chosen = rng.permutation(len(codes))[start : start + many]
    return Rows([_png(data.images[row]) for row in chosen], codes[chosen], old[chosen])


def trained(training: Rows, folder: Path, held_out: Rows | None = None, **given: Any) -> Trained:
    """A small model trained on the CPU in one thread; `given` go to the settings, but for those of `train`."""
    own: dict[str, Any] = {
        "architecture": SMALL,
        "dimension": 24,
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
    metric: Metric = settings.pop("metric", "l2")
    preprocessing = settings.pop("preprocessing", Preprocessing.images(8))
    return train(
        training,
        training.take(np.empty(0, np.int64)) if held_out is None else held_out,
        classes=CLASSES,
        old=Space("old", training.old.shape[1], metric),
        preprocessing=preprocessing,
        settings=TrainingSettings(**settings),
        device=torch.device("cpu"),
        folder=folder,
        **own,
    )


def _unheard(done: int, total: int) -> None:
    """Progress that nobody follows."""


def _png(picture: Any) -> bytes:
    content = io.BytesIO()
    Image.fromarray((picture * 15.9).astype(np.uint8)).save(content, "PNG")
    return content.getvalue()
