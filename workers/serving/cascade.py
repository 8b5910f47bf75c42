"""Measures how many candidates a cascade must re-rank to find what a search of the transformed gallery finds.

The transformed gallery is published as an exact index in a temporary folder, so that what is measured is what would be
served, and it is not held in memory. What it finds is then ranked among the old vectors, by the scores of their index.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from app.artifacts.cascade import FEW, MANY, Cascade
from app.artifacts.crossings import Crossing
from app.index import IndexOptions, LiveIndex, RowIds, Snapshot, Vectors, publish
from models.evaluation.bootstrap import bootstrap_mean
from models.portable import Array, Space
from workers.rows.items import Items
from workers.serving.exact_ranks import exact_ranks

QUERIES = 1_000  # measured with, at most
_AT_ONCE = 8_192  # rows transformed at once
_SEED = 0
_SCRATCH = ".exact-"


@dataclass(frozen=True)
class CascadeQueries:
    """Queries to measure with. vectors: (m, d_new) float32; own: (m,) the item that each must not find, -1 for none."""

    vectors: Array
    own: NDArray[np.int64]

    def drawn(self, most: int) -> CascadeQueries:
        """At most `most` of the queries, drawn at random."""
        chosen = np.sort(np.random.default_rng(_SEED).permutation(len(self.vectors))[:most])
        return CascadeQueries(self.vectors[chosen], self.own[chosen])


def needs_cascade(crossing: Crossing, queries: Array) -> bool:
    """Whether the chosen transformation cannot be pushed exactly into these queries, (m, d_new)."""
    return not (crossing.chosen.pushable and crossing.chosen.push(queries[:1]).exact)


def measure_cascade(
    items: Items,
    queries: CascadeQueries,
    crossing: Crossing,
    *,
    source: Space,
    target: Space,
    overlap: float,
    limit: int,
    scratch: Path,
    tick: Callable[[int, int], None],
) -> Cascade:
    """The least number of candidates, at most `limit`, whose re-ranking finds the `overlap` share of the top 10.

    scratch: a folder for temporary files. tick: called with the numbers of items transformed and of all items.
    """
    queries = queries.drawn(QUERIES)
    for left in scratch.glob(f"{_SCRATCH}*"):  # by an attempt that was cut off
        shutil.rmtree(left, ignore_errors=True)
    with TemporaryDirectory(dir=scratch, prefix=_SCRATCH) as name:
        folder = Path(name)
        new = _exact(folder / "new", target, _transformed(items, crossing, tick))
        wanted = _others(new.search(queries.vectors, MANY + 1).rows, queries.own)
        del new
    ranks = exact_ranks(wanted, queries.own, crossing.plain.push(queries.vectors), items.vector, source.metric)
    few, rows = ranks[:, :FEW], len(items.id)
    k = _least(few, overlap, min(limit, rows))
    many = _least(ranks, overlap, min(limit * MANY // FEW, rows)) if rows > 2 * MANY else None
    overlaps = _overlap(few, k)
    interval = bootstrap_mean(overlaps, seed=_SEED)
    return Cascade(overlap, k, many, interval.mean, (interval.low, interval.high), len(queries.vectors), rows)


def _exact(folder: Path, space: Space, batches: Iterator[tuple[RowIds, Vectors]]) -> LiveIndex:
    path = publish(
        folder,
        batches,
        metric=space.metric,
        dimension=space.dimension,
        version=1,
        options=IndexOptions(kind="flat"),
    )
    return LiveIndex(space.metric, space.dimension, snapshot=Snapshot.load(path))


def _pieces(items: Items) -> Iterator[tuple[RowIds, Vectors]]:
    for start in range(0, len(items.id), _AT_ONCE):
        vectors = items.vector[start : start + _AT_ONCE]
        yield np.arange(start, start + len(vectors)), vectors


def _transformed(
    items: Items, crossing: Crossing, tick: Callable[[int, int], None]
) -> Iterator[tuple[RowIds, Vectors]]:
    for rows, vectors in _pieces(items):
        has = items.side.has[rows]
        side = items.side.values[rows] if has.any() else None
        yield rows, crossing.apply(vectors, side, has)
        tick(int(rows[-1]) + 1, len(items.id))


def _others(rows: RowIds, own: NDArray[np.int64]) -> RowIds:
    """Rows found (m, f) without each query's own, or without the last where it is not among them: (m, f - 1)."""
    kept = (rows != own[:, None]) | (own[:, None] < 0)  # an item that is not there is no padding
    kept[kept.all(axis=1), -1] = False
    others: RowIds = rows[kept].reshape(len(rows), -1)
    return others


def _least(ranks: NDArray[np.int64], overlap: float, most: int) -> int:
    """The least number of candidates, `most` at most, among which the `overlap` share of these ranks is."""
    ordered = np.sort(ranks, axis=None)
    enough = int(np.ceil(overlap * len(ordered) - 1e-9)) - 1
    return int(np.clip(ordered[max(enough, 0)], min(FEW, most), most))


def _overlap(ranks: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """Each query's share of ranks up to k: (m,)."""
    share: NDArray[np.float64] = (ranks <= k).mean(axis=1)
    return share
