"""Whether a heap of vectors that are stamped with one model holds another's, and which they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from models.portable import (
    ADVANTAGE,
    AT_HOME,
    SpaceSignature,
    find_mixture,
    signature_of_directions,
    spread_out,
    unit_rows,
)

_HOME_ROW = 0.5
_FEWEST_OWN = 200
_FEWEST_CLAIMED = 4
_CHANCE = 1e-4
_ROUNDS = 3


@dataclass(frozen=True)
class ForeignRows:
    """How to tell the foreign rows of a heap. own: what the sound rows look like; claimant: the model that the others
    look like, and its signature, or None; position: of the foreign rows on the scale of the sound ones."""

    own: SpaceSignature
    claimant: tuple[str, SpaceSignature] | None
    position: float

    def among(self, vectors: np.ndarray) -> np.ndarray:
        """Which of (n, d) are another model's: (n,) bool."""
        positions = self.own.row_positions(vectors)
        if self.claimant is None:
            return positions > self.own.scale.row_limit
        homes = self.claimant[1].row_positions(vectors)
        return np.asarray((positions - homes >= ADVANTAGE) & (homes <= _HOME_ROW))


def find_foreign(
    vectors: np.ndarray, known: SpaceSignature | None, others: Mapping[str, SpaceSignature]
) -> ForeignRows | None:
    """What is foreign in vectors (n, d), other than zero and in random order; None where nothing seems to be.

    known: the signature of the model that they are stamped with; others: those of the other models of the dimension. A
    model that is known claims its rows one by one; rows of a model that nobody knows are found as a heap by themselves.
    """
    if known is not None:
        whole = known.position_of(unit_rows(spread_out(vectors, 512)), others)
        if whole.foreign:
            claimant = None if whole.likely is None else (whole.likely, others[whole.likely])
            return ForeignRows(known, claimant, whole.position)
    for name, other in others.items():
        if (claimed := _claimed(vectors, name, other)) is not None:
            return claimed
    mixture = find_mixture(vectors)
    return None if mixture is None else ForeignRows(mixture.majority, None, mixture.position)


def _claimed(vectors: np.ndarray, name: str, other: SpaceSignature) -> ForeignRows | None:
    """The rows that a known model claims, where they are more than chance makes it claim."""
    from scipy.stats import binomtest  # slow to import: not before it is asked for

    claimed = other.row_positions(vectors) <= _HOME_ROW
    for _ in range(_ROUNDS):
        if claimed.sum() < _FEWEST_CLAIMED or (~claimed).sum() < _FEWEST_OWN:
            return None
        own = signature_of_directions(unit_rows(vectors[~claimed]))
        foreign = ForeignRows(own, (name, other), 1.0)
        claimed = foreign.among(vectors)
    if not own.strange_to(other) or claimed.sum() < _FEWEST_CLAIMED:
        return None
    by_chance = max(float(foreign.among(own.known).mean()), 1 / len(own.known))
    chance = binomtest(int(claimed.sum()), len(vectors), min(by_chance, 1.0), alternative="greater").pvalue
    # Rows with too little to say, which every model half claims, are no other model's.
    home = other.scale.position(unit_rows(vectors[claimed]))
    if chance > _CHANCE or home > AT_HOME:
        return None
    return ForeignRows(own, (name, other), own.scale.position(unit_rows(vectors[claimed])))
