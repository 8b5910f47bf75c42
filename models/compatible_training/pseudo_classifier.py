"""Pseudo-classifiers: one column per class, made of old vectors alone, in the place of the old model's classifier.

Source: "Non-Inherent Feature Compatible Learning" (ICLR 2021 submission), §3. `trained`: a linear softmax fitted on
φ_old features; `averaged`: the class mean; `averaged_normalised`: the class mean at unit length; `random_walk`: the
class mean refined by a random walk (`models.compatible_training.random_walk`), at unit length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.arrays import Codes
from models.compatible_training.random_walk import DAMPING, TEMPERATURE, refine_classes
from models.portable import Array, Distance, as_indexed
from models.spread import mean_spread

PseudoMethod = Literal["trained", "averaged", "averaged_normalised", "random_walk"]
PSEUDO_METHODS: tuple[PseudoMethod, ...] = get_args(PseudoMethod)

_EPOCHS, _STEPS_AT_LEAST, _BATCH, _RATE, _DECAY = 30, 1500, 1024, 1e-2, 1e-5
_CALIBRATED_ON = 10_000
_SCALES = np.geomspace(1, 64, 49, dtype=np.float32)


@dataclass(frozen=True)
class PseudoClassifier:
    """logits = scale·φ·columnsᵀ + bias. columns: (C, d_old) float32; bias: (C,) float32.

    scale: under cosine, the one that calibrates the classifier on the old vectors; 1 otherwise and for `trained`.
    usable: (C,) bool, False for a class without rows or whose mean is zero. outlier: m·π of every row, (n,) float32, ≪
    1 for an outlier of its class, NaN for a row of no class; None where no random walk weighs the rows.
    """

    method: PseudoMethod
    columns: Array
    bias: Array
    usable: NDArray[np.bool_]
    outlier: Array | None = None
    scale: float = 1.0


def build_pseudo_classifier(
    method: PseudoMethod,
    features: Array,
    codes: Codes,
    classes: int,
    metric: Distance,
    *,
    damping: float = DAMPING,
    temperature: float = TEMPERATURE,
    device: torch.device | None = None,
    seed: int = 0,
) -> PseudoClassifier:
    """Makes a pseudo-classifier from old features (n, d_old) float32 and codes (n,) int64, -1 for no class.

    Under cosine, features are normalised first. Deterministic for a seed. Raises ValueError where a feature is not
    finite, or no row has a class.
    """
    rows = as_indexed(np.ascontiguousarray(features, np.float32), metric)
    if not np.isfinite(rows).all():
        raise ValueError("features must be finite")
    counts = np.bincount(codes[codes >= 0], minlength=classes)
    if not counts.any():
        raise ValueError("no row has a class")
    bias, outlier = np.zeros(classes, np.float32), None
    match method:
        case "trained":
            columns, bias = _fitted(rows, codes, classes, device, seed)
            columns[counts == 0] = 0
        case "averaged":
            columns = _means(rows, codes, counts)
        case "averaged_normalised":
            columns = as_indexed(_means(rows, codes, counts), "cosine")
        case "random_walk":
            refined = refine_classes(rows, codes, classes, damping=damping, temperature=temperature, device=device)
            columns = refined.columns
            outlier = np.where(codes >= 0, refined.weights * counts[codes], np.nan).astype(np.float32)
    usable = (counts > 0) & (np.linalg.norm(columns, axis=1) > 0)
    scale = _calibrated(rows, codes, columns, usable, seed) if metric == "cosine" and method != "trained" else 1.0
    return PseudoClassifier(method, columns, bias, usable, outlier, scale)


def _means(rows: Array, codes: Codes, counts: NDArray[np.int64]) -> Array:
    """The mean of every class's rows, (C, d) float32, zeros for a class without rows; counts: (C,) rows of each."""
    order = np.argsort(codes, kind="stable")
    order = order[codes[order] >= 0]
    sums = np.zeros((len(counts), rows.shape[1]))
    filled = np.flatnonzero(counts)
    if len(filled):
        starts = np.cumsum(counts[filled]) - counts[filled]
        sums[filled] = np.add.reduceat(rows[order].astype(np.float64), starts, axis=0)
    return np.asarray(sums / np.maximum(counts, 1)[:, None], np.float32)


def _fitted(rows: Array, codes: Codes, classes: int, device: torch.device | None, seed: int) -> tuple[Array, Array]:
    """Multinomial logistic regression by Adam with cosine decay, on standardised rows, the standardisation folded into
    the weights: (C, d) and (C,) float32."""
    known = np.flatnonzero(codes >= 0)
    spread = mean_spread(rows[known])
    centre = rows[known].mean(0)
    where = device or torch.device("cpu")
    x = torch.from_numpy((rows[known] - centre) / np.float32(spread)).to(where)
    y = torch.from_numpy(codes[known]).to(where)
    weight = torch.zeros(classes, rows.shape[1], device=where, requires_grad=True)
    bias = torch.zeros(classes, device=where, requires_grad=True)
    optimizer = torch.optim.Adam([weight, bias], lr=_RATE, weight_decay=_DECAY, fused=True)
    shuffle = torch.Generator(where).manual_seed(seed)
    steps = max(1, -(-len(x) // _BATCH))
    epochs = max(_EPOCHS, -(-_STEPS_AT_LEAST // steps))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps * epochs)
    for _ in range(epochs):
        for batch in torch.randperm(len(x), generator=shuffle, device=where).tensor_split(steps):
            loss = nn.functional.cross_entropy(x[batch] @ weight.T + bias, y[batch])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    columns = weight.detach().cpu().numpy() / np.float32(spread)
    offset = bias.detach().cpu().numpy() - columns @ centre
    return np.asarray(columns, np.float32), np.asarray(offset, np.float32)


def _calibrated(rows: Array, codes: Codes, columns: Array, usable: NDArray[np.bool_], seed: int) -> float:
    """The scale of the cosine under which the old vectors' classes have the highest likelihood (temperature scaling,
    Guo et al., ICML 2017), each row being left out of its class's mean.

    A softmax sharper than that would push new vectors past their column, to where no old vector lies.
    """
    known = np.flatnonzero((codes >= 0) & usable[codes])
    if not len(known):
        return 1.0
    drawn = np.sort(np.random.default_rng(seed).permutation(known)[:_CALIBRATED_ON])
    x, y = rows[drawn], codes[drawn]
    counts = np.bincount(codes[codes >= 0], minlength=len(columns))
    without = as_indexed(counts[y, None] * _means(rows, codes, counts)[y] - x, "cosine")
    cosines = np.where(usable, x @ columns.T, -np.inf)
    lengths = np.linalg.norm(columns[y], axis=1)
    cosines[np.arange(len(y)), y] = lengths * np.einsum("ij,ij->i", without, x)
    losses = [_log_loss(scale * cosines, y) for scale in _SCALES]
    return float(_SCALES[int(np.argmin(losses))])


def _log_loss(logits: NDArray[np.float32], codes: Codes) -> float:
    """The mean negative log-likelihood of codes (n,) under softmax of logits (n, C)."""
    highest = logits.max(1)
    total = highest + np.log(np.exp(logits - highest[:, None]).sum(1))
    return float(np.mean(total - logits[np.arange(len(codes)), codes]))
