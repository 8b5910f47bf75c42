"""Random-walk refinement of class means: rows that resemble the others of their class weigh more.

Source: "Non-Inherent Feature Compatible Learning" (ICLR 2021 submission), in row form. With features as rows X (m, d),
cosine similarities S, A = row-softmax(S / T) without the diagonal and λ the damping, X∞ = (1 − λ)(I − λA)⁻¹X. (With the
paper's layout, the row-stochastic matrix on the other side, the mean of the columns is the plain mean.) The mean of
X∞'s rows is Σ πᵢxᵢ with π = λAᵀπ + (1 − λ)/m, a personalised PageRank, found by power iteration without an inverse.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from models.arrays import Codes, RowNumbers
from models.portable import Array

DAMPING, TEMPERATURE = 0.9, 0.1

DENSE_ROWS = 4_096
"""The random walk of a class with more rows is on the graph of each row's `GRAPH_NEIGHBOURS` most similar rows."""
GRAPH_NEIGHBOURS = 64

_TOLERANCE = 1e-6  # of π, summed over its rows
_CHECKED_EVERY = 6
_IN_CACHE, _AT_ONCE = 500_000, 16_000_000  # similarities, or coordinates, of a batch: on a CPU they stay in its cache
_SINGLE = 0.95  # up to this damping, what single precision rounds off stays under the tolerance
_WARM = 1 / 64  # the exponential of a cosine over this, or over more, summed over a class, does not overflow
_WASTE = 1.3  # a batch's padded size over that of its smallest class
_NO_DIRECTION = 1e-6  # a mean this short beside the rows it is made of is rounding

_ClassBatch = tuple[RowNumbers, NDArray[np.int64]]
"""The rows of b classes, (b, m), a class of fewer padded with its first row; and how many rows each has, (b,)."""

Step = Callable[[Tensor], Tensor]
"""One step of the walk, π → Aᵀπ, for every class of a batch: (b, 1, m) → (b, 1, m)."""


@dataclass(frozen=True)
class RefinedClasses:
    """Refined means. columns: (C, d) float32, unit or zero; weights: π of every row within its class, (n,) float32,
    summing to 1 in each class, 0 for rows of no class."""

    columns: Array
    weights: Array


def refine_classes(
    features: ArrayLike,
    codes: Codes,
    classes: int,
    *,
    damping: float = DAMPING,
    temperature: float = TEMPERATURE,
    device: torch.device | None = None,
) -> RefinedClasses:
    """Refines the mean of every class, several classes at a time.

    features: (n, d), any float type; codes: (n,) classes from 0, -1 for none. A zero row has similarity 0 to all. The
    walk of a class of more than `DENSE_ROWS` rows is on its nearest-neighbour graph, which bounds memory. Raises
    ValueError where a feature is not finite in float32, damping is outside [0, 1) or temperature is not positive.
    """
    rows = np.ascontiguousarray(features, np.float32)
    if not 0 <= damping < 1:
        raise ValueError(f"damping must be at least 0 and under 1, not {damping}")
    if not (temperature > 0 and np.isfinite(temperature)):
        raise ValueError(f"temperature must be above 0, not {temperature}")
    where = device or torch.device("cpu")
    weights = np.zeros(len(rows), np.float32)
    columns = np.zeros((classes, rows.shape[1]), np.float32)

    def refine_batch(batch: _ClassBatch) -> None:
        members, counts = batch
        x = torch.from_numpy(rows[members]).to(where)
        lengths = torch.linalg.vector_norm(x, dim=2)
        if not bool(torch.isfinite(lengths).all()):
            raise ValueError("features must be finite")
        present = torch.arange(x.shape[1], device=where) < torch.from_numpy(counts).to(where)[:, None]
        stationary = _walk(x, lengths, present, damping, temperature)
        own = present.cpu().numpy()
        weights[members[own]] = stationary.cpu().numpy()[own]
        columns[codes[members[:, 0]]] = _directions(x, lengths, stationary).cpu().numpy()

    on_cpu = where.type == "cpu"
    _spread(refine_batch, list(_batches(codes, classes, rows.shape[1], _IN_CACHE if on_cpu else _AT_ONCE)), on_cpu)
    return RefinedClasses(columns, weights)


