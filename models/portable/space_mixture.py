"""Whether a heap of vectors of one dimension comes from two models, with no sketch of either at hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .space_signature import (
    STRANGER,
    SpaceScale,
    SpaceSignature,
    signature_of_directions,
    unit_rows,
)
from .space_sketch import AnyArray

_FEWEST = 32
_STEPS = 4
_CLEAR_GAP = 1.0


@dataclass(frozen=True)
class SpaceMixture:
    """A heap that holds two spaces. foreign: (n,) bool, the smaller part; majority: the signature of the larger;
    position: the smaller part on the larger's scale, 0 the larger's own and 1 a stranger's."""

    foreign: AnyArray
    majority: SpaceSignature
    position: float


def find_mixture(vectors: AnyArray) -> SpaceMixture | None:
    """Splits non-zero vectors (n, d), in random order, where a smaller part knows nothing of the directions of the
    larger; else None.

    Topics of one model are heaps too, but share its directions: judged by the others, they do not look like a
    stranger's; how near they come is measured on the clusters of the larger part. Each way to begin a split is refined
    by fitting the larger part and assigning rows anew, as k-means does.
    """
    directions = unit_rows(vectors)
    best: SpaceMixture | None = None
    for foreign in _beginnings(directions):
        split = _refined(directions, foreign)
        if split is not None and (best is None or split.foreign.sum() > best.foreign.sum()):
            best = split
    return best


def _refined(directions: AnyArray, foreign: AnyArray) -> SpaceMixture | None:
    for _ in range(_STEPS):
        if not _FEWEST <= foreign.sum() <= len(foreign) // 2:
            return None
        majority = _scale(directions[~foreign])
        if majority.gap < _CLEAR_GAP:
            return None
        assigned = majority.rows(directions) > majority.row_limit
        if (assigned == foreign).all():
            break
        foreign = assigned
    if not _FEWEST <= foreign.sum() <= len(foreign) // 2:
        return None
    position = majority.position(directions[foreign])
    if position < STRANGER:
        return None
    whole = signature_of_directions(directions[~foreign])
    return SpaceMixture(foreign, whole, position) if not whole.blind and position >= whole.limit else None


def _beginnings(directions: AnyArray) -> Iterator[AnyArray]:
    """Guesses at the smaller part: a cluster, of two or of four; the rows that the whole fits worst."""
    from scipy.cluster.vq import kmeans2  # slow to import, and of no use to whoever only applies

    for clusters in (2, 4):
        _, labels = kmeans2(directions, clusters, iter=20, minit="++", seed=0)
        for one in range(clusters):
            if (labels == one).sum() <= len(labels) // 2:
                yield labels == one
    whole = _scale(directions)
    scores = whole.rows(directions)
    for share in (0.5, 0.3, 0.1):
        yield scores > np.quantile(scores, 1 - share)


def _scale(directions: AnyArray) -> SpaceScale:
    held_out = np.arange(len(directions)) % 5 == 0
    return SpaceScale.of(directions[~held_out], directions[held_out])
