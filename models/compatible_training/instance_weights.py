"""Instance-level task parameters: one learnable log scale for every training row and loss term.

A reconstruction from the abstract of "Instance-level task parameters: a robust multi-task weighting framework"
(arXiv 2106.06129) and from Data Parameters (Saxena, Tuzel and DeCoste, NeurIPS 2019): the former's text is not public.

    L = mean_i Σ_t m_it·[exp(−s_it)·ℓ_it + s_it] + ½·wd·Σ s²

A row whose loss stays high raises its s and so weighs less: that is how wrong labels show.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

TASKS = 2
CLAMP = math.log(20)
TWICE = math.log(2)
LEAST_WEIGHT = 1e-3  # m·π under which a row is an outlier beyond doubt


@dataclass(frozen=True)
class InstanceWeightSettings:
    """How s moves: momentum SGD with a rate of its own, weight decay in the log domain, `warm_up` epochs at 0.

    The gradient of a row is that of its own terms, not divided by the batch: how far s moves in one visit must not
    depend on how many rows share the batch.
    """

    learning_rate: float = 0.2
    momentum: float = 0.9
    weight_decay: float = 1e-4
    warm_up: int = 1

    def __post_init__(self) -> None:
        if not (self.learning_rate > 0 and 0 <= self.momentum < 1 and self.weight_decay >= 0 and self.warm_up >= 0):
            raise ValueError(f"learning_rate > 0, 0 <= momentum < 1, weight_decay and warm_up >= 0 are needed: {self}")


class RowWeights:
    """s of all rows, (rows, 2) float32, with their momentum; only rows that are visited move."""

    def __init__(self, rows: int, settings: InstanceWeightSettings, device: torch.device) -> None:
        self.settings = settings
        self._values = torch.zeros(rows, TASKS, device=device)
        self._momentum = torch.zeros(rows, TASKS, device=device)

    @property
    def values(self) -> NDArray[np.float32]:
        """s as it stands: (rows, 2) float32."""
        found: NDArray[np.float32] = self._values.numpy(force=True).copy()
        return found

    def totals(self, used: Tensor, rows: Tensor) -> Tensor:
        """exp(−s) added up over the rows of each term, and how many those are: (2, 2) float32, to be added up over the
        processes that share a batch."""
        scale = torch.where(used, torch.exp(-self._values[rows.to(self._values.device)]), 0.0)
        return torch.stack([scale.sum(0), used.sum(0).to(scale.dtype)])

    def weigh(self, losses: Tensor, used: Tensor, rows: Tensor, totals: Tensor | None = None) -> Tensor:
        """What the network minimises: mean_i Σ_t m_it·w_it·ℓ_it with w = exp(−s) over its mean in the batch; a scalar.

        Only how rows compare is left to s: undivided, the rows that are learned already (s ≪ 0) would multiply the
        network's learning rate by up to 20. losses: (b, 2) float32; used: m, (b, 2) bool; rows: (b,) int64; totals: of
        the whole batch, where this is a part of it.
        """
        total, count = self.totals(used, rows) if totals is None else totals
        mean = total.clamp(min=torch.finfo(total.dtype).tiny) / count.clamp(min=1)
        weight = torch.exp(-self._values[rows.to(self._values.device)]) / mean
        return torch.where(used, weight * losses, 0.0).sum(1).mean()

    def gradients(self, losses: Tensor, used: Tensor, rows: Tensor) -> Tensor:
        """∂L/∂s of the rows' own terms, weight decay left to `step`: m_it·(1 − exp(−s_it)·ℓ_it), (b, 2) float32."""
        scale = torch.exp(-self._values[rows.to(self._values.device)])
        return torch.where(used, 1 - scale * losses.detach(), 0.0)

    def step(self, rows: Tensor, gradients: Tensor) -> None:
        """Moves these rows, (b,) without repetition, by their gradients (b, 2)."""
        rows = rows.to(self._values.device)
        values = self._values[rows]
        momentum = self.settings.momentum * self._momentum[rows] + gradients + self.settings.weight_decay * values
        self._momentum[rows] = momentum
        self._values[rows] = (values - self.settings.learning_rate * momentum).clamp_(-CLAMP, CLAMP)

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        return {"values": self._values, "momentum": self._momentum}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Goes on from a checkpoint."""
        self._values.copy_(state["values"])
        self._momentum.copy_(state["momentum"])


@dataclass(frozen=True)
class Suspects:
    """Per row, (n,) float32 each, higher is more so: the label is wrong; the old model is poor there."""

    suspect_label: NDArray[np.float32]
    old_model_poor: NDArray[np.float32]

    @property
    def is_suspect(self) -> NDArray[np.bool_]:
        """(n,) bool: rows that are twice as suspect as the median row."""
        return self.suspect_label > np.median(self.suspect_label) + TWICE

    @property
    def is_poor(self) -> NDArray[np.bool_]:
        """(n,) bool: rows whose compatibility loss, next to their own, stays at twice the median row's."""
        return self.old_model_poor > np.median(self.old_model_poor) + TWICE


def suspects(values: NDArray[np.float32], outlier: NDArray[np.float32] | None = None) -> Suspects:
    """Reads s, (n, 2), own term first: high on both, a suspect label; high on compatibility alone, a poor old model.

    outlier: m·π, (n,), where a random walk weighed the rows. Its logarithm is evidence of the same kind, from before
    training: a row that is unlike its class for the old model is the more suspect (40 % wrong labels on Tiny ImageNet:
    an AUROC of 0.87 together, of 0.74 and 0.86 alone). NaN, a row of no class, is no evidence.
    """
    own, compatibility = values[:, 0], values[:, 1]
    suspicion = np.minimum(own, compatibility)
    if outlier is not None:
        suspicion = suspicion - np.log(np.maximum(np.nan_to_num(outlier, nan=1.0), LEAST_WEIGHT)).astype(np.float32)
    return Suspects(suspect_label=suspicion, old_model_poor=compatibility - own)
