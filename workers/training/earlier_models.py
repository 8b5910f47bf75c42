"""Chains within an upgrade: models before its own, from which a gallery still holds vectors that are crossed as well.

An item that has a vector of v1 alone comes to v3 by composition, h12 and then the upgrade's h23. Where pairs of v1 and
v3 are known, the direct h13 is learned too, and takes its place where it retrieves better from the same held-out rows.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from app.artifacts.folder import UpgradeArtifacts
from app.composition import Crosswalk
from app.galleries.lineage import SIDE_INFORMATION, Lineage
from app.storage.lance_table import ROW_ID, embedding_column, vector_type
from app.upgrades.info import UpgradeInfo
from models.arrays import Progress
from models.device import Device
from models.evaluation.bootstrap import Interval, bootstrap_mean
from models.json_values import plain
from models.portable import Array, Transformation, save_transformation, save_uncertainty
from models.transformations.candidates import leads
from models.transformations.held_out_retrieval import HeldOutRetrieval, RetrievalScores
from models.transformations.methods import method_named
from models.transformations.pairs import Refit
from models.transformations.selection import Selection, select
from workers.rows.label_cover import labels_cover
from workers.rows.pairs import DatasetPairs, load_earlier_pairs
from workers.training.held_out_pairs import learn_from_held_out

FEWEST = 40  # pairs from which on held-out rows tell two crossings apart
SEED = 0


@dataclass(frozen=True)
class Link:
    """How items come from an earlier model to the upgrade's new one, and why so; intervals of `metric`, from 0 to 1.

    items: how many have no vector of a later model; pairs: rows known in both spaces. composed, direct: retrieval from
    held-out rows, None where it was not measured. The earlier crossings are as they are: rows that they were learned
    from favour composition a little.
    """

    source: str
    items: int
    pairs: int
    metric: str | None
    composed: Interval | None
    direct: Interval | None
    kept: Literal["direct", "composed"]
    why: str

    def to_json(self) -> dict[str, Any]:
        """The link as the upgrade's report shows it, with the earlier model under `from`."""
        fields: dict[str, Any] = plain(self)
        return {"from": fields.pop("source"), **fields}


@dataclass(frozen=True)
class ChainLearning:
    """What the links of one upgrade are learned and measured with.

    known: what its own crossing was learned from; selection: how; chosen: that crossing.
    """

    crosswalk: Crosswalk
    upgrade: UpgradeInfo
    known: DatasetPairs
    selection: Selection
    chosen: Transformation
    artifacts: UpgradeArtifacts
    device: Device
    progress: Progress

    def links(self) -> tuple[Link, ...]:
        """A link for every model before the upgrade's own in its galleries; direct ones that are kept are saved."""
        shutil.rmtree(self.artifacts.shortcuts, ignore_errors=True)  # of an attempt that was cut off
        chains: dict[str, dict[tuple[str | None, ...], Lineage]] = {}
        for name in self.upgrade.galleries:
            info = self.crosswalk.galleries.info(name)
            generations = info.ancestry(info.active)
            for place, generation in enumerate(generations[:-1]):
                later_crossings = tuple(later.transformation for later in generations[place + 1 :])
                lineage = self.crosswalk.galleries.lineage(info, info.active)
                chains.setdefault(generation.space.model, {})[later_crossings] = lineage
        return tuple(self._link(model, list(crossings_of.values())) for model, crossings_of in chains.items())

    def _link(self, model: str, lineages: list[Lineage]) -> Link:
        items = sum(_newest(self.crosswalk, name, model) for name in self.upgrade.galleries)
        many, pairs = load_earlier_pairs(self.crosswalk, self.upgrade, model, FEWEST)
        if pairs is None:
            why = (
                f"{many} pairs of {model!r} and {self.upgrade.target!r} are too few to learn a direct crossing from "
                f"({FEWEST} are needed): composition was not measured against one"
            )
            return Link(model, items, many, None, None, None, "composed", why)
        source = self.crosswalk.models.space(model)
        target = self.crosswalk.models.space(self.upgrade.target)
        reads = self.chosen.card.side_dimension is not None and pairs.pairs.side is not None
        rows = pairs if reads else pairs.without_side()
        direct = select(
            rows.pairs,
            source,
            target,
            method=method_named(self.chosen.card.method),
            labels=labels_cover(self.crosswalk, self.upgrade.galleries, rows.pairs),
            device=self.device,
            seed=SEED,
            progress=self.progress,
        )
        composed = [self._composed(model, lineage, rows) for lineage in lineages]
        network = not direct.chosen.linear
        better = all(leads(direct.measured, other, network=network, seed=SEED) for other in composed)
        if better:
            self._save(model, rows, direct)
        best = max(composed, key=lambda measured: float(measured.hits.mean()))
        return Link(
            source=model,
            items=items,
            pairs=many,
            metric=direct.metric,
            composed=bootstrap_mean(best.hits, seed=SEED),
            direct=bootstrap_mean(direct.measured.hits, seed=SEED),
            kept="direct" if better else "composed",
            why="a direct crossing is better on held-out rows"
            if better
            else "a direct crossing is not better on held-out rows by more than chance",
        )

    def _composed(self, model: str, lineage: Lineage, rows: DatasetPairs) -> RetrievalScores:
        """Retrieval by composition from the very rows that a direct crossing is measured on.

        The last crossing is learned anew for each fold, without the fold's rows.
        """
        carried = lineage.project(_alone(model, rows)).vectors
        ground = HeldOutRetrieval(
            replace(rows.pairs, old=carried), self.crosswalk.models.space(self.upgrade.target), SEED
        )
        side = self.chosen.card.side_dimension is None or rows.pairs.side is not None
        refit: Refit = self.selection.refit if side else self.selection.refit_instant
        places = {item: place for place, item in enumerate(self.known.ids)}

        def without(held_out: NDArray[np.int64]) -> Transformation:
            left_out = [places[item] for item in rows.ids[held_out] if item in places]
            return refit(self.known.pairs.subset(np.delete(np.arange(len(self.known.ids)), left_out)))

        return ground.measure([without(part) for _, part in ground.folds])

    def _save(self, model: str, rows: DatasetPairs, direct: Selection) -> None:
        files = self.artifacts.shortcut(model)
        card = save_transformation(direct.chosen, files.chosen)
        save_transformation(direct.instant, files.plain)
        chosen = replace(direct.chosen, card=card)
        missing = learn_from_held_out(rows, chosen, direct.refit, device=self.device, progress=self.progress)
        if missing is not None:
            save_uncertainty(missing[0].uncertainty, files.uncertainty)


