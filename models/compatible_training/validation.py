"""How good the model in training is on rows held out: the cross test that stops early, and the self test beside it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.functional import normalize

from models.compatible_training.data import LabelledInputs
from models.evaluation.retrieval_metrics import cmc, ranks_of_first_match
from models.inputs import Loader
from models.portable import Array, Distance


@dataclass(frozen=True)
class Validation:
    """CMC@1 on held-out rows as queries and gallery, own entry excluded: new queries against old vectors, and new."""

    cross: float
    self: float


def embed(
    embedder: nn.Module, loader: Loader, rows: int, batch: int, device: torch.device, dtype: torch.dtype | None
) -> Array:
    """Features of every row in order, (rows, d) float32, as the embedder gives them; it is left in evaluation mode."""
    embedder.eval()
    plan = np.array_split(np.arange(rows), max(1, -(-rows // batch)))
    parts = []
    with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype is not None):
        for found in loader.batches(plan, augment=False, seed=0):
            tensors = {name: tensor.to(device, non_blocking=True) for name, tensor in found.tensors.items()}
            parts.append(embedder(tensors).float().cpu().numpy())
    return np.concatenate(parts)


def validate(features: Array, held_out: LabelledInputs, metric: Distance) -> Validation:
    """features: (n, d_new) float32 of the held-out rows; the old gallery is compared with the first d_old of them."""
    own = np.arange(len(held_out))
    indexed = normalize(torch.from_numpy(features)).numpy() if metric == "cosine" else features
    inherited = np.ascontiguousarray(indexed[:, : held_out.old.shape[1]])

    def first(queries: Array, gallery: Array) -> float:
        ranks = ranks_of_first_match(queries, held_out.codes, gallery, held_out.codes, metric, own)
        return float(cmc(ranks, 1).mean())

    return Validation(cross=first(inherited, held_out.old), self=first(indexed, indexed))
