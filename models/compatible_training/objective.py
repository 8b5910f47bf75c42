"""The losses of compatible training: the new classifier's, and one that keeps the features in the old space.

Source: "Non-Inherent Feature Compatible Learning" (ICLR 2021 submission), on top of BCT
(Shen et al., CVPR 2020, eq. 3).
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
    """The embedder with a new classifier: raw batch → features (b, d) and logits (b, classes), both float32.

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
    """The influence loss: cross entropy of the frozen pseudo-classifier on the first d_old coordinates, (b,) float32.

    The old vectors are zero-padded, so the remaining coordinates are free. Unusable columns get no probability, and
    `used` is False for rows of their classes. Under cosine a query's length does not change the ranking, so the first
    d_old coordinates are normalised by themselves: they need not carry the whole vector's norm.
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
        # A row of a class without a column is masked out later; any usable target keeps its gradient finite.
        target = torch.where(self.usable[codes], codes, logits.argmax(1))
        return cross_entropy(logits, target, reduction="none")

    def used(self, codes: Tensor) -> Tensor:
        """(b,) bool: the rows whose class has a usable column; the influence loss of the others is to be ignored."""
        return self.usable[codes]


class Regression(nn.Module):
    """The baseline `l2`: each row's squared distance to its old vector, (b,) float32; between unit vectors
    under cosine, otherwise averaged over the coordinates."""

    def __init__(self, metric: Distance) -> None:
        super().__init__()
        self._directions = metric == "cosine"

    def forward(self, features: Tensor, codes: Tensor, old: Tensor) -> Tensor:
        inherited = features[:, : old.shape[1]]
        if self._directions:
            return (normalize(inherited) - normalize(old)).square().sum(1)
        return (inherited - old).square().mean(1)

    def used(self, codes: Tensor) -> Tensor:
        """(b,) bool, all True: every row has an old vector."""
        return torch.ones_like(codes, dtype=torch.bool)


Tie = Influence | Regression


def row_losses(
    features: Tensor, logits: Tensor, codes: Tensor, old: Tensor, tie: Tie | None, influence_weight: float
) -> tuple[Tensor, Tensor]:
    """Every row's classification loss and, times λ_bc, compatibility loss: (b, 2) float32; and m, (b, 2) bool, False
    for a loss that does not count."""
    own = cross_entropy(logits, codes, reduction="none")
    if tie is None:
        nothing = torch.zeros_like(own)
        return torch.stack([own, nothing], 1), torch.stack([torch.ones_like(own), nothing], 1).bool()
    used = tie.used(codes)
    influence = influence_weight * tie(features, codes, old)
    return torch.stack([own, influence], 1), torch.stack([torch.ones_like(used), used], 1)


def mean_loss(losses: Tensor, used: Tensor) -> Tensor:
    """The unweighted loss, mean_i Σ_t m_it·ℓ_it, of losses ℓ (b, 2) and used m (b, 2) bool."""
    return torch.where(used, losses, 0.0).sum(1).mean()
