"""Contrastive losses: the two views of a row are to be nearer to each other than to the views of other rows."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from models.embedding_model.backbones import Embedder


class Contrast(nn.Module):
    """The embedder with a projection head for training: raw batch → features (b, d) and projections (b, h), float32.

    The head is a ReLU layer as wide as the features and a linear one (SimCLR, §4.2); without a head the projections are
    the features.
    """

    def __init__(self, embedder: Embedder, head: int | None) -> None:
        super().__init__()
        self.embedder = embedder
        width = embedder.dimension
        layers = [] if head is None else [nn.Linear(width, width), nn.ReLU(), nn.Linear(width, head)]
        self.head = nn.Sequential(*layers)

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        with torch.profiler.record_function("backbone"):
            features = self.embedder(batch)
        return features.float(), self.head(features).float()


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """The normalised, temperature-scaled cross entropy of SimCLR (Chen et al., ICML 2020, eq. 1).

    first, second: (b, h), the two views of each row. The target of a view is its row's other view among all 2b − 1
    others. Returns (b,) float32, the mean of the two losses of a row.
    """
    rows = len(first)
    views = normalize(torch.cat([first, second]))
    logits = (views @ views.T / temperature).fill_diagonal_(-math.inf)
    other = torch.arange(2 * rows, device=views.device).roll(rows)
    return cross_entropy(logits, other, reduction="none").view(2, rows).mean(0)


def info_nce(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """The loss of SimCSE (Gao et al., EMNLP 2021, eq. 4): a row's second view is the target among all b second views.

    first, second: (b, h), the two views of each row. Returns (b,) float32.
    """
    logits = normalize(first) @ normalize(second).T / temperature
    return cross_entropy(logits, torch.arange(len(first), device=first.device), reduction="none")


def alignment(first: Tensor, second: Tensor) -> float:
    """E ‖f(x) − f(x⁺)‖² of unit vectors (Wang and Isola, ICML 2020, §4.1): 0 where views agree.

    first, second: (n, d), the two views of each row.
    """
    return float((normalize(first) - normalize(second)).square().sum(1).mean())


def uniformity(features: Tensor) -> float:
    """log E exp(−2 ‖f(x) − f(y)‖²) over pairs of rows (Wang and Isola, ICML 2020, §4.1): 0 where all vectors are equal,
    towards −4 where they spread over the sphere.

    features: (n ≥ 2, d).
    """
    return float(torch.pdist(normalize(features)).square().mul(-2).logsumexp(0)) - math.log(
        len(features) * (len(features) - 1) / 2
    )
