"""Fitted crossings on disk: an upgrade's artifact folder, opened for the gateway and the workers alike.

artifacts/<upgrade>/chosen         the transformation that was selected
artifacts/<upgrade>/plain          the best one without side-information (also the one pushed into the query)
artifacts/<upgrade>/uncertainty    how far `chosen` is expected to miss, where that was learned
artifacts/<upgrade>/from/<model>   the same three, from a model before the upgrade's own, where that is the better way
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from models.portable import Array, Space, Transformation, Uncertainty, load_transformation, load_uncertainty

CHOSEN = "chosen"
PLAIN = "plain"
UNCERTAINTY = "uncertainty"
_FROM = "from"
_KEPT_OPEN = 64


@dataclass(frozen=True)
class Crossing:
    """One hop between two spaces: the transformation that was chosen, and one for items without side-information.

    `plain` is the best transformation that needs no side-information; the same object where `chosen` needs none. It
    serves the items that lack what `chosen` reads, unless `chosen` has learned something to stand in for it.
    `uncertainty` tells how far `chosen` is expected to miss; None where that was not learned.
    """

    chosen: Transformation
    plain: Transformation
    uncertainty: Uncertainty | None = None

    @property
    def linear(self) -> bool:
        """Whether both are."""
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
        moved = self.plain.apply(embeddings)
        moved[has_side] = self.chosen.apply(embeddings[has_side], side[has_side])
        return moved

    def expected_error(self, embeddings: Array, side: Array | None, has_side: np.ndarray, moved: Array) -> Array:
        """The expected squared distance (n,) float32 of `moved`, what `apply` made, from what the new model would make.

        NaN where it was not learned: for every item, or for those that lack the side-information that `chosen` reads.
        """
        errors = np.full(len(embeddings), np.nan, np.float32)
        if self.uncertainty is None or not len(embeddings):
            return errors
        if self.chosen.card.side_dimension is None:
            return self.uncertainty.expected_error(embeddings, None, moved)
        if side is not None and has_side.any():
            errors[has_side] = self.uncertainty.expected_error(embeddings[has_side], side[has_side], moved[has_side])
        return errors


def shortcuts(folder: Path) -> Path:
    """Where an upgrade keeps the ways from models before its own."""
    return folder / _FROM


def shortcut(folder: Path, model: str) -> Path:
    """Where it keeps that from one of them; nothing is there where the crossings one after the other are kept."""
    return shortcuts(folder) / model


@lru_cache(maxsize=_KEPT_OPEN)
def open_crossing(folder: Path, source: Space, target: Space) -> Crossing:
    """The crossing of an upgrade; artifacts never change, so one read serves the process.

    Raises CorruptArtifact where a checksum is wrong and WrongDirection where the spaces are others.
    """
    known = (folder / UNCERTAINTY).exists()
    return Crossing(
        chosen=load_transformation(folder / CHOSEN, source=source, target=target),
        plain=load_transformation(folder / PLAIN, source=source, target=target),
        uncertainty=load_uncertainty(folder / UNCERTAINTY, source=source, target=target) if known else None,
    )
