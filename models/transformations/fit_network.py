"""The training loop of the networks that transform vectors: all pairs on the device, MSE towards the new vectors.

Matrix products are in bfloat16 where the hardware multiplies it (`models.training.precision`), which is three times as
fast on such a CPU and makes no difference to retrieval.
"""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from models.arrays import Codes, Progress, silent
from models.portable import Array, Network
from models.spread import mean_spread
from models.training.precision import reduced_dtype
from models.training.threads import threads_worth_it
from models.transformations.labels import supervised_contrastive
from models.transformations.networks import BranchedNetwork
from models.transformations.pairs import Design

_SEEDING = threading.Lock()
"""Held while weights are drawn: their generator is the process's, and networks are made in several threads."""


@dataclass(frozen=True)
class Schedule:
    """How a network is trained: Adam with cosine decay after a linear warm-up; the defaults are FCT's (arXiv
    2112.02805, §4.2).

    BatchNorm statistics are frozen for the second half of the epochs. Few pairs get smaller batches, so that an epoch
    has at least `min_steps`. Training stops early when the loss on the `held_out` share of the pairs has not improved
    for the share `patience` of the epochs. labels: the weight of `supervised_contrastive` beside the MSE.
    """

    epochs: int = 80
    batch: int = 1024
    learning_rate: float = 5e-4
    weight_decay: float = 2**-15
    warm_up: int = 5
    min_steps: int = 16
    held_out: float = 0.05
    patience: float = 0.25
    labels: float = 0.0


def fit_network(
    build: Callable[[], BranchedNetwork],
    d: Design,
    outputs: Array,
    schedule: Schedule,
    *,
    codes: Codes | None = None,
    base: Array | None = None,
    device: torch.device,
    seed: int = 0,
    progress: Progress = silent,
) -> Network:
    """Trains the network that `build` makes on d.inputs → outputs (n, d_new) float32; returns it with normalisation
    folded into its layers.

    codes: (n,) of the rows' labels, needed where `schedule.labels` is not 0. base: (n, d_new) float32, where the
    outputs are residuals: what they are added to. Deterministic for a seed on one device and thread count. progress:
    counts epochs. Raises ValueError for fewer than 4 rows.
    """
    if len(outputs) < 4:
        raise ValueError(f"a network needs at least 4 pairs, not {len(outputs)}")
    with _SEEDING, torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        network = build().to(device)
    shift, scale = outputs.mean(axis=0, dtype=np.float64).astype(np.float32), mean_spread(outputs)
    labels = _Labels.of(outputs, base, scale, codes, schedule.labels)
    data = _Data.on(device, d, (outputs - shift) / np.float32(scale), labels, schedule.held_out, seed)
    rows = len(outputs) - data.held_out
    products = 6 * sum(p.numel() for p in network.parameters()) * rows / _steps(rows, schedule)
    with threads_worth_it(products):
        _descend(network, data, schedule, seed, progress)
    return network.eval().exported(*d.reading, scale * d.output_unit, shift * np.float32(d.output_unit))


@dataclass(frozen=True)
class _Labels:
    """The data of the loss term of labels.

    codes: (n,); base: (n, d_new), what residual outputs are added to, or None; unit: the factor that brings the
    vectors that are searched to unit variance; weight: of the term.
    """

    codes: Tensor
    base: Tensor | None
    unit: float
    weight: float

    @classmethod
    def of(cls, outputs: Array, base: Array | None, scale: float, codes: Codes | None, weight: float) -> _Labels | None:
        if not weight or codes is None:
            return None
        searched = mean_spread(outputs if base is None else outputs + base)
        added = None if base is None else torch.from_numpy((base - base.mean(axis=0)) / np.float32(searched))
        return cls(torch.from_numpy(codes), added, scale / searched, weight)

    def to(self, device: torch.device, order: Codes) -> _Labels:
        base = None if self.base is None else self.base[order].to(device)
        return replace(self, codes=self.codes[order].to(device), base=base)

    def loss(self, answers: Tensor, outputs: Tensor, rows: Tensor | slice) -> Tensor:
        base = 0 if self.base is None else self.base[rows]
        transformed, targets = answers * self.unit + base, outputs * self.unit + base
        return self.weight * supervised_contrastive(transformed, targets, self.codes[rows])


