"""Reads the items of a gallery for learning and proof: vectors of its active space, in the order of writing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from app.composition import Crosswalk
from app.galleries.info import GalleryInfo
from app.galleries.lineage import SIDE_INFORMATION, Lineage
from app.storage.lance_table import ROW_ID
from models.portable import Array
from models.proof.inputs import ProofGallery
from workers.context import StepFailed
from workers.rows.partial import Partial

FLOAT32_BYTES = 4
_IDS_AT_ONCE = 2_000


@dataclass(frozen=True)
class Items:
    """Items with a vector in the active space. row, id, label: (n,), None for no label; vector: (n, d) float32."""

    row: NDArray[np.int64]
    id: NDArray[Any]
    label: NDArray[Any]
    vector: Array
    side: Partial

    @property
    def labelled(self) -> bool:
        return any(label is not None for label in self.label)

    def as_gallery(self, *, side: bool, guess: Callable[[Array], Array] | None = None) -> ProofGallery:
        """The gallery that a proof takes, with side-information or without.

        guess: predicts side-information from the vectors of items that lack it. Raises ValueError where an item lacks
        it and `guess` is None.
        """
        label, has = self.label if self.labelled else None, self.side.has
        if not side or has.all():
            return ProofGallery(self.vector, self.side.values if side else None, label)
        if guess is None:
            raise ValueError("some items have no side-information")
        known = self.side.filled(np.flatnonzero(~has), guess(self.vector[~has]))
        return ProofGallery(self.vector, known.values, label, has)


def rows_that_fit(crosswalk: Crosswalk, info: GalleryInfo) -> int:
    """How many of a gallery's items, with what is read of them, fit into the memory of a proof."""
    lineage = crosswalk.galleries.lineage(info, info.active)
    numbers = lineage.dimension + (info.side_dimension or 0)
    return crosswalk.settings.evaluation_memory_bytes // (FLOAT32_BYTES * numbers)


def all_fit(crosswalk: Crosswalk, info: GalleryInfo) -> bool:
    """Whether all of a gallery's items fit into the memory of a proof."""
    return crosswalk.galleries.items(info).count() <= rows_that_fit(crosswalk, info)


def known_ids(crosswalk: Crosswalk, info: GalleryInfo, ids: Sequence[str]) -> set[str]:
    """Those of the ids that a gallery's items have."""
    items = crosswalk.galleries.items(info)
    parts = (items.by_id(ids[start : start + _IDS_AT_ONCE], ["id"]) for start in range(0, len(ids), _IDS_AT_ONCE))
    return {id for part in parts for id in part.column("id").to_pylist()}


def whole_gallery(crosswalk: Crosswalk, info: GalleryInfo, seed: int, keep: Collection[str] = ()) -> Items:
    """Every item, or if all do not fit in memory, those with the ids in `keep`, which do, and a uniform random sample
    of the others. Raises StepFailed for an empty gallery."""
    stored = crosswalk.galleries.items(info)
    lineage = crosswalk.galleries.lineage(info, info.active)
    batches: Iterable[pa.RecordBatch] = stored.scan(_columns(crosswalk, info, lineage))
    if not all_fit(crosswalk, info):
        share = max(1, rows_that_fit(crosswalk, info) - len(keep)) / stored.count()
        rng, kept = np.random.default_rng(seed), pa.array(list(keep), pa.string())
        batches = (_drawn(batch, share, rng, kept) for batch in batches)
    items = _collected(batches, lineage)
    if not len(items.id):
        raise StepFailed(f"Gallery {info.id!r} holds no vectors: there is nothing to upgrade. {info.how_to_fill}")
    return items


def items_by_id(crosswalk: Crosswalk, info: GalleryInfo, ids: Sequence[str], lineage: Lineage | None = None) -> Items:
    """The gallery's items with these ids, in its active space or in that of another lineage; unknown ids are
    ignored."""
    lineage = lineage or crosswalk.galleries.lineage(info, info.active)
    columns = _columns(crosswalk, info, lineage)
    table = crosswalk.galleries.items(info)

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, len(ids), _IDS_AT_ONCE):
            yield from table.by_id(ids[start : start + _IDS_AT_ONCE], columns).to_batches()

    return _collected(batches(), lineage)


def _columns(crosswalk: Crosswalk, info: GalleryInfo, lineage: Lineage) -> list[str]:
    items = crosswalk.galleries.items(info)
    read = [name for name in [*lineage.columns, SIDE_INFORMATION] if items.has(name)]
    return list(dict.fromkeys(["id", "label", *read]))


def _drawn(batch: pa.RecordBatch, share: float, rng: np.random.Generator, kept: pa.Array) -> pa.RecordBatch:
    drawn = rng.random(batch.num_rows) < share
    if len(kept):
        drawn |= pc.is_in(batch.column("id"), value_set=kept).to_numpy(zero_copy_only=False)
    return batch.take(pa.array(np.flatnonzero(drawn)))


def _collected(batches: Iterable[pa.RecordBatch], lineage: Lineage) -> Items:
    parts = [_items(batch, lineage) for batch in batches if batch.num_rows]
    if not parts:
        nothing = np.empty(0, object)
        empty = np.empty((0, lineage.dimension), np.float32)
        return Items(np.empty(0, np.int64), nothing, nothing, empty, Partial.empty(0))
    side = Partial.stacked([part.side for part in parts])
    order = np.argsort(np.concatenate([part.row for part in parts]), kind="stable")
    return Items(
        row=np.concatenate([part.row for part in parts])[order],
        id=np.concatenate([part.id for part in parts])[order],
        label=np.concatenate([part.label for part in parts])[order],
        vector=np.concatenate([part.vector for part in parts])[order],
        side=Partial(side.values[order], side.has[order]),
    )


def _items(batch: pa.RecordBatch, lineage: Lineage) -> Items:
    projected = lineage.project(batch)
    reached = np.isin(batch.column(ROW_ID).to_numpy().astype(np.int64), projected.rows)
    side = Partial.of(batch, SIDE_INFORMATION)
    return Items(
        row=projected.rows,
        id=np.array(batch.column("id").to_pylist(), object)[reached],
        label=np.array(batch.column("label").to_pylist(), object)[reached],
        vector=projected.vectors,
        side=Partial(side.values[reached], side.has[reached]),
    )
