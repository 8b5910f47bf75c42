"""Splits rows into those to train on and those held out, for early stopping and for measuring the trained model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.arrays import Codes, RowNumbers

_ROWS_TO_SHARE = 3  # a class with fewer rows is trained on with all of them


@dataclass(frozen=True)
class Split:
    """training, held_out: row numbers, ascending; unseen: (classes,) bool, the classes without a training row."""

    training: RowNumbers
    held_out: RowNumbers
    unseen: NDArray[np.bool_]


def hold_out(codes: Codes, classes: int, share: float, seed: int, *, whole_classes: bool) -> Split:
    """Holds out a `share` of the rows of every class and, with `whole_classes`, every row of that share of the classes.

    codes: (n,) int64 classes from 0. Whole classes are held out when the gallery has classes without training rows,
    since nothing else shows how the model does on those. At least two classes remain to train on. Deterministic.
    """
    rng = np.random.default_rng(seed)
    unseen = np.zeros(classes, bool)
    if whole_classes:
        count = min(max(2, round(share * classes)), max(0, classes - 2))
        unseen[rng.permutation(classes)[:count]] = True
    order = rng.permutation(len(codes))
    order = order[np.argsort(codes[order], kind="stable")]
    size = np.bincount(codes, minlength=classes)
    kept = np.where(size >= _ROWS_TO_SHARE, np.maximum(1, np.round(share * size)), 0)
    kept = np.where(unseen, size, kept)
    place = np.arange(len(codes)) - np.repeat(np.cumsum(size) - size, size)
    held = np.zeros(len(codes), bool)
    held[order] = place < np.repeat(kept, size)
    return Split(np.flatnonzero(~held), np.flatnonzero(held), unseen)
