"""What is minimised: the two views of a row are to be nearer to each other than to those of the other rows."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from models.embedding_model.backbones import Embedder


class Contrast(nn.Module):
    """The embedder, and a head that is thrown away: raw batch → features (b, d) and what is compared (b, h), float32.

    The head is a layer of the features' width, rectified, and a linear one (SimCLR, §4.2); without one the features are
    compared themselves.
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

    first, second: (b, h) views of the same rows. Every view is to find its row's other one among all 2b − 1 others.
    Returns (b,) float32, the mean of a row's two directions.
    """
    rows = len(first)
    views = normalize(torch.cat([first, second]))
    logits = (views @ views.T / temperature).fill_diagonal_(-math.inf)
    other = torch.arange(2 * rows, device=views.device).roll(rows)
    return cross_entropy(logits, other, reduction="none").view(2, rows).mean(0)


def info_nce(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """The loss of SimCSE (Gao et al., EMNLP 2021, eq. 4): a first view finds its second among all b second ones.

    first, second: (b, h). Returns (b,) float32.
    """
    logits = normalize(first) @ normalize(second).T / temperature
    return cross_entropy(logits, torch.arange(len(first), device=first.device), reduction="none")


def alignment(first: Tensor, second: Tensor) -> float:
    """E ‖f(x) − f(x⁺)‖² of unit vectors (Wang and Isola, ICML 2020, §4.1): near 0 where views agree. (n, d) each."""
    return float((normalize(first) - normalize(second)).square().sum(1).mean())


def uniformity(features: Tensor) -> float:
    """log E exp(−2 ‖f(x) − f(y)‖²) over pairs of rows (ibid.): 0 where all are alike, towards −4 on the whole sphere.

    features: (n ≥ 2, d).
    """
    return float(torch.pdist(normalize(features)).square().mul(-2).logsumexp(0)) - math.log(
        len(features) * (len(features) - 1) / 2
    )
