"""Fitted crossings on disk, opened for the gateway and the workers alike."""

from dataclasses import dataclass

import numpy as np

from app.artifacts.cached import read_once
from app.artifacts.folder import CrossingFiles
from models.portable import Array, Space, Transformation, Uncertainty, load_transformation, load_uncertainty

_KEPT_OPEN = 64


@dataclass(frozen=True)
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

    def apply(self, embeddings: Array, side: Array | None, has_side: np.ndarray) -> Array:
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

    def expected_error(self, embeddings: Array, side: Array | None, has_side: np.ndarray, transformed: Array) -> Array:
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


@read_once(_KEPT_OPEN)
def open_crossing(files: CrossingFiles, source: Space, target: Space) -> Crossing:
    """The crossing in these files, which never change, so one read serves the process.

    Raises CorruptArtifact where a checksum is wrong and WrongDirection where the spaces are others.
    """
    known = files.uncertainty.exists()
    return Crossing(
        chosen=load_transformation(files.chosen, source=source, target=target),
        plain=load_transformation(files.plain, source=source, target=target),
        uncertainty=load_uncertainty(files.uncertainty, source=source, target=target) if known else None,
    )
