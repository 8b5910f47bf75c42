"""Small encoders trained on pictures and on texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from models.contrastive_training import ContrastiveSettings, TrainedEncoder, train_contrastive
from models.inputs import Inputs, Preprocessing, learn_tokenizer
from models.portable import Architecture
from tests.models.compatible_training.small import SMALL

BERT: dict[str, Any] = {
    "hidden_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 128,
    "max_position_embeddings": 16,
}


def trained(inputs: Inputs, folder: Path, **given: Any) -> TrainedEncoder:
    """A small encoder trained on the CPU, unless another device is given; `given` go to the settings, but for those of
    `train_contrastive`."""
    own: dict[str, Any] = {
        "dimension": 24,
        "device": torch.device("cpu"),
        "progress": lambda done, total: None,
    }
    if isinstance(inputs[0], str):
        own["architecture"] = Architecture.from_json({"type": "bert", "config": BERT})
        own["preprocessing"] = Preprocessing.texts(learn_tokenizer(inputs, 128), 8)  # type: ignore[arg-type]
        defaults: dict[str, Any] = {"epochs": 3, "batch": 16}
    else:
        own["architecture"], own["preprocessing"] = SMALL, Preprocessing.images(8)
        defaults = {
            "epochs": 3,
            "batch": 64,
            "learning_rate": 2e-3,
            "mirrored": False,
            "least_area": 0.4,
            "greyed": 0.0,
        }
    own |= {name: given.pop(name) for name in list(given) if name in own}
    settings = ContrastiveSettings.for_modality(
        own["preprocessing"].modality, **({"workers": 0, "precision": "float32"} | defaults | given)
    )
    return train_contrastive(inputs, settings=settings, folder=folder, **own)
