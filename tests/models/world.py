"""A small world in which every claim about a crossing can be checked: classes with a centre in each of two spaces.

The centres of a class in the two spaces have nothing to do with each other, so a linear crossing carries the classes it
has learned from, and no others: what pairs do not cover is lost.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.portable import Space, Transformation
from models.proof.crossing import Refittable
from models.proof.inputs import PlacedPairs, ProofGallery
from models.transformations.linear import ridge
from models.transformations.pairs import Pairs

DIMENSION = 32
SOURCE, TARGET = Space("old", DIMENSION, "cosine"), Space("new", DIMENSION, "cosine")


@dataclass(frozen=True)
class ProofWorld:
    """Items of `classes` classes, `each` per class, seen by an old and a new model that add their own noise."""

    old_centres: np.ndarray
    new_centres: np.ndarray
    old_noise: float
    new_noise: float

    def items(self, each: int, rng: np.random.Generator, run: int = 1, likeness: float = 0.0) -> Pairs:
        """`each` items per class, class after class; `run` in a row share `likeness` of their noise."""
        label = np.repeat(np.arange(len(self.old_centres)), each)
        sides = []
        for centres, noise in ((self.old_centres, self.old_noise), (self.new_centres, self.new_noise)):
            own, shared = rng.normal(size=(2, len(label), DIMENSION))
            shared = shared[np.arange(len(label)) // run * run]
            sides.append(centres[label] + noise * (np.sqrt(1 - likeness) * own + np.sqrt(likeness) * shared))
        names = np.array([f"class-{i:02d}" for i in label], dtype=object)
        return Pairs(sides[0].astype(np.float32), sides[1].astype(np.float32), None, names)


def world(seed: int, classes: int = 20, old_noise: float = 0.7, new_noise: float = 0.35) -> ProofWorld:
    """Centres of their own stream: a seed used again for the items must not make an item's noise another's centre."""
    rng = np.random.default_rng((seed, 1))
    old, new = rng.normal(size=(2, classes, DIMENSION))
    return ProofWorld(old, new, old_noise, new_noise)


def crossing(pairs: Pairs) -> Refittable[Transformation]:
    def refit(part: Pairs) -> Transformation:
        return ridge(part, SOURCE, TARGET, strength=0.1)

    return Refittable(refit(pairs), refit)


def draw(items: Pairs, share: float, many: int, rng: np.random.Generator) -> PlacedPairs:
    """`many` random pairs of the first `share` of the classes."""
    assert items.label is not None
    names = np.unique(items.label.astype(str))
    seen = names[: round(share * len(names))]
    rows = rng.choice(np.flatnonzero(np.isin(items.label.astype(str), seen)), many, replace=False)
    return PlacedPairs(items.subset(np.sort(rows)), np.sort(rows))


def gallery(items: Pairs, labelled: bool = True) -> ProofGallery:
    return ProofGallery(items.old, None, items.label if labelled else None)
