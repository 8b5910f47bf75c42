"""Made-up worlds in which what an upgrade should do is known: items of classes, seen by models of different keenness.

Every model sees a linear image of the same latent vector, plus noise of its own. A keener model has less noise, so a
crossing towards it wins, and one towards a duller model loses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

OLD, NEW, NEWEST, SIDE = 12, 16, 20, 6
"""Dimensions of the vectors of three models, each keener than the one before, and of side-information."""

_LATENT, _SPREAD = 10, 0.45
_NOISE = {"old": 0.75, "new": 0.15, "newest": 0.05, "dull": 2.0, "side": 0.5}


@dataclass(frozen=True)
class Items:
    """n items as every model sees them; vectors: (n, d) float32. `dull` is of a model worse than the old one."""

    id: list[str]
    label: list[str]
    old: Floats
    new: Floats
    newest: Floats
    dull: Floats
    side: Floats

    def __len__(self) -> int:
        return len(self.id)

    def take(self, rows: NDArray[np.int64] | slice) -> Items:
        places = np.arange(len(self))[rows]
        return Items(
            [self.id[place] for place in places],
            [self.label[place] for place in places],
            *(vectors[places] for vectors in (self.old, self.new, self.newest, self.dull, self.side)),
        )

    def of_classes(self, labels: set[str]) -> Items:
        return self.take(np.flatnonzero([label in labels for label in self.label]))


@dataclass(frozen=True)
class World:
    """A gallery, and queries of the same classes that are not in it."""

    gallery: Items
    queries: Items

    def pairs(self, many: int, seed: int = 0) -> Items:
        """Items of the gallery drawn at random."""
        return self.gallery.take(np.random.default_rng(seed).permutation(len(self.gallery))[:many])


def world(
    items: int = 600,
    queries: int = 150,
    classes: int = 12,
    seed: int = 0,
    dimension: int = OLD,
    *,
    unrelated: bool = False,
) -> World:
    """`dimension` is that of the old model: a larger one makes work that lasts.

    unrelated: where a class lies for the old model says nothing of where it lies for the others, so that a crossing
    carries the classes that it has learned from and no more.
    """
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, _LATENT))
    elsewhere = rng.normal(size=centres.shape) if unrelated else centres
    views = {
        name: rng.normal(size=(_LATENT, width)) / np.sqrt(_LATENT)
        for name, width in (("old", dimension), ("new", NEW), ("newest", NEWEST), ("dull", NEW), ("side", SIDE))
    }

    def draw(many: int, prefix: str) -> Items:
        label = rng.permutation(np.arange(many) % classes)
        own = _SPREAD * rng.normal(size=(many, _LATENT))
        seen = {
            name: (
                ((centres if name in ("old", "side") else elsewhere)[label] + own) @ view
                + _NOISE[name] * rng.normal(size=(many, view.shape[1]))
            ).astype(np.float32)
            for name, view in views.items()
        }
        names = [f"{prefix}-{number:05d}" for number in range(many)]
        return Items(names, [f"class-{one:02d}" for one in label], **seen)

    return World(draw(items, "item"), draw(queries, "query"))
