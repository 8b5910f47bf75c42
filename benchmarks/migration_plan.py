"""The migrations of the table, with what is wrong with their pairs or labels, and how the service is shown them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from benchmarks.crossing import Task
from benchmarks.migration_worlds import FITTED_TO_THE_GALLERY, world_named
from models.proof.inputs import PlacedPairs
from models.re_embedding.sampling import choose
from models.transformations.pairs import Pairs

Trouble = Literal[
    "",
    "a fifth of the classes without pairs",
    "half of the classes without pairs",
    "two fifths of the labels missing",
    "no labels",
    "a fifth of the pairs' labels wrong",
    "a tenth of the pairs with another item's new vector",
]


@dataclass(frozen=True)
class PlannedMigration:
    """A row of the table to be: between which models, from how many pairs, chosen by `sample` or at random."""

    world: str
    old: str
    new: str
    pairs: int
    chosen: bool = False
    side: bool = False
    trouble: Trouble = ""

    @property
    def name(self) -> str:
        """What the row is known by: no two have the same."""
        models = f"{self.old}{' + side' if self.side else ''} → {self.new}"
        drawn = f"{self.pairs} {'chosen' if self.chosen else 'random'}"
        return ", ".join([self.world, models, drawn, *([self.trouble] if self.trouble else [])])

    @property
    def old_is_fitted_to_the_gallery(self) -> bool:
        """Whether the old model has learned from the very items that are searched."""
        return self.old in FITTED_TO_THE_GALLERY

    @property
    def seed(self) -> int:
        """Of the draw: rows draw apart, and adding one changes no other."""
        return crc32(self.name.encode())


@dataclass(frozen=True)
class Posed:
    """A migration as it is put to the service.

    true: with what is so, for the full evaluation; shown: with what the service knows; pairs: what it learns from.
    """

    true: Task
    shown: Task
    pairs: PlacedPairs


def posed(planned: PlannedMigration, data: Path) -> Posed:
    """Draws the pairs from the gallery, and plants the trouble."""
    task = world_named(planned.world, data).task(planned.old, planned.new, side=planned.side)
    rng = np.random.default_rng(planned.seed)
    assert task.gallery.label is not None
    label, trouble = task.gallery.label.copy(), planned.trouble
    if trouble == "two fifths of the labels missing":
        label[rng.random(len(label)) < 0.4] = None
    rows, weight = _drawn(task, planned, rng)
    if trouble in ("a fifth of the classes without pairs", "half of the classes without pairs"):
        classes = rng.permutation(np.unique(task.gallery.label.astype(str)))
        without = classes[: round(len(classes) * (0.2 if "fifth" in trouble else 0.5))]
        kept = ~np.isin(task.gallery.label[rows].astype(str), without)
        rows, weight = rows[kept], None if weight is None else weight[kept]
    pairs = replace(task.gallery, label=label).subset(rows)
    assert pairs.label is not None
    if trouble == "a fifth of the pairs' labels wrong":
        wrong = _some(rng, len(rows), 0.2)
        pairs.label[wrong] = rng.permutation(pairs.label[wrong])
    if trouble == "a tenth of the pairs with another item's new vector":
        wrong = _some(rng, len(rows), 0.1)
        pairs.new[wrong] = np.roll(pairs.new[wrong], 1, axis=0)
    shown = replace(task.gallery, label=label)
    if trouble == "no labels":
        pairs, shown = replace(pairs, label=None), replace(shown, label=None)
    return Posed(task, replace(task, gallery=shown, learn_from=shown), PlacedPairs(pairs, rows, weight))


def _some(rng: np.random.Generator, rows: int, share: float) -> NDArray[np.int64]:
    return rng.permutation(rows)[: round(share * rows)]


def _drawn(
    task: Task, planned: PlannedMigration, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64] | None]:
    """Gallery rows, ascending, and the shares of the gallery that they stand for, None where drawn at random."""
    gallery: Pairs = task.gallery
    if not planned.chosen:
        return np.sort(rng.permutation(len(gallery))[: planned.pairs]), None
    sample = choose([(gallery.old, gallery.side)], planned.pairs, metric=task.source.metric, seed=planned.seed)
    return sample.indices, sample.weights


def _clinc(old: str, new: str, pairs: int, *, chosen: bool = False, trouble: Trouble = "") -> PlannedMigration:
    return PlannedMigration("clinc150", old, new, pairs, chosen, old == "tf-idf", trouble)


PLAN = (
    _clinc("wordllama", "e5", 1000),
    _clinc("wordllama", "e5", 300, chosen=True),
    _clinc("wordllama", "minilm", 1000, chosen=True),
    _clinc("wordllama", "minilm", 4000),
    _clinc("e5", "minilm", 500, chosen=True),
    _clinc("e5", "minilm", 1000),
    _clinc("minilm", "e5", 300),
    _clinc("minilm", "e5", 1000, chosen=True),
    _clinc("e5", "wordllama", 500, chosen=True),
    _clinc("e5", "wordllama", 1000),
    _clinc("minilm", "wordllama", 1000),
    _clinc("minilm", "characters", 500, chosen=True),
    _clinc("characters", "e5", 500),
    _clinc("words", "minilm", 500, chosen=True),
    _clinc("tf-idf", "minilm", 300),
    _clinc("tf-idf", "minilm", 1000, chosen=True),
    _clinc("tf-idf", "minilm", 4000),
    _clinc("wordllama", "e5", 1000, trouble="a fifth of the classes without pairs"),
    _clinc("tf-idf", "minilm", 1000, chosen=True, trouble="half of the classes without pairs"),
    _clinc("wordllama", "minilm", 1000, chosen=True, trouble="two fifths of the labels missing"),
    _clinc("wordllama", "minilm", 1000, trouble="a fifth of the pairs' labels wrong"),
    _clinc("minilm", "e5", 1000, trouble="a tenth of the pairs with another item's new vector"),
    _clinc("e5", "minilm", 1000, trouble="no labels"),
    PlannedMigration("banking", "wordllama", "e5", 300, chosen=True),
    PlannedMigration("credit cards", "e5", "minilm", 300),
    PlannedMigration("kitchen and dining", "minilm", "e5", 500, chosen=True),
    PlannedMigration("home", "wordllama", "minilm", 500),
    PlannedMigration("auto and commute", "tf-idf", "minilm", 300, chosen=True),
    PlannedMigration("travel", "minilm", "wordllama", 300),
    PlannedMigration("utility", "e5", "wordllama", 500, chosen=True),
    PlannedMigration("work", "characters", "e5", 300, side=True),
    PlannedMigration("small talk", "words", "wordllama", 500),
    PlannedMigration("meta", "minilm", "e5", 300, chosen=True, trouble="a fifth of the classes without pairs"),
    PlannedMigration("digits", "5 components", "network", 300),
    PlannedMigration("digits", "network of 0 to 4", "pixels", 300, chosen=True),
    PlannedMigration("digits", "pixels", "5 components", 300),
    PlannedMigration("images", "half of the classes", "all classes", 1000, side=True),
    PlannedMigration("images", "half of the classes", "all classes", 1000, chosen=True),
    PlannedMigration("images", "all classes", "half of the classes", 1000, chosen=True),
    PlannedMigration("banking", "e5", "minilm", 300),
    PlannedMigration("credit cards", "wordllama", "e5", 300, chosen=True),
    PlannedMigration("kitchen and dining", "wordllama", "minilm", 300),
    PlannedMigration("home", "minilm", "e5", 300, chosen=True),
    PlannedMigration("auto and commute", "e5", "wordllama", 500),
    PlannedMigration("travel", "wordllama", "e5", 500),
    PlannedMigration("utility", "minilm", "wordllama", 300, chosen=True),
    PlannedMigration("work", "wordllama", "minilm", 500, chosen=True),
    PlannedMigration("small talk", "minilm", "e5", 300),
    PlannedMigration("meta", "wordllama", "e5", 300),
    PlannedMigration("banking", "tf-idf", "e5", 500, chosen=True, side=True),
    PlannedMigration("home", "words", "minilm", 300),
    PlannedMigration("travel", "characters", "minilm", 500, chosen=True),
    PlannedMigration("meta", "e5", "minilm", 500),
    PlannedMigration("digits", "12 components", "network", 300, chosen=True),
    PlannedMigration("digits", "network", "12 components", 300),
    PlannedMigration("digits", "network of 0 to 4", "network", 300),
    PlannedMigration("images", "half of the classes", "all classes", 500),
    PlannedMigration("small talk", "words", "e5", 300, chosen=True),
    PlannedMigration("work", "e5", "wordllama", 300),
    _clinc("wordllama", "minilm", 300),
    _clinc("minilm", "e5", 500, chosen=True),
    _clinc("e5", "wordllama", 300),
    _clinc("wordllama", "e5", 500),
    _clinc("tf-idf", "e5", 500),
    _clinc("words", "e5", 1000),
    _clinc("e5", "minilm", 300, chosen=True),
    _clinc("minilm", "wordllama", 500, chosen=True),
)
"""The migrations, in the order of the table."""
