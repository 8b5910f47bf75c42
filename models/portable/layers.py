"""The parts that a transformation is a sum of: affine map, network and kernel; and rows as an index holds them."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .card import Distance

Array = NDArray[np.float32]
"""Vectors or weights in single precision."""

_SMALLEST_SQUARE, _LARGEST_SQUARE = 1e-30, 1e37  # between them, float32 squares and adds without loss

TOLERANCE = 1e-4  # of float32 weights: relative deviation under which columns count as orthogonal, a bias as absent


@dataclasses.dataclass(frozen=True)
class Lengths:
    """An approximation of the length of Wp + b by terms that an index over p can rank by; slope: (d_old,) float32.

    For an l2 target, ‖Wp + b‖² ≈ scale·‖p‖² + 2·slope·p + intercept with scale > 0. For a cosine target, ‖Wp + b‖ ≈
    slope·p + intercept, `scale` is its mean, and `level` the cosine of a typical query and its answers.
    """

    slope: Array
    scale: float
    intercept: float
    level: float


@dataclasses.dataclass(frozen=True)
class Affine:
    """y = W·p + V·s + b; weight (d_new, d_old), side_weight (d_new, d_side) or None, bias (d_new,), all float32.

    lengths: what `push` needs beyond W and b where pushing is not exact; None where unknown.
    """

    weight: Array
    bias: Array
    side_weight: Array | None = None
    lengths: Lengths | None = None

    @cached_property
    def squared_column_norm(self) -> float:
        """The mean squared norm of the columns of W, above 0; worked out once, since every pushed query asks."""
        norms = np.square(self.weight, dtype=np.float64).sum(axis=0)
        return float(norms.mean()) or float(np.finfo(np.float32).tiny)

    @cached_property
    def has_orthogonal_columns(self) -> bool:
        """Whether WᵀW = c·I within `TOLERANCE`; worked out once, as it takes as long as pushing many queries."""
        if self.weight.shape[0] < self.weight.shape[1]:
            return False  # and WᵀW may be far larger than W
        gram = self.weight.T.astype(np.float64) @ self.weight
        return bool(np.abs(gram / self.squared_column_norm - np.eye(len(gram))).max() <= TOLERANCE)

    def __call__(self, inputs: Array, side: Array | None) -> Array:
        """(n, d_old), (n, d_side) → (n, d_new) float32."""
        outputs: Array = inputs @ self.weight.T
        if self.side_weight is not None and side is not None:
            outputs += side @ self.side_weight.T
        outputs += self.bias
        return outputs


@dataclasses.dataclass(frozen=True)
class Dense:
    """One layer, W·x + b, normalisation folded in; weight (d_out, d_in), bias (d_out,), float32."""

    weight: Array
    bias: Array


@dataclasses.dataclass(frozen=True)
class Network:
    """Two branches and a trunk of dense layers, ReLU after every layer but the trunk's last.

    The old branch reads p; the side branch reads s, or p where there is no side-information. A branch without layers
    returns its input. The trunk reads the outputs of both branches, concatenated.
    """

    old: tuple[Dense, ...]
    side: tuple[Dense, ...]
    trunk: tuple[Dense, ...]

    def __call__(self, inputs: Array, side: Array | None) -> Array:
        """(n, d_old), (n, d_side) → (n, d_new) float32."""
        branches = [_rectified(inputs, self.old)]
        if side is not None or self.side:
            branches.append(_rectified(inputs if side is None else side, self.side))
        *hidden, last = self.trunk
        outputs: Array = _rectified(np.concatenate(branches, axis=1), tuple(hidden)) @ last.weight.T
        outputs += last.bias
        return outputs


@dataclasses.dataclass(frozen=True)
class Kernel:
    """y = Σⱼ exp(−‖z − centreⱼ‖²)·coefficientⱼ, z = [scales₀·p ; scales₁·s]: Gaussian kernels around m centres.

    centres (m, d_old + d_side), coefficients (m, d_new), scales (2,), the inverse bandwidths of p and s, all float32.
    """

    centres: Array
    coefficients: Array
    scales: Array

    @cached_property
    def _about_middle(self) -> tuple[Array, Array]:
        """The mean of the centres (d,), and the centres less it: far from 0, squares would drown the distances."""
        middle = self.centres.mean(axis=0, dtype=np.float64).astype(np.float32)
        return middle, self.centres - middle

    def __call__(self, inputs: Array, side: Array | None) -> Array:
        """(n, d_old), (n, d_side) → (n, d_new) float32."""
        rows = inputs * self.scales[0]
        if side is not None:
            rows = np.concatenate([rows, side * self.scales[1]], axis=1)
        middle, centres = self._about_middle
        outputs: Array = gaussian(rows - middle, centres) @ self.coefficients
        return outputs


def gaussian(rows: NDArray[Any], centres: NDArray[Any]) -> NDArray[Any]:
    """exp(−‖row − centre‖²); (n, d), (m, d) → (n, m), of the inputs' dtype."""
    exponents: NDArray[Any] = rows @ centres.T
    exponents *= 2
    exponents -= np.einsum("ij,ij->i", rows, rows)[:, None]
    exponents -= np.einsum("ij,ij->i", centres, centres)
    np.minimum(exponents, 0, out=exponents)
    np.exp(exponents, out=exponents)
    return exponents


def as_indexed(embeddings: Array, metric: Distance) -> Array:
    """Rows as an index of this metric holds them: a copy of unit rows for cosine (zero rows stay zero), else the input.

    embeddings: (n, d) float32.
    """
    if metric != "cosine":
        return embeddings
    lengths = row_lengths(embeddings)
    without = ~(lengths > 0)
    lengths[without] = 1
    unit: Array = embeddings / lengths[:, None]  # twice as fast as to divide under a mask
    if without.any():
        unit[without] = 0
    return unit


def row_lengths(rows: Array) -> Array:
    """The length of every row: (n, d) float32 → (n,) float32, also where its square is beyond float32."""
    squares = squared_norms(rows)
    lengths = np.sqrt(squares)
    beyond = np.flatnonzero(~((squares > _SMALLEST_SQUARE) & (squares < _LARGEST_SQUARE)))
    if len(beyond):
        lengths[beyond] = np.sqrt(np.square(rows[beyond], dtype=np.float64).sum(axis=1))
    return lengths


def squared_norms(rows: Array) -> Array:
    """The squared length of every row: (n, d) float32 → (n,) float32."""
    return np.asarray(np.einsum("ij,ij->i", rows, rows), np.float32)


def checked(values: Array, dimension: int, name: str) -> Array:
    """`values` as (n, dimension) float32; raises ValueError that calls them `name` where the shape is another."""
    matrix = np.asarray(values, np.float32)
    if matrix.ndim != 2 or matrix.shape[1] != dimension:
        raise ValueError(f"{name} must have shape (n, {dimension}), not {matrix.shape}")
    return matrix


def _rectified(inputs: Array, layers: tuple[Dense, ...]) -> Array:
    for layer in layers:
        inputs = inputs @ layer.weight.T
        inputs += layer.bias
        np.maximum(inputs, 0, out=inputs)
    return inputs
