"""What is minimised: the new classifier's loss, and the influence loss that ties the features to the old space.

Source: "Non-Inherent Feature Compatible Learning" (ICLR 2021 submission), on top of BCT (Shen et
al., CVPR 2020, eq. 3).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from models.compatible_training.pseudo_classifier import PseudoClassifier
from models.embedding_model.backbones import Embedder
from models.portable import Distance


class Student(nn.Module):
    """The embedder with its own classifier: raw batch → features (b, d) and logits (b, classes), both float32.

    Under cosine the classifier compares directions, times `scale`; otherwise it is linear with a bias.
    """

    def __init__(self, embedder: Embedder, classes: int, metric: Distance, scale: float) -> None:
        super().__init__()
        self.embedder = embedder
        self.classifier = nn.Linear(embedder.dimension, classes, bias=metric != "cosine")
        self._scale = scale if metric == "cosine" else None
        nn.init.normal_(self.classifier.weight, std=1 / math.sqrt(embedder.dimension))

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        with torch.profiler.record_function("backbone"):
            features = self.embedder(batch).float()
        with torch.autocast(features.device.type, enabled=False):
            if self._scale is None:
                return features, self.classifier(features)
            return features, self._scale * normalize(features) @ normalize(self.classifier.weight).T


class Influence(nn.Module):
    """The frozen pseudo-classifier on the first d_old coordinates: cross entropy per row, (b,) float32.

    The old vectors are zero-padded, so the remaining coordinates are free. Columns that are not usable never compete,
    and rows of their classes are marked by `used`. Under cosine the ranking does not depend on a query's length, so the
    old side is brought to unit length on its own: it need not carry the whole vector's norm.
    """

    columns: Tensor
    bias: Tensor
    usable: Tensor

    def __init__(self, pseudo: PseudoClassifier, metric: Distance) -> None:
        super().__init__()
        self._directions = metric == "cosine"
        usable = torch.from_numpy(pseudo.usable)
        bias = torch.from_numpy(pseudo.bias).masked_fill(~usable, -math.inf)
        self.register_buffer("columns", pseudo.scale * torch.from_numpy(pseudo.columns))
        self.register_buffer("bias", bias)
        self.register_buffer("usable", usable)

    def forward(self, features: Tensor, codes: Tensor, old: Tensor) -> Tensor:
        inherited = features[:, : self.columns.shape[1]]
        if self._directions:
            inherited = normalize(inherited)
        logits = inherited @ self.columns.T + self.bias
        # A class without a column has no loss; a column of its own choosing keeps the gradient finite.
        target = torch.where(self.usable[codes], codes, logits.argmax(1))
        return cross_entropy(logits, target, reduction="none")

    def used(self, codes: Tensor) -> Tensor:
        """Which rows the influence loss speaks of: (b,) bool."""
        return self.usable[codes]


class Regression(nn.Module):
    """The baseline `l2`: mean squared distance per coordinate to the old vector itself, (b,) float32."""

    def __init__(self, metric: Distance) -> None:
        super().__init__()
        self._directions = metric == "cosine"

    def forward(self, features: Tensor, codes: Tensor, old: Tensor) -> Tensor:
        inherited = features[:, : old.shape[1]]
        if self._directions:
            return (normalize(inherited) - normalize(old)).square().sum(1)
        return (inherited - old).square().mean(1)

    def used(self, codes: Tensor) -> Tensor:
        """Every row has an old vector."""
        return torch.ones_like(codes, dtype=torch.bool)


Tie = Influence | Regression


def row_losses(
    features: Tensor, logits: Tensor, codes: Tensor, old: Tensor, tie: Tie | None, influence_weight: float
) -> tuple[Tensor, Tensor]:
    """Both terms of every row, (b, 2) float32, the second times λ_bc, and where each counts, (b, 2) bool."""
    own = cross_entropy(logits, codes, reduction="none")
    if tie is None:
        nothing = torch.zeros_like(own)
        return torch.stack([own, nothing], 1), torch.stack([torch.ones_like(own), nothing], 1).bool()
    used = tie.used(codes)
    influence = influence_weight * tie(features, codes, old)
    return torch.stack([own, influence], 1), torch.stack([torch.ones_like(used), used], 1)


def mean_loss(losses: Tensor, used: Tensor) -> Tensor:
    """mean_i Σ_t m_it·ℓ_it."""
    return torch.where(used, losses, 0.0).sum(1).mean()
