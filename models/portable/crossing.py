"""A crossing: the transformations that lead from one space to another together, with and without side-information."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from .layers import Array
from .transformation import Transformation
from .uncertainty import Uncertainty


@dataclasses.dataclass(frozen=True)
class Crossing:
    """What leads from one space to another: the chosen transformation, and one for items without side-information.

    `plain` is the best transformation that needs no side-information; the same object where `chosen` needs none. It
    serves the items that lack what `chosen` reads, unless `chosen` has learned something to stand in for it.
    `uncertainty` tells how far `chosen` is expected to miss; None where that was not learned.
    """

    chosen: Transformation
    plain: Transformation
    uncertainty: Uncertainty | None = None

    @property
    def linear(self) -> bool:
        """Whether `chosen` and `plain` are both linear, so that either can be pushed into the query."""
        return self.chosen.linear and self.plain.linear

    def apply(self, embeddings: Array, side: Array | None, has_side: NDArray[np.bool_]) -> Array:
        """`embeddings` (n, d_old) float32, `side` (n, d_side) with `has_side` (n,) bool → (n, d_new) float32."""
        reads = self.chosen.card.side_dimension
        if reads is None:
            return self.chosen.apply(embeddings)
        if self.chosen.stand_in is not None:
            beside = np.zeros((len(embeddings), reads), np.float32) if side is None else side
            return self.chosen.apply(embeddings, beside, has_side)
        if side is None or not has_side.any():
            return self.plain.apply(embeddings)
        if has_side.all():
            return self.chosen.apply(embeddings, side)
        transformed = self.plain.apply(embeddings)
        transformed[has_side] = self.chosen.apply(embeddings[has_side], side[has_side])
        return transformed

    def expected_error(
        self, embeddings: Array, side: Array | None, has_side: NDArray[np.bool_], transformed: Array
    ) -> Array:
        """The expected squared distance (n,) float32 of `transformed`, which `apply` made, from the new model's.

        NaN where it was not learned: for every item, or for those that lack the side-information that `chosen` reads.
        """
        errors = np.full(len(embeddings), np.nan, np.float32)
        if self.uncertainty is None or not len(embeddings):
            return errors
        if self.chosen.card.side_dimension is None:
            return self.uncertainty.expected_error(embeddings, None, transformed)
        if side is not None and has_side.any():
            errors[has_side] = self.uncertainty.expected_error(
                embeddings[has_side], side[has_side], transformed[has_side]
            )
        return errors
