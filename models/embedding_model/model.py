"""Embedding raw input with a trained model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from models.arrays import Progress
from models.embedding_model.backbones import Embedder
from models.embedding_model.card import ModelCard
from models.inputs import Inputs, Loader, Preprocessing
from models.portable import Array, as_indexed
from models.training.precision import reduced_dtype
from models.training.settings import Precision


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
        """Embeds encoded images or texts: (n, d) float32, in order, of unit length under cosine.

        workers: processes that prepare batches. Raises BadInput for a row that cannot be prepared.
        """
        vectors, done = np.empty((len(inputs), self.card.dimension), np.float32), 0
        for part in self.stream(inputs, device=device, batch=batch, workers=workers, precision=precision):
            vectors[done : done + len(part)] = part
            done += len(part)
            progress(done, len(inputs))
        return vectors

    def stream(
        self,
        inputs: Inputs,
        *,
        device: torch.device | None = None,
        batch: int = 256,
        workers: int = 0,
        precision: Precision = "float32",
    ) -> Iterator[Array]:
        """Embeds inputs whose vectors do not fit in memory: in order, (≤ batch, d) float32 each, unit rows under
        cosine.

        workers: processes that prepare batches. Raises BadInput for a row that cannot be prepared.
        """
        where = device or torch.device("cpu")
        dtype = reduced_dtype(precision, where)
        embedder = self.embedder.to(where).eval()
        plan = np.split(np.arange(len(inputs)), range(batch, len(inputs), batch)) if len(inputs) else []
        with Loader(inputs, self.preprocessing, workers) as loader:
            for part in loader.batches(plan, augment=False, seed=0):
                tensors = {name: tensor.to(where, non_blocking=True) for name, tensor in part.tensors.items()}
                with torch.inference_mode(), torch.autocast(where.type, dtype, enabled=dtype is not None):
                    features = embedder(tensors).float().cpu().numpy()
                yield as_indexed(features, self.card.metric)
