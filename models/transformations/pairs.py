"""What a transformation is learned from: rows embedded by both models, and their preprocessing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.portable import Affine, Array, Card, Space, Transformation, as_indexed
from models.spread import total_spread

Settings = Mapping[str, float | int | str | bool]
"""Hyper-parameters of a method by name."""


@dataclass(frozen=True)
class Pairs:
    """Rows with a vector in both spaces: old (n, d_old), new (n, d_new), side (n, d_side) or None, all float32; and
    label (n,) or None.

    Raises ValueError where the numbers of rows differ or there are none.
    """

    old: Array
    new: Array
    side: Array | None = None
    label: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        counts = {len(part) for part in (self.old, self.new, self.side, self.label) if part is not None}
        if len(counts) != 1 or counts == {0}:
            raise ValueError(f"pairs need equally many rows, at least one, in every part; got {sorted(counts)}")

    def __len__(self) -> int:
        return len(self.old)

    def subset(self, rows: NDArray[np.int64]) -> Pairs:
        """The pairs at the given row numbers, (k,) int64, in that order."""
        side = None if self.side is None else self.side[rows]
        return Pairs(self.old[rows], self.new[rows], side, None if self.label is None else self.label[rows])

    def without_side(self) -> Pairs:
        """The pairs without their side-information."""
        return replace(self, side=None)


Refit = Callable[[Pairs], Transformation]
"""Learns a transformation from other pairs, by a method and settings that are fixed."""


@dataclass(frozen=True)
class Design:
    """Pairs as the design matrix of a regression: inputs (n, d_old + d_side) = [p ; factor·s], outputs (n, d_new),
    float32.

    The old vectors p and the outputs are as their indexes hold them (unit rows for cosine).
    """

    inputs: Array
    outputs: Array
    old_dimension: int
    factor: float

    def affine(self, weight: NDArray[Any], bias: NDArray[Any]) -> Affine:
        """The affine map of p and s that has weight (d_old + d_side, d_new) on the inputs, and bias (d_new,)."""
        old = np.ascontiguousarray(weight[: self.old_dimension].T, np.float32)
        side = np.ascontiguousarray(weight[self.old_dimension :].T * self.factor, np.float32)
        return Affine(old, np.asarray(bias, np.float32), side if side.shape[1] else None)


def design(pairs: Pairs, source: Space, target: Space) -> Design:
    """Preprocesses pairs for learning; raises ValueError where a dimension is not that of its space."""
    for rows, space in ((pairs.old, source), (pairs.new, target)):
        if rows.ndim != 2 or rows.shape[1] != space.dimension:
            raise ValueError(f"vectors of {space} must have shape (n, {space.dimension}), not {rows.shape}")
    old = as_indexed(np.asarray(pairs.old, np.float32), source.metric)
    outputs = as_indexed(np.asarray(pairs.new, np.float32), target.metric)
    if pairs.side is None:
        return Design(old, outputs, source.dimension, 1.0)
    side = np.asarray(pairs.side, np.float32)
    factor = side_factor(old, side)
    return Design(np.concatenate([old, factor * side], axis=1), outputs, source.dimension, float(factor))


def describe(method: str, pairs: Pairs, source: Space, target: Space, settings: Settings) -> Card:
    """The card of a transformation just learned from these pairs, without measurements."""
    side = None if pairs.side is None else pairs.side.shape[1]
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Card(method, source, target, side, len(pairs), dict(settings), {}, now)


def side_factor(old: Array, side: Array) -> np.float32:
    """The factor that gives side-information (n, d_side) the spread of the old vectors (n, d_old)."""
    return np.float32(total_spread(old) / total_spread(side))