def _spread(work: Callable[[_ClassBatch], None], batches: list[_ClassBatch], on_cpu: bool) -> None:
    """Calls `work` on every batch; on a CPU, batches of small classes run in parallel, one per thread, since threads
    that share the products of a small batch mostly wait for each other."""
    threads = torch.get_num_threads()
    small = [batch for batch in batches if on_cpu and batch[0].shape[1] <= DENSE_ROWS]
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            deque(pool.map(work, small), maxlen=0)
    finally:
        torch.set_num_threads(threads)
    for batch in batches[len(small) :]:
        work(batch)


def _batches(codes: Codes, classes: int, dimension: int, at_once: int) -> Iterator[_ClassBatch]:
    """Batches of classes of nearly equal size, the smallest classes first, each of at most `at_once` numbers."""
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
            too_many = size > DENSE_ROWS or (last + 1 - first) * size * max(size, dimension) > at_once
            if too_many or size > _WASTE * counts[by_size[first]]:
                break
            last += 1
        chosen = by_size[first:last]
        own = counts[chosen]
        place = np.arange(own.max())
        yield order[starts[chosen][:, None] + np.where(place < own[:, None], place, 0)], own
        first = last


def _directions(x: Tensor, lengths: Tensor, weights: Tensor) -> Tensor:
    """Weighted means of x (b, m, d) at unit length, (b, d); zeros where the rows cancel out."""
    means = (weights.unsqueeze(1) @ x).squeeze(1)
    length = torch.linalg.vector_norm(means, dim=1)
    directed = length > _NO_DIRECTION * (weights * lengths).sum(1)
    return means * torch.where(directed, 1 / length, 0.0)[:, None]


def _walk(x: Tensor, lengths: Tensor, present: Tensor, damping: float, temperature: float) -> Tensor:
    """π of every class: x (b, m, d), its rows' lengths (b, m), present (b, m) bool, False for padding → (b, m), 0 for
    padding."""
    uniform = present / present.sum(1, keepdim=True)
    if x.shape[1] == 1 or damping == 0:
        return uniform
    unit = x * torch.where(lengths > 0, 1 / lengths, 0.0)[..., None]
    if damping > _SINGLE:
        unit, uniform = unit.double(), uniform.double()
    step = _sparse(unit[0], temperature) if x.shape[1] > DENSE_ROWS else _dense(unit, present, temperature)
    before = start = uniform.unsqueeze(1)
    restart = (1 - damping) * start
    for number in range(1, 2 + int(math.log(_TOLERANCE) / math.log(damping))):
        after = torch.add(restart, step(before), alpha=damping)
        if number % _CHECKED_EVERY == 0 and _error(after, before, damping) < _TOLERANCE:
            break
        before = after
    return (after / after.sum(2, keepdim=True)).squeeze(1).float()


def _error(after: Tensor, before: Tensor, damping: float) -> float:
    """An upper bound of the distance of any class's π from its limit: every step contracts by the damping at least."""
    return float((after - before).abs().sum(2).max()) * damping / (1 - damping)


def _dense(unit: Tensor, present: Tensor, temperature: float) -> Step:
    """The step of small classes, on all their similarities: unit (b, m, d), present (b, m) bool."""
    unit = unit * temperature**-0.5
    walk = unit @ unit.mT
    walk.diagonal(dim1=1, dim2=2).fill_(-torch.inf)
    if not bool(present.all()):
        walk.masked_fill_(~present[:, None, :], -torch.inf)
    walk = walk.exp_() if temperature >= _WARM else torch.softmax(walk, 2)
    share = 1 / walk.sum(2).unsqueeze(1)
    return lambda weights: (weights * share) @ walk


def _sparse(unit: Tensor, temperature: float) -> Step:
    """The step of one large class on the graph that joins each row to its most similar rows; memory holds a block of
    similarities at a time."""
    m = len(unit)
    near = torch.empty(m, GRAPH_NEIGHBOURS, dtype=torch.int64, device=unit.device)
    share = torch.empty(m, GRAPH_NEIGHBOURS, dtype=unit.dtype, device=unit.device)
    block = max(1, _AT_ONCE // m)
    for start in range(0, m, block):
        similar = unit[start : start + block] @ unit.T
        own = torch.arange(len(similar), device=unit.device)
        similar[own, start + own] = -torch.inf
        value, place = similar.topk(GRAPH_NEIGHBOURS, dim=1)
        near[start : start + block], share[start : start + block] = place, torch.softmax(value / temperature, 1)
    target = near.flatten()

    def step(weights: Tensor) -> Tensor:
        flowing = (weights.view(m, 1) * share).flatten()
        return torch.zeros_like(unit[:, 0]).index_add_(0, target, flowing).view(1, 1, m)

    return step
