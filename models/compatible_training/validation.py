"""Validation of a compatible model during training: the cross test and the self test on held-out rows."""

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
    """CMC@1 of held-out rows that search each other, a row's own entry excluded.

    cross: new queries against old vectors; self: new queries against new vectors.
    """

    cross: float
    self: float


def embed(
    embedder: nn.Module, loader: Loader, rows: int, batch: int, device: torch.device, dtype: torch.dtype | None
) -> Array:
    """The embedder's features of every row, in order, (rows, d) float32, not normalised; leaves it in evaluation
    mode."""
    embedder.eval()
    plan = np.array_split(np.arange(rows), max(1, -(-rows // batch)))
    parts = []
    with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype is not None):
        for prepared in loader.batches(plan, augment=False, seed=0):
            tensors = {name: tensor.to(device, non_blocking=True) for name, tensor in prepared.tensors.items()}
            parts.append(embedder(tensors).float().cpu().numpy())
    return np.concatenate(parts)


def validate(features: Array, held_out: LabelledInputs, metric: Distance) -> Validation:
    """Measures features (n, d_new) float32 of the held-out rows; the first d_old components are compared with old
    vectors."""
    own = np.arange(len(held_out))
    indexed = normalize(torch.from_numpy(features)).numpy() if metric == "cosine" else features
    inherited = np.ascontiguousarray(indexed[:, : held_out.old.shape[1]])

    def cmc_at_1(queries: Array, gallery: Array) -> float:
        ranks = ranks_of_first_match(queries, held_out.codes, gallery, held_out.codes, metric, own)
        return float(cmc(ranks, 1).mean())

    return Validation(cross=cmc_at_1(inherited, held_out.old), self=cmc_at_1(indexed, indexed))
