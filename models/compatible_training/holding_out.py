"""Which rows are kept from training, to stop it early and to prove what it gave."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.arrays import Codes

_ROWS_TO_SHARE = 3  # a class with fewer rows is trained on with all of them


@dataclass(frozen=True)
class Split:
    """training, held_out: rows, ascending int64; unseen: (classes,) bool, classes of which no row is trained on."""

    training: Codes
    held_out: Codes
    unseen: NDArray[np.bool_]


def hold_out(codes: Codes, classes: int, share: float, seed: int, *, whole_classes: bool) -> Split:
    """Keeps back a `share` of the rows of every class, and, where asked, all rows of as large a share of the classes.

    codes: (n,) int64 classes from 0. Whole classes are kept back where the gallery holds classes without training rows:
    how the model does on those can be judged on nothing else. At least two classes are left to train on. Deterministic.
    """
    rng = np.random.default_rng(seed)
    unseen = np.zeros(classes, bool)
    if whole_classes:
        many = min(max(2, round(share * classes)), max(0, classes - 2))
        unseen[rng.permutation(classes)[:many]] = True
    order = rng.permutation(len(codes))
    order = order[np.argsort(codes[order], kind="stable")]
    size = np.bincount(codes, minlength=classes)
    kept = np.where(size >= _ROWS_TO_SHARE, np.maximum(1, np.round(share * size)), 0)
    kept = np.where(unseen, size, kept)
    place = np.arange(len(codes)) - np.repeat(np.cumsum(size) - size, size)
    held = np.zeros(len(codes), bool)
    held[order] = place < np.repeat(kept, size)
    return Split(np.flatnonzero(~held), np.flatnonzero(held), unseen)
