"""Growing a published graph by what was written since, which takes a share of the time that building it anew does.

Rows that were replaced or removed stay in the graph, since links lead through them, but are found no more. Once they
are many, it is better built anew.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from app.failpoints import Failpoint, reached
from app.index.block import VectorBlock, as_indexed
from app.index.effort import tune_for_rows
from app.index.graph import Graph
from app.index.partial import finish, partial_index
from app.index.protocol import PADDING, IndexOptions, RowIds, Vectors
from app.index.publish import SAMPLE
from app.index.row_positions import RowPositions
from app.index.snapshot import INDEX, ORDER, ROWS, VECTORS, Snapshot
from app.index.trial import Choice, tried

_MOST_DEAD = 0.2  # share of a graph's rows that can no longer be found
_DEAD = PADDING - 1  # ids below
_SEED = 13


def grow(
    folder: Path,
    base: Snapshot,
    rows: RowIds,
    vectors: Vectors,
    removed: RowIds,
    *,
    version: int,
    options: IndexOptions,
) -> Path | None:
    """Publishes in `folder` what `base` becomes by taking rows out, and then `rows` (n,) with their vectors (n, d) in.

    version: that of the store by then. None, and nothing is published, where it should be built anew: it is no graph,
    or not such as `options` ask for by now; comparing with every row was found to be faster; too many of its rows would
    be dead; or most are new, or too few to tune it with.
    Raises ValueError where a row comes twice or a vector cannot be indexed.
    """
    RowPositions(rows)  # refuses ids that are negative or come twice
    old, random = base.manifest, np.random.default_rng(_SEED)
    indexed, ranked, longest = as_indexed(np.ascontiguousarray(vectors, np.float32), old.metric)
    shuffled = random.permutation(np.flatnonzero(ranked))  # so that the last are a sample
    kept = base.block.without(base.ids.positions(np.union1d(rows, removed)))
    held, total = kept.ranked.size, kept.ranked.size + len(shuffled)
    live = kept.ranked.with_more(np.ones(len(shuffled), bool))
    asked_for = old.options == options and options.kind_for(live.count) == old.kind == "hnsw"
    too_slow = old.trial is not None and not Choice(options, old).takes(old.trial)
    if not asked_for or too_slow or not SAMPLE <= len(shuffled) <= held or total - live.count > _MOST_DEAD * total:
        return None
    zeros = np.concatenate([base.block.rows[kept.zeros], rows[~ranked]])
    positions = np.arange(held)  # of dead rows, which get ids that no row has
    before = np.where(kept.ranked.has(positions), base.block.rows[:held], _DEAD - positions)
    every = np.concatenate([before, rows[shuffled], zeros])
    with partial_index(folder) as partial:
        shutil.copyfile(base.directory / VECTORS, partial / VECTORS)
        with (partial / VECTORS).open("ab") as file:
            file.write(np.ascontiguousarray(indexed[shuffled]).data)
        reached(Failpoint.INDEX_VECTORS_WRITTEN)
        mapped = np.memmap(partial / VECTORS, np.float32, "r", shape=(total, old.dimension))
        graph, seen = Graph.reopen(base.directory / INDEX, mapped[:held], old.metric), total - SAMPLE
        graph.add(mapped[held:seen])
        longest = max(longest, old.longest)
        some = kept.ranked.with_more(np.ones(seen - held, bool))
        block = VectorBlock(every[:seen], mapped[:seen], some, np.empty(0, np.int64), longest)
        queries, trial = np.ascontiguousarray(mapped[seen:]), None
        tuned = tune_for_rows(graph, block, queries, "hnsw", options)
        if options.kind == "auto":
            own = tuned["l2" if old.metric == "l2" else "ip"]
            trial = tried(graph, block, queries, "hnsw", own, old.metric)
        graph.add(mapped[seen:])
        graph.write(partial / INDEX)
        (partial / ROWS).write_bytes(every.data)
        (partial / ORDER).write_bytes(np.argsort(every, kind="stable").data)
        return finish(
            partial,
            lambda files: replace(
                old,
                version=version,
                rows=live.count + len(zeros),
                zero_rows=len(zeros),
                dead=total - live.count,
                longest=longest,
                tuned=tuned,
                created_at=datetime.now(UTC).isoformat(),
                files=files,
                trial=trial,
            ),
        )
