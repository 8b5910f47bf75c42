"""In which order transformed items are re-embedded: each order is an urgency per item, the most urgent first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from app.galleries.lineage import Projected
from app.index import RowIds, RowPositions
from app.storage.lance_table import ROW_ID
from models.portable import Distance, as_indexed

Order = Literal["uncertainty", "traffic", "random", "class_mean_distance", "old_model_poor"]
Urgency = NDArray[np.float64]

LEAST = -np.inf
_POOR = "old_model_poor"


def most_urgent(rows: RowIds, urgency: Urgency, limit: int) -> RowIds:
    """The places of the `limit` most urgent rows, the most urgent first, ties in order of row; both (m,)."""
    places = np.arange(len(rows))
    if limit < len(rows):
        places = np.argpartition(-urgency, limit - 1)[:limit]
    return places[np.lexsort((rows[places], -urgency[places]))]


def by_uncertainty(uncertainty: NDArray[np.float32]) -> Urgency:
    """The expected squared error of each item's vector, (m,); an item whose error is unknown (NaN) goes first."""
    return np.where(np.isnan(uncertainty), np.inf, uncertainty).astype(np.float64)


def by_traffic(uncertainty: NDArray[np.float32], found: NDArray[np.int64]) -> Urgency:
    """The expected squared error of each item's vector, (m,), as often as searches found the item, (m,), and once more:
    an item that was never found counts as one found once. Unknown errors (NaN) go first."""
    return by_uncertainty(uncertainty) * (1 + found)


def by_chance(rows: RowIds) -> Urgency:
    """As good as random, the same each time: SplitMix64 (Steele et al., OOPSLA 2014, fig. 16) of each row id."""
    with np.errstate(over="ignore"):
        mixed = rows.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return (mixed ^ (mixed >> np.uint64(31))).astype(np.float64)


def by_class_mean_distance(
    rows: RowIds, labels: pa.Table, scan: Callable[[], Iterator[Projected]], metric: Distance
) -> Urgency:
    """How far each row's vector lies from the mean vector of its own label; items without a label come last.

    Vectors are compared as an index of `metric` holds them, whoever made them. labels: `_rowid` and `label` of every
    item. scan: streams every vector of the generation, and is called twice.
    """
    codes = _Codes(labels)
    sums = counts = None
    for part in scan():
        code = codes.of(part.rows)
        if sums is None or counts is None:
            sums, counts = np.zeros((codes.many, part.vectors.shape[1]), np.float32), np.zeros(codes.many, np.int64)
        order = np.argsort(code, kind="stable")[np.count_nonzero(code < 0) :]
        starts = np.flatnonzero(np.diff(code[order], prepend=-1))
        if len(starts):
            sums[code[order][starts]] += np.add.reduceat(as_indexed(part.vectors, metric)[order], starts, axis=0)
            counts += np.bincount(code[order], minlength=codes.many)
    if sums is None or counts is None:
        return np.empty(0)
    means = sums / np.maximum(counts, 1)[:, None]
    wanted = RowPositions(rows)
    urgency = np.full(len(rows), LEAST)
    for part in scan():
        code, place = codes.of(part.rows), wanted.located(part.rows)
        use = (code >= 0) & (place >= 0)
        urgency[place[use]] = np.linalg.norm(as_indexed(part.vectors[use], metric) - means[code[use]], axis=1)
    return urgency


def by_old_model_poor(rows: RowIds, items: Iterable[pa.RecordBatch], path: Path) -> Urgency:
    """How badly the old model does on each item, as compatible training found on its row of the same id.

    Items that nothing was trained on come last. items: `_rowid` and `id` of every item. path: the `rows.parquet` that
    the training left, a line for each of its rows.
    """
    trained_on = pq.read_table(path, columns=["id", _POOR])
    trained_on = trained_on.filter(pc.is_finite(trained_on.column(_POOR)))
    names, poor = trained_on.column("id").combine_chunks(), np.append(trained_on.column(_POOR).to_numpy(), LEAST)
    wanted = RowPositions(rows)
    urgency = np.full(len(rows), LEAST)
    for batch in items:
        place = wanted.located(batch.column(ROW_ID).to_numpy().astype(np.int64))
        known = pc.fill_null(pc.index_in(batch.column("id"), value_set=names), len(names)).to_numpy()
        urgency[place[place >= 0]] = poor[known[place >= 0]]
    return urgency


class _Codes:
    """Labels as integers from 0, by row; -1 for none."""

    def __init__(self, labels: pa.Table) -> None:
        encoded = labels.column("label").combine_chunks().dictionary_encode()
        self.many = len(encoded.dictionary)
        codes = pc.fill_null(encoded.indices, -1).to_numpy().astype(np.int64)
        self._codes = np.append(codes, -1)
        self._places = RowPositions(labels.column(ROW_ID).to_numpy().astype(np.int64))

    def of(self, rows: RowIds) -> RowIds:
        return self._codes[self._places.located(rows)]