@dataclass(frozen=True)
class _Data:
    """All rows on the device, shuffled; the last `held_out` of them are for validation. products: the dtype of matrix
    products, None for float32."""

    old: Tensor
    side: Tensor | None
    outputs: Tensor
    labels: _Labels | None
    held_out: int
    products: torch.dtype | None

    @classmethod
    def on(
        cls, device: torch.device, d: Design, outputs: Array, labels: _Labels | None, held_out: float, seed: int
    ) -> _Data:
        order = np.random.default_rng(seed).permutation(len(outputs))
        inputs, targets = (torch.from_numpy(part[order]).to(device) for part in (d.inputs, outputs))
        side = inputs[:, d.old_dimension :].contiguous() if d.inputs.shape[1] > d.old_dimension else None
        count = min(max(1, round(held_out * len(outputs))), 5000)
        old = inputs[:, : d.old_dimension].contiguous()
        shuffled = None if labels is None else labels.to(device, order)
        return cls(old, side, targets, shuffled, count, reduced_dtype("auto", device))

    def loss(self, network: nn.Module, rows: Tensor | slice) -> Tensor:
        side, outputs = None if self.side is None else self.side[rows], self.outputs[rows]
        with torch.autocast(self.old.device.type, self.products, enabled=self.products is not None):
            answers = network(self.old[rows], side)
        loss = nn.functional.mse_loss(answers.float(), outputs)
        return loss if self.labels is None else loss + self.labels.loss(answers.float(), outputs, rows)


def _descend(network: BranchedNetwork, data: _Data, schedule: Schedule, seed: int, progress: Progress) -> None:
    """Trains the network in place; it ends with the weights of the epoch that was best on the held-out rows."""
    rows = len(data.outputs) - data.held_out
    steps = _steps(rows, schedule)
    total, warm = steps * schedule.epochs, steps * min(schedule.warm_up, schedule.epochs // 2)
    optimizer = torch.optim.Adam(
        network.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay, fused=True
    )
    shuffle = torch.Generator(data.old.device).manual_seed(seed)
    validation = [slice(start, start + schedule.batch) for start in range(rows, len(data.outputs), schedule.batch)]
    best, best_state, stale = math.inf, copy.deepcopy(network.state_dict()), 0
    for epoch in range(schedule.epochs):
        _set_mode(network, update_statistics=epoch < schedule.epochs / 2)
        order = torch.randperm(rows, generator=shuffle, device=data.old.device)
        for step, batch in enumerate(order.tensor_split(steps), start=epoch * steps):
            for group in optimizer.param_groups:
                group["lr"] = schedule.learning_rate * _decay(step, warm, total)
            optimizer.zero_grad(set_to_none=True)
            data.loss(network, batch).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        network.eval()
        with torch.no_grad():
            loss = float(np.mean([float(data.loss(network, part)) for part in validation]))
        stale = 0 if loss < best else stale + 1
        if loss < best:
            best, best_state = loss, copy.deepcopy(network.state_dict())
        progress(epoch + 1, schedule.epochs)
        if stale >= max(3, schedule.patience * schedule.epochs):
            break
    network.load_state_dict(best_state)
    progress(schedule.epochs, schedule.epochs)


def _steps(rows: int, schedule: Schedule) -> int:
    """The number of training steps of an epoch."""
    return max(min(schedule.min_steps, rows // 2), math.ceil(rows / schedule.batch), 1)


def _decay(step: int, warm: int, total: int) -> float:
    """The factor of the learning rate: a linear rise over `warm` steps, then a cosine to 0 at `total`."""
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))


def _set_mode(network: nn.Module, *, update_statistics: bool) -> None:
    network.train()
    if not update_statistics:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.eval()
