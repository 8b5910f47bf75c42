"""Reads the pairs of a dataset: rows with an old and a new vector, completed from items of the same id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.composition import Crosswalk
from app.galleries.lineage import SIDE_INFORMATION, Lineage
from app.storage.lance_table import ROW_ID, embedding_column
from app.upgrades.enough import FEWEST_PAIRS, too_few_pairs
from app.upgrades.info import UpgradeInfo
from models.arrays import RowNumbers
from models.portable import Affine, Space
from models.proof.inputs import PlacedPairs
from models.transformations.pairs import Pairs
from models.transformations.stand_in import learn_stand_in, predict_side
from workers.context import StepFailed
from workers.rows.items import Items, items_by_id
from workers.rows.partial import Partial


@dataclass(frozen=True)
class DatasetPairs:
    """Pairs and their ids; ids: (n,) object.

    own_side: (n,) bool, the pairs whose side-information is their own and not predicted; None if all or none have it.
    """

    ids: NDArray[Any]
    pairs: Pairs
    own_side: NDArray[np.bool_] | None = None

    @property
    def has_side(self) -> NDArray[np.bool_]:
        """(n,) bool: the pairs that have side-information of their own."""
        return np.full(len(self.ids), self.pairs.side is not None) if self.own_side is None else self.own_side

    def subset(self, rows: RowNumbers) -> DatasetPairs:
        """The pairs at these places, (k,), at least one."""
        own = None if self.own_side is None else self.own_side[rows]
        return DatasetPairs(self.ids[rows], self.pairs.subset(rows), own)

    def without_side(self) -> DatasetPairs:
        """The pairs without their side-information."""
        return DatasetPairs(self.ids, self.pairs.without_side())

    def beside(self, dimension: int) -> DatasetPairs:
        """The pairs for a transformation that reads side-information of `dimension`: zeros, marked as absent, if they
        have none."""
        if self.pairs.side is not None:
            return self
        nothing = np.zeros((len(self.ids), dimension), np.float32)
        return DatasetPairs(self.ids, replace(self.pairs, side=nothing), np.zeros(len(self.ids), bool))

    def stand_in(self, source: Space) -> Affine:
        """A predictor of side-information from old vectors, learned from the pairs that have both."""
        assert self.pairs.side is not None
        return learn_stand_in(self.pairs.old[self.has_side], self.pairs.side[self.has_side], source)

    def located(self, items: Items, weights: Mapping[str, float] | None, *, side: bool) -> PlacedPairs:
        """The pairs with their places among a gallery's items, -1 for a pair that is no item.

        weights: the share of the gallery that each item stands for which was chosen by `sample`; None where none was.
        """
        place = {item: position for position, item in enumerate(items.id)}
        rows = np.array([place.get(item, -1) for item in self.ids], np.int64)
        weight = None if weights is None else np.array([weights.get(item, np.nan) for item in self.ids])
        if not side:
            return PlacedPairs(self.pairs.without_side(), rows, weight)
        return PlacedPairs(self.pairs, rows, weight, None if self.has_side.all() else self.has_side)


def load_pairs(crosswalk: Crosswalk, upgrade: UpgradeInfo, dataset: str) -> DatasetPairs:
    """The pairs of a dataset: its rows with a vector of both the upgrade's models.

    An old vector, side-information or label that a row lacks is taken from the item of the same id in the upgrade's
    galleries. Missing side-information is then predicted, or left out for all pairs where too few have it. Raises
    StepFailed where too few pairs are left to learn from.
    """
    rows = _Rows.of(crosswalk, upgrade, dataset, upgrade.source, None)
    if rows.pairs < FEWEST_PAIRS:
        raise StepFailed(
            too_few_pairs(dataset, upgrade.target, len(rows.ids), upgrade.source, rows.pairs, upgrade.galleries)
        )
    return rows.known(crosswalk.models.space(upgrade.source))


def load_earlier_pairs(
    crosswalk: Crosswalk, upgrade: UpgradeInfo, model: str, fewest: int
) -> tuple[int, DatasetPairs | None]:
    """The pairs of the upgrade's new model and an earlier `model`, by the vectors that were written for that model.

    Returns their number, and the pairs themselves unless they are fewer than `fewest`.
    """
    space = crosswalk.models.space(model)
    rows = _Rows.of(crosswalk, upgrade, upgrade.asked.dataset, model, Lineage((model,), (space.dimension,)))
    return rows.pairs, rows.known(space) if rows.pairs >= fewest else None


@dataclass(frozen=True)
class _Rows:
    """The rows of a dataset that have a new vector, with what else is known of each; ids, label: (n,) object."""

    ids: NDArray[Any]
    old: Partial
    new: Partial
    side: Partial
    label: NDArray[Any]

    @classmethod
    def of(cls, crosswalk: Crosswalk, upgrade: UpgradeInfo, dataset: str, model: str, lineage: Lineage | None) -> _Rows:
        """Reads them; lineage: how items get a vector of `model`, None for that of the active generation."""
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
        """The pairs: the rows that have an old vector, at least one; source: the space of these."""
        paired = np.flatnonzero(self.old.has)
        side, label = self.side, self.label[paired]
        pairs = Pairs(
            old=self.old.values[paired],
            new=self.new.values[paired],
            side=side.values[paired] if side.has[paired].sum() >= FEWEST_PAIRS else None,
            label=label if any(value is not None for value in label) else None,
        )
        completed = DatasetPairs(self.ids[paired], pairs, None if pairs.side is None else side.has[paired])
        if pairs.side is not None and not completed.has_side.all():
            lacking = ~completed.has_side
            pairs.side[lacking] = predict_side(completed.stand_in(source), pairs.old[lacking], source)
        return completed
