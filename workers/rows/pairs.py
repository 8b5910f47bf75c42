"""The pairs of a dataset: rows known in both spaces, completed from the galleries that hold the same items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.composition import Crosswalk
from app.galleries.lineage import SIDE_INFORMATION, Lineage
from app.storage.lance_table import ROW_ID, embedding_column
from app.upgrades.info import UpgradeInfo
from models.portable import Affine, Space
from models.proof.inputs import PlacedPairs
from models.transformations.pairs import Pairs
from models.transformations.stand_in import learn_stand_in, predict_side
from workers.context import StepFailed
from workers.rows.items import Items, items_by_id
from workers.rows.partial import Partial

FEWEST_PAIRS = 8


@dataclass(frozen=True)
class DatasetPairs:
    """Pairs, and the ids of the items that they are rows of; ids: (n,) object.

    own_side: (n,) bool, the pairs whose side-information is their own and not guessed; None for all, if they have any.
    """

    ids: NDArray[Any]
    pairs: Pairs
    own_side: NDArray[np.bool_] | None = None

    @property
    def has_side(self) -> NDArray[np.bool_]:
        """The pairs that have side-information of their own; (n,)."""
        return np.full(len(self.ids), self.pairs.side is not None) if self.own_side is None else self.own_side

    def without_side(self) -> DatasetPairs:
        """The same, their side-information forgotten."""
        return DatasetPairs(self.ids, self.pairs.without_side())

    def beside(self, dimension: int) -> DatasetPairs:
        """The same, ready for a transformation that reads side-information, which none of them may have."""
        if self.pairs.side is not None:
            return self
        nothing = np.zeros((len(self.ids), dimension), np.float32)
        return DatasetPairs(self.ids, replace(self.pairs, side=nothing), np.zeros(len(self.ids), bool))

    def stand_in(self, source: Space) -> Affine:
        """What guesses side-information from old vectors, learned from the pairs that have both."""
        assert self.pairs.side is not None
        return learn_stand_in(self.pairs.old[self.has_side], self.pairs.side[self.has_side], source)

    def located(self, items: Items, weights: Mapping[str, float] | None, *, side: bool) -> PlacedPairs:
        """The pairs with their places in a gallery, -1 for a row that is no item of it.

        weights: the share of the gallery that each item stands for which was chosen by `sample`; None where none was.
        """
        place = {item: position for position, item in enumerate(items.id)}
        rows = np.array([place.get(item, -1) for item in self.ids], np.int64)
        weight = None if weights is None else np.array([weights.get(item, np.nan) for item in self.ids])
        if not side:
            return PlacedPairs(self.pairs.without_side(), rows, weight)
        return PlacedPairs(self.pairs, rows, weight, None if self.has_side.all() else self.has_side)


def load_pairs(crosswalk: Crosswalk, upgrade: UpgradeInfo, dataset: str) -> DatasetPairs:
    """The rows of a dataset with a vector of both models.

    What a row lacks of the old vector, of side-information and of a label is taken from the item of the same id in the
    upgrade's galleries. The side-information that a pair lacks is guessed, and left out as a whole where too few have
    it. Raises StepFailed where too few rows are left to learn anything from.
    """
    rows = _Rows.of(crosswalk, upgrade, dataset, upgrade.source, None)
    if rows.pairs < FEWEST_PAIRS:
        raise StepFailed(
            f"Dataset {dataset!r} has {len(rows.ids)} rows with a vector of {upgrade.target!r}; for {rows.pairs} of "
            f"them a vector of {upgrade.source!r} is known as well (their own, or that of the item of the same id in "
            f"{', '.join(upgrade.galleries)}). At least {FEWEST_PAIRS} pairs are needed, and some hundreds to do well."
        )
    return rows.known(crosswalk.models.space(upgrade.source))


def load_earlier_pairs(
    crosswalk: Crosswalk, upgrade: UpgradeInfo, model: str, fewest: int
) -> tuple[int, DatasetPairs | None]:
    """The same of the new model and one before the upgrade's own, whose vectors are as they were written.

    Returns how many there are, and none of them where they are fewer than `fewest`.
    """
    space = crosswalk.models.space(model)
    rows = _Rows.of(crosswalk, upgrade, upgrade.asked.dataset, model, Lineage((model,), (space.dimension,)))
    return rows.pairs, rows.known(space) if rows.pairs >= fewest else None


@dataclass(frozen=True)
class _Rows:
    """The rows of a dataset with a new vector, (n,) ids, and what is known of them beside it."""

    ids: NDArray[Any]
    old: Partial
    new: Partial
    side: Partial
    label: NDArray[Any]

    @classmethod
    def of(cls, crosswalk: Crosswalk, upgrade: UpgradeInfo, dataset: str, model: str, lineage: Lineage | None) -> _Rows:
        """lineage: how an item comes by a vector of `model`; None for that of its gallery's active generation."""
        rows = crosswalk.datasets.store(dataset).rows
        table = rows.where(f"`{embedding_column(upgrade.target)}` IS NOT NULL").sort_by(ROW_ID)
        ids = np.array(table.column("id").to_pylist(), object)
        old = Partial.of(table, embedding_column(model))
        side = Partial.of(table, SIDE_INFORMATION)
        label = np.array(table.column("label").to_pylist(), object)
        position = {item: place for place, item in enumerate(ids)}
        for name in upgrade.galleries:
            items = items_by_id(crosswalk, crosswalk.galleries.info(name), ids.tolist(), lineage)
            places = np.array([position[item] for item in items.id], np.int64)
            old = old.filled(places, items.vector)
            side = side.filled(places[items.side.has], items.side.values[items.side.has])
            unlabelled = np.array([label[place] is None for place in places], bool)
            label[places[unlabelled]] = items.label[unlabelled]
        return cls(ids, old, Partial.of(table, embedding_column(upgrade.target)), side, label)

    @property
    def pairs(self) -> int:
        return int(self.old.has.sum())

    def known(self, source: Space) -> DatasetPairs:
        """Those with an old vector, of which there are some; source: its space."""
        known = np.flatnonzero(self.old.has)
        side, label = self.side, self.label[known]
        pairs = Pairs(
            old=self.old.values[known],
            new=self.new.values[known],
            side=side.values[known] if side.has[known].sum() >= FEWEST_PAIRS else None,
            label=label if any(value is not None for value in label) else None,
        )
        found = DatasetPairs(self.ids[known], pairs, None if pairs.side is None else side.has[known])
        if pairs.side is not None and not found.has_side.all():
            lacking = ~found.has_side
            pairs.side[lacking] = predict_side(found.stand_in(source), pairs.old[lacking], source)
        return found
