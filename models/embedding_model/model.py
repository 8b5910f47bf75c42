"""Embedding raw input with a trained model."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from models.backbones import Embedder
from models.compatible_training.precision import reduced
from models.compatible_training.settings import Precision
from models.embedding_model.card import ModelCard
from models.inputs import Inputs, Loader, Preprocessing
from models.portable import Array, as_indexed

Progress = Callable[[int, int], None]  # (rows done, of all)


@dataclass(frozen=True)
class EmbeddingModel:
    """A model that turns images or texts into vectors."""

    card: ModelCard
    embedder: Embedder
    preprocessing: Preprocessing

    def embed(
        self,
        inputs: Inputs,
        *,
        device: torch.device | None = None,
        batch: int = 256,
        workers: int = 0,
        precision: Precision = "float32",
        progress: Progress = lambda done, total: None,
    ) -> Array:
        """The vectors of encoded images or texts, in order: (n, d) float32, of unit length under cosine.

        workers: processes that prepare batches. Raises BadInput for a row that cannot be prepared.
        """
        if not len(inputs):
            return np.empty((0, self.card.dimension), np.float32)
        with Loader(inputs, self.preprocessing, workers) as loader:
            where = device or torch.device("cpu")
            return as_indexed(
                features(self.embedder, loader, len(inputs), batch, where, precision, progress), self.card.metric
            )


def features(
    embedder: Embedder,
    loader: Loader,
    rows: int,
    batch: int,
    device: torch.device,
    precision: Precision,
    progress: Progress = lambda done, total: None,
) -> Array:
    """The raw features of every row in order, (rows, d) float32; the embedder stays on `device`, in evaluation mode."""
    embedder.to(device).eval()
    dtype = reduced(precision, device)
    plan = np.array_split(np.arange(rows), max(1, math.ceil(rows / batch)))
    found = np.empty((rows, embedder.dimension), np.float32)
    with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype is not None):
        for part in loader.batches(plan, augment=False, seed=0):
            tensors = {name: tensor.to(device, non_blocking=True) for name, tensor in part.tensors.items()}
            found[part.rows] = embedder(tensors).float().cpu().numpy()
            progress(int(part.rows[-1]) + 1, rows)
    return found
