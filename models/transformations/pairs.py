"""What a transformation is learned from: rows embedded by both models, and their preprocessing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.arrays import Floats
from models.portable import Affine, Array, Card, Space, Transformation, as_indexed
from models.spread import total_spread, unit_of

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
    """Pairs as the design matrix of a regression: inputs (n, d_old + d_side) = ([p ; factor·s] − origin) / unit,
    outputs (n, d_new) = new vectors / output_unit, float32.

    The old vectors p and the new ones are as their indexes hold them (unit rows for cosine). origin: (d_old + d_side,)
    float64, near the mean of the inputs; unit, output_unit: powers of two near their spreads. So whoever learns squares
    numbers near 1, whatever the spaces' sizes and however far from 0 they lie; `affine` and the exports of kernels and
    networks make of it what reads vectors as they are.
    """

    inputs: Array
    outputs: Array
    old_dimension: int
    factor: float = 1.0
    unit: float = 1.0
    output_unit: float = 1.0
    origin: Floats | None = None

    def affine(self, weight: NDArray[Any], bias: NDArray[Any]) -> Affine:
        """The affine map of p and s that has weight (d_old + d_side, d_new) on the inputs, and bias (d_new,)."""
        weight = weight.astype(np.float64) * (self.output_unit / self.unit)
        bias = bias * self.output_unit - (0 if self.origin is None else self.origin @ weight)
        old = np.ascontiguousarray(weight[: self.old_dimension].T, np.float32)
        side = np.ascontiguousarray(weight[self.old_dimension :].T * self.factor, np.float32)
        return Affine(old, np.asarray(bias, np.float32), side if side.shape[1] else None)

    @property
    def reading(self) -> tuple[Array, Array]:
        """How the inputs come of vectors: columns and origin, (d_old + d_side,) each, of columns·[p ; s] − origin."""
        columns = np.full(self.inputs.shape[1], 1 / self.unit, np.float32)
        columns[self.old_dimension :] *= np.float32(self.factor)
        return columns, self.moved_origin.astype(np.float32)

    @property
    def moved_origin(self) -> Floats:
        """The origin in the inputs' unit: (d_old + d_side,), what ([p ; factor·s] / unit) exceeds the inputs by."""
        return np.zeros(self.inputs.shape[1]) if self.origin is None else self.origin / self.unit


def design(pairs: Pairs, source: Space, target: Space) -> Design:
    """Preprocesses pairs for learning; raises ValueError where a dimension is not that of its space."""
    for rows, space in ((pairs.old, source), (pairs.new, target)):
        if rows.ndim != 2 or rows.shape[1] != space.dimension:
            raise ValueError(f"vectors of {space} must have shape (n, {space.dimension}), not {rows.shape}")
    inputs = as_indexed(np.asarray(pairs.old, np.float32), source.metric)
    outputs = as_indexed(np.asarray(pairs.new, np.float32), target.metric)
    factor = 1.0
    if pairs.side is not None:
        side = np.asarray(pairs.side, np.float32)
        factor = float(side_factor(inputs, side))
        inputs = np.concatenate([inputs, np.float32(factor) * side], axis=1)
    origin = inputs.mean(axis=0, dtype=np.float64).astype(np.float32)
    unit, output_unit = unit_of(inputs), unit_of(outputs)
    return Design(
        (inputs - origin) / np.float32(unit),
        outputs / np.float32(output_unit),
        source.dimension,
        factor,
        unit,
        output_unit,
        origin.astype(np.float64),
    )


def describe(method: str, pairs: Pairs, source: Space, target: Space, settings: Settings) -> Card:
    """The card of a transformation just learned from these pairs, without measurements."""
    side = None if pairs.side is None else pairs.side.shape[1]
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Card(method, source, target, side, len(pairs), dict(settings), {}, now)


def side_factor(old: Array, side: Array) -> np.float32:
    """The factor that gives side-information (n, d_side) the spread of the old vectors (n, d_old)."""
    return np.float32(total_spread(old) / total_spread(side))


def row_digest(vector: Array) -> bytes:
    """Tells one vector from another, as single-precision numbers: the same for the same vector."""
    return blake2b(np.ascontiguousarray(vector, np.float32).tobytes(), digest_size=16).digest()
