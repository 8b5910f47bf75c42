"""How hard an approximate index must look: measured with queries whose true nearest rows are known."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np

from app.index.approximate import Approximate
from app.index.block import VectorBlock, as_indexed
from app.index.exact import one_thread
from app.index.manifest import Tuned
from app.index.protocol import IndexOptions, Kind, RowIds, Vectors
from app.index.snapshot import Snapshot
from models.portable import Distance

_NEIGHBOURS = 10  # recall is measured at


def tune_for_rows(
    approximate: Approximate, block: VectorBlock, queries: Vectors, kind: Kind, options: IndexOptions
) -> dict[Literal["ip", "l2"], Tuned]:
    """For each score the effort asked for, or the least that reaches the recall asked for, and the recall@10 with it.

    block: the rows that the index holds. queries: (m, d) float32 of the same kind, which it does not hold.
    """
    given = options.effort_for(kind)
    efforts = [given] if given else list(approximate.efforts())
    wanted = options.recall_for(block.ranked.count)
    scores: tuple[Literal["ip", "l2"], ...] = ("ip", "l2")
    return {
        score: _least(approximate, block, queries, score, _truth(block, queries, _NEIGHBOURS, score), efforts, wanted)
        for score in scores
    }


def tune(snapshot: Snapshot, queries: Vectors, score: Distance, neighbours: int) -> tuple[Tuned, Tuned] | None:
    """What the snapshot's own effort finds for queries unlike its rows, and the least effort that finds enough.

    queries: (m, d) float32 as `LiveIndex.search` takes them, of whose nearest `neighbours` the recall is asked for that
    the index was built to reach. Never less than its own effort. None where every row is looked at anyway.
    """
    approximate, own = snapshot.approximate, snapshot.manifest.tuning(score)
    if approximate is None or own is None:
        return None
    indexed, block = as_indexed(queries, score)[0], snapshot.block
    truth = _truth(block, indexed, neighbours, score)
    before = _least(approximate, block, indexed, score, truth, [own.effort], 0.0)
    wanted = snapshot.manifest.options.recall_for(snapshot.manifest.rows)
    if before.recall >= wanted:
        return before, before
    harder = [effort for effort in approximate.efforts() if effort > own.effort]
    return before, _least(approximate, block, indexed, score, truth, harder, wanted) if harder else before


def _truth(block: VectorBlock, queries: Vectors, neighbours: int, score: Distance) -> RowIds:
    """The nearest rows of every query, (m, neighbours), found by looking at all of them."""
    with one_thread():
        return block.search(queries, neighbours, score).rows


def _least(
    approximate: Approximate,
    block: VectorBlock,
    queries: Vectors,
    score: Distance,
    truth: RowIds,
    efforts: Iterable[int],
    wanted: float,
) -> Tuned:
    """The first of the rising efforts whose recall is above the one wanted by its standard error at least, or else the
    last, and its recall; truth: what is to be found."""

    def recall(effort: int) -> tuple[float, float]:
        propose = approximate.propose(score, effort, block.ranked.count)
        rows = block.search(queries, truth.shape[1], score, propose).rows
        each = np.array([np.isin(true, one).mean() for true, one in zip(truth, rows, strict=True)])
        return float(each.mean()), float(each.std() / np.sqrt(len(each)))

    with one_thread():
        for effort in efforts:
            measured, error = recall(effort)
            if measured - error >= wanted:
                break
    return Tuned(effort, measured)