def judged_by_composition(crosswalk: Crosswalk, upgrade: UpgradeInfo, name: str) -> list[str]:
    """What a proof has to say of the items that are served by a direct crossing: it judges them by composition."""
    info = crosswalk.galleries.info(name)
    artifacts = UpgradeArtifacts(crosswalk.settings.artifacts_dir, upgrade.id)
    earlier = [generation.space.model for generation in info.ancestry(info.active)[:-1]]
    served = {model: _newest(crosswalk, name, model) for model in earlier if artifacts.shortcut(model).folder.exists()}
    return [
        f"{items} items whose newest vector is of {model!r} are served by a crossing learned directly from it, which "
        "is better on held-out rows; here they were judged by the crossings one after the other."
        for model, items in served.items()
        if items
    ]


def _newest(crosswalk: Crosswalk, name: str, model: str) -> int:
    """How many items of a gallery have a vector of this model, and none of a later one."""
    info = crosswalk.galleries.info(name)
    models = [generation.space.model for generation in info.ancestry(info.active)]
    items = crosswalk.galleries.items(info)
    if model not in models or not items.has(embedding_column(model)):
        return 0
    later = [embedding_column(one) for one in models[models.index(model) + 1 :]]
    absent = [f"`{column}` IS NULL" for column in later if items.has(column)]
    return items.count(" AND ".join([f"`{embedding_column(model)}` IS NOT NULL", *absent]))


def _alone(model: str, rows: DatasetPairs) -> pa.RecordBatch:
    """Pairs as if they were items with nothing but this model's vector, and their side-information."""
    columns: dict[str, pa.Array] = {
        ROW_ID: pa.array(np.arange(len(rows.ids)), pa.uint64()),
        embedding_column(model): _column(rows.pairs.old),
    }
    if rows.pairs.side is not None:
        columns[SIDE_INFORMATION] = _column(rows.pairs.side, ~rows.has_side)
    return pa.record_batch(columns)


def _column(vectors: Array, absent: NDArray[np.bool_] | None = None) -> pa.FixedSizeListArray:
    flat, mask = pa.array(np.ascontiguousarray(vectors, np.float32).ravel()), None
    if absent is not None:
        mask = pa.array(absent)
    return pa.FixedSizeListArray.from_arrays(flat, type=vector_type(vectors.shape[1]), mask=mask)
