"""Trained models as small as they go, with weights that no training gave them."""

from collections.abc import Iterator
from typing import Any

import torch

from models.embedding_model import EmbeddingModel, ModelCard, TrainedOn
from models.embedding_model.backbones import build
from models.inputs import Preprocessing, learn_tokenizer
from models.portable import Architecture, Distance, Space
from tests.models.embedding_model.small_backbones import SETTINGS
from tests.models.inputs.images import files

SIDE, DIMENSION = 16, 6
TEXTS = ["a cat", "a dog sat on a mat", "the cat", "dogs", "on the mat", "cats sat", "sat", "mats and cats and dogs"]
IMAGES = files(8, SIDE)


def model(family: str = "resnet", metric: Distance = "cosine", seed: int = 0) -> EmbeddingModel:
    """Of a family's smallest architecture, projected to `DIMENSION`; its batch statistics are not the initial ones."""
    sized: dict[str, Any] = {"image_size": SIDE} if "image_size" in SETTINGS[family] else {}
    architecture = Architecture.from_json({"type": family, "config": SETTINGS[family] | sized})
    images = architecture.modality == "image"
    how = Preprocessing.images(SIDE) if images else Preprocessing.texts(learn_tokenizer(TEXTS, 50), tokens=8)
    torch.manual_seed(seed)
    embedder = build(architecture, DIMENSION)
    with torch.no_grad():
        for name, statistic in _statistics(embedder):
            statistic.uniform_(0.5, 2.0) if name.endswith("var") else statistic.normal_()
    card = ModelCard(
        id="new",
        dimension=DIMENSION,
        metric=metric,
        compatible_with=Space("old", 5, metric),
        architecture=architecture.to_json(),
        preprocessing=how.to_json(),
        method="random_walk",
        settings={"epochs": 3, "decay": None},
        trained_on=TrainedOn("photos", 4, 120, 7, "0" * 64),
        metrics={"validation_cross_cmc@1": 0.5},
        created_at="2026-01-01T00:00:00Z",
    )
    return EmbeddingModel(card, embedder.eval(), how)


def inputs(of: EmbeddingModel) -> list[bytes] | list[str]:
    """Eight rows that the model can embed."""
    return IMAGES if of.preprocessing.modality == "image" else TEXTS


def _statistics(embedder: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    return ((name, each) for name, each in embedder.named_buffers() if name.endswith(("running_mean", "running_var")))
