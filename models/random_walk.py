"""Random-walk refinement of class means: rows that resemble the others of their class weigh more.

Source: "Non-Inherent Feature Compatible Learning" (ICLR 2021 submission), in row form. With features as rows X (m, d),
cosine similarities S, A = row-softmax(S / T) without the diagonal and λ the damping, X∞ = (1 − λ)(I − λA)⁻¹X. (With the
paper's layout, the row-stochastic matrix on the other side, the mean of the columns is the plain mean.) The mean of
X∞'s rows is Σ πᵢxᵢ with π = λAᵀπ + (1 − λ)/m, a personalised PageRank: one vector is iterated to, nothing inverted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from models.portable import Array

DAMPING, TEMPERATURE = 0.9, 0.1

DENSE_ROWS = 4_096
"""Classes with more rows are walked on the graph of each row's `NEIGHBOURS` most similar rows."""
NEIGHBOURS = 64

_TOLERANCE = 1e-7  # of π's change in one step, summed
_CHECKED_EVERY = 4
_SIMILARITIES_AT_ONCE = 16_000_000
_WASTE = 1.3  # a batch's padded size over that of its smallest class

Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Refined:
    """One class. column: (d,) float32 of unit length, zeros where no direction is left; weights: π, (m,) float32,
    summing to 1. m·π ≪ 1 marks an outlier."""

    column: Array
    weights: Array


@dataclass(frozen=True)
class RefinedClasses:
    """Many classes. columns: (C, d) float32; weights: (n,) float32, summing to 1 within a class, 0 for rows of none."""

    columns: Array
    weights: Array


def refine(features: ArrayLike, damping: float = DAMPING, temperature: float = TEMPERATURE) -> Refined:
    """Refines one class; features: (m, d), any float type. Raises ValueError for bad numbers or an empty class."""
    rows = np.asarray(features)
    if rows.ndim != 2 or not len(rows):
        raise ValueError(f"features of one class are (m, d) with m at least 1, not {rows.shape}")
    found = refine_classes(rows, np.zeros(len(rows), np.int64), 1, damping=damping, temperature=temperature)
    return Refined(found.columns[0], found.weights)


def refine_classes(
    features: ArrayLike,
    codes: Codes,
    classes: int,
    *,
    damping: float = DAMPING,
    temperature: float = TEMPERATURE,
    device: torch.device | None = None,
) -> RefinedClasses:
    """Refines every class by itself, many at a time.

    features: (n, d), any float type; codes: (n,) classes from 0, -1 for none. A zero row resembles nothing. Raises
    ValueError where a feature is not finite, damping is outside [0, 1) or temperature is not positive.
    """
    rows = np.ascontiguousarray(features, np.float32)
    if not np.isfinite(rows).all():
        raise ValueError("features must be finite")
    if not 0 <= damping < 1:
        raise ValueError(f"damping must be at least 0 and under 1, not {damping}")
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, not {temperature}")
    weights = np.zeros(len(rows), np.float32)
    columns = np.zeros((classes, rows.shape[1]), np.float32)
    for members, counts in _batches(codes, classes):
        x = torch.from_numpy(rows[members]).to(device or torch.device("cpu"))
        there = torch.arange(x.shape[1], device=x.device) < torch.from_numpy(counts).to(x.device)[:, None]
        found = _walk(x, there, damping, temperature)
        means = (found.unsqueeze(1) @ x).squeeze(1)
        placed = there.cpu().numpy()
        weights[members[placed]] = found.cpu().numpy()[placed]
        columns[codes[members[:, 0]]] = torch.nn.functional.normalize(means).cpu().numpy()
    return RefinedClasses(columns, weights)


def _batches(codes: Codes, classes: int) -> Iterator[tuple[Codes, Codes]]:
    """Classes of nearly one size: rows (b, m) int64, padded with the class's first, and how many are its own (b,)."""
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(classes + 1))
    counts = np.diff(starts)
    by_size = np.argsort(counts, kind="stable")
    by_size = by_size[counts[by_size] > 0]
    first = 0
    while first < len(by_size):
        last = first + 1
        while last < len(by_size):
            size = counts[by_size[last]]
            too_many = size > DENSE_ROWS or (last + 1 - first) * size * size > _SIMILARITIES_AT_ONCE
            if too_many or size > _WASTE * counts[by_size[first]] + 1:
                break
            last += 1
        chosen = by_size[first:last]
        own = counts[chosen]
        place = np.arange(own.max())
        yield order[starts[chosen][:, None] + np.where(place < own[:, None], place, 0)], own
        first = last


def _walk(x: Tensor, there: Tensor, damping: float, temperature: float) -> Tensor:
    """π of every class: x (b, m, d), there (b, m) bool → (b, m), zero where nothing is there."""
    count = there.sum(1, keepdim=True)
    uniform = there / count
    if x.shape[1] == 1:
        return uniform
    step = _sparse(x[0], temperature) if x.shape[1] > DENSE_ROWS else _dense(x, there, temperature)
    alone = count == 1
    found = uniform
    for number in range(1, _most_steps(damping) + 1):
        moved = torch.where(alone, uniform, damping * step(found) + (1 - damping) * uniform)
        if number % _CHECKED_EVERY == 0 and float((moved - found).abs().sum(1).max()) < _TOLERANCE:
            return moved / moved.sum(1, keepdim=True)
        found = moved
    return found / found.sum(1, keepdim=True)


def _most_steps(damping: float) -> int:
    """Steps after which the geometric series is spent, whatever the graph."""
    return 1 if damping == 0 else int(np.ceil(np.log(_TOLERANCE) / np.log(damping))) + 1


def _dense(x: Tensor, there: Tensor, temperature: float):  # type: ignore[no-untyped-def]
    unit = torch.nn.functional.normalize(x, dim=2)
    walk = (unit @ unit.mT).div_(temperature)
    walk.diagonal(dim1=1, dim2=2).fill_(-torch.inf)
    if not bool(there.all()):
        walk.masked_fill_(~there[:, None, :], -torch.inf)
    walk = torch.softmax(walk, 2).nan_to_num_(0.0)
    if not bool(there.all()):
        walk *= there[:, :, None]
    return lambda weights: (weights.unsqueeze(1) @ walk).squeeze(1)


def _sparse(x: Tensor, temperature: float):  # type: ignore[no-untyped-def]
    """One large class, each row joined to its most similar rows."""
    unit = torch.nn.functional.normalize(x)
    m = len(x)
    near = torch.empty(m, NEIGHBOURS, dtype=torch.int64, device=x.device)
    share = torch.empty(m, NEIGHBOURS, device=x.device)
    block = max(1, _SIMILARITIES_AT_ONCE // m)
    for start in range(0, m, block):
        similar = unit[start : start + block] @ unit.T
        own = torch.arange(len(similar), device=x.device)
        similar[own, start + own] = -torch.inf
        value, place = similar.topk(NEIGHBOURS, dim=1)
        near[start : start + block], share[start : start + block] = place, torch.softmax(value / temperature, 1)
    target = near.flatten()

    def step(weights: Tensor) -> Tensor:
        flowing = (weights[0, :, None] * share).flatten()
        return torch.zeros(m, device=x.device).index_add_(0, target, flowing)[None]

    return step
