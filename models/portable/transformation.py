"""A fitted transformation, applied to old vectors or to new queries with numpy alone."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from .card import Card
from .errors import NotPushable
from .layers import Affine, Array, Dense, Kernel, Network, as_indexed, checked
from .pushing import PushedQueries, push
from .strict_json import shown

CHUNK = 8192  # rows per matrix product: large enough for full speed, small enough for the caches


@dataclasses.dataclass(frozen=True)
class Transformation:
    """h: old space → new space, the sum of an affine map, a network and a kernel, at least one of which is present.

    Each reads p, the old vector, normalised where the source is cosine, and s, the side-information, if the card names
    one. stand_in predicts s from p for rows that lack it; None where nothing was learned for them.
    """

    card: Card
    affine: Affine | None
    network: Network | None = None
    kernel: Kernel | None = None
    stand_in: Affine | None = None

    def __post_init__(self) -> None:
        _check_shapes(self)

    @property
    def linear(self) -> bool:
        """Whether h is affine in the old vector and the side-information."""
        return self.network is None and self.kernel is None

    @property
    def pushable(self) -> bool:
        """Whether `push` is possible: h is affine and reads no side-information."""
        return self.linear and self.card.side_dimension is None

    def apply(
        self, embeddings: Array, side_information: Array | None = None, has_side: NDArray[np.bool_] | None = None
    ) -> Array:
        """Transforms old vectors into the new space, as an index of it holds them.

        embeddings: (n, d_old) float32, side_information: (n, d_side) float32 → (n, d_new) float32, unit rows where the
        target is cosine (zero rows stay zero). has_side: (n,) bool, the rows whose side-information is known; None for
        all. Inputs are not modified. Raises ValueError where a dimension is wrong, where side-information is given but
        not expected, or where it is missing and `stand_in` is None.
        """
        rows = checked(embeddings, self.card.source.dimension, f"old vectors of {self.card.source}")
        side = self._side(side_information, len(rows))
        lacking = np.zeros(len(rows), bool) if has_side is None or side is None else ~has_side
        if lacking.any() and self.stand_in is None:
            raise ValueError(f"{lacking.sum()} rows lack side-information, and nothing was learned to stand in for it")
        outputs = np.empty((len(rows), self.card.target.dimension), np.float32)
        for start in range(0, len(rows), CHUNK):
            part = slice(start, start + CHUNK)
            inputs = as_indexed(rows[part], self.card.source.metric)
            beside = None if side is None else side[part]
            if beside is not None and self.stand_in is not None and lacking[part].any():
                beside = np.where(lacking[part, None], self.stand_in(inputs, None), beside)
            terms = [piece(inputs, beside) for piece in (self.affine, self.network, self.kernel) if piece is not None]
            outputs[part] = as_indexed(sum(terms[1:], start=terms[0]), self.card.target.metric)
        return outputs

    def push(self, queries: Array) -> PushedQueries:
        """Turns queries of the new space, (m, d_new) float32, into queries that an index of the old vectors answers.

        Raises NotPushable unless h is `pushable`, ValueError for a wrong dimension.
        """
        if not self.linear:
            raise NotPushable(f"{self.card.method} is not linear: only the transformed gallery can answer")
        if self.card.side_dimension is not None or self.affine is None:
            raise NotPushable("the transformation reads side-information, which the old index does not hold")
        rows = checked(queries, self.card.target.dimension, f"queries of {self.card.target}")
        return push(self.affine, self.card.source.metric, self.card.target.metric, rows)

    def _side(self, side: Array | None, rows: int) -> Array | None:
        expected = self.card.side_dimension
        if expected is None:
            if side is not None:
                raise ValueError("side-information is not expected: the transformation was learned without it")
            return None
        if side is None:
            raise ValueError(f"side-information of dimension {expected} is missing")
        beside = checked(side, expected, "side-information")
        if len(beside) != rows:
            raise ValueError(f"{len(beside)} rows of side-information for {rows} old vectors")
        return beside


def _check_shapes(h: Transformation) -> None:
    """Raises ValueError unless all arrays are finite float32 and their shapes fit the card and each other."""
    old, new, beside = h.card.source.dimension, h.card.target.dimension, h.card.side_dimension
    if h.affine is None and h.linear:
        raise ValueError("a transformation needs an affine part, a network or a kernel")
    if h.affine is not None:
        _check(h.affine.weight, (new, old))
        _check(h.affine.bias, (new,))
        if h.affine.lengths is not None:
            _check(h.affine.lengths.slope, (old,))
            scalars = (h.affine.lengths.scale, h.affine.lengths.intercept, h.affine.lengths.level)
            if not h.affine.lengths.scale > 0 or not np.isfinite(scalars).all():
                raise ValueError("the scalars of lengths are finite, and the scale is positive")
        if h.affine.side_weight is not None:
            if beside is None:
                raise ValueError("weights for side-information, and a card without it")
            _check(h.affine.side_weight, (new, beside))
        elif h.linear and beside is not None:
            raise ValueError("no weights for the side-information that the card names")
    if h.network is not None:
        width = _check_layers(h.network.old, old)
        if beside is not None or h.network.side:
            width += _check_layers(h.network.side, old if beside is None else beside)
        if not h.network.trunk or _check_layers(h.network.trunk, width) != new:
            raise ValueError(f"the trunk must end in {new} dimensions")
    if h.stand_in is not None:
        if beside is None:
            raise ValueError("something stands in for side-information that the card does not name")
        _check(h.stand_in.weight, (beside, old))
        _check(h.stand_in.bias, (beside,))
    if h.kernel is not None:
        centres = len(h.kernel.centres)
        _check(h.kernel.centres, (centres, old + (beside or 0)))
        _check(h.kernel.coefficients, (centres, new))
        _check(h.kernel.scales, (2,))


def _check_layers(layers: tuple[Dense, ...], width: int) -> int:
    for layer in layers:
        _check(layer.weight, (len(layer.bias), width))
        _check(layer.bias, (len(layer.bias),))
        width = len(layer.bias)
    return width


def _check(array: Array, shape: tuple[int, ...]) -> None:
    if array.shape != shape or array.dtype != np.float32:
        raise ValueError(f"weights are {shown(array.shape)} {array.dtype}, not {shown(shape)} float32")
    if not array.size:  # whose shape may name dimensions that nothing in a file vouches for
        raise ValueError(f"weights are {shown(array.shape)}, which holds none")
    if not np.isfinite(array).all():
        raise ValueError("weights are not finite")
