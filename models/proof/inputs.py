"""What a proof is given: the gallery, pairs and where they stand in it, and how much may be measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.arrays import Codes, Known
from models.portable import Array
from models.transformations.pairs import Pairs


@dataclass(frozen=True)
class ProofGallery:
    """What is searched: old (N, d_old) float32 in the order of writing, side (N, d_side) float32 or None, label (N,) or
    None, strings or integers, None for a row without one. has_side: (N,) bool, the rows whose side-information is their
    own and not a guess; None for all.
    """

    old: Array
    side: Array | None = None
    label: NDArray[Any] | None = None
    has_side: Known = None

    def __len__(self) -> int:
        return len(self.old)

    def subset(self, rows: Codes) -> ProofGallery:
        """These rows, in this order; rows: (k,) int64."""
        side = None if self.side is None else self.side[rows]
        label = None if self.label is None else self.label[rows]
        return ProofGallery(self.old[rows], side, label, None if self.has_side is None else self.has_side[rows])


COSTLY_FOLDS = 4


class NothingToJudge(ValueError):
    """There is too little to judge anything by; the text says of what."""


@dataclass(frozen=True)
class PlacedPairs:
    """Pairs and where they stand: row (n,) int64 gallery rows, -1 for an item that is not in the gallery.

    weight: (n,) the share of the gallery that each stands for where pairs were chosen and not drawn at random
    (`models.re_embedding.sampling`), NaN for a pair that was not chosen so; None where none was.
    has_side: (n,) bool, the pairs whose side-information is their own and not a guess; None for all.
    """

    pairs: Pairs
    row: Codes
    weight: NDArray[np.float64] | None = None
    has_side: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class ProofLimits:
    """Gallery rows searched, pairs used as queries, and folds over rows and over whole cells, all at most."""

    gallery: int = 100_000
    queries: int = 10_000
    row_folds: int = 20
    cell_folds: int = 20

    @classmethod
    def of(cls, gallery: int, *, linear: bool) -> ProofLimits:
        """Fewer folds where each is a network, or a kernel, to be learned again."""
        return cls(gallery) if linear else cls(gallery, row_folds=COSTLY_FOLDS, cell_folds=COSTLY_FOLDS)
