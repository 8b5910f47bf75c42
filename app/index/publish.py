"""Building an index from a stream of rows, and publishing it."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np

from app.failpoints import Failpoint, reached
from app.index.approximate import BUILT
from app.index.bitmap import Bitmap
from app.index.block import VectorBlock, as_indexed
from app.index.effort import tune_for_rows
from app.index.manifest import Manifest, Tuned
from app.index.partial import finish, partial_index
from app.index.protocol import IndexOptions, RowIds, Vectors
from app.index.row_positions import RowPositions
from app.index.snapshot import INDEX, ORDER, ROWS, VECTORS
from app.index.trial import Choice, tried
from app.settings import IndexDevice
from models.portable import Distance

SAMPLE = 256  # rows that recall is measured with
_SEED = 11


def publish(
    folder: Path,
    batches: Iterable[tuple[RowIds, Vectors]],
    *,
    metric: Distance,
    dimension: int,
    version: int,
    options: IndexOptions | None = None,
    before: Manifest | None = None,
    device: IndexDevice = "auto",
) -> Path:
    """Builds the index of one store version in `folder` and returns its directory, for `Snapshot.load`.

    before: of the index that this one takes the place of, if any; what `auto` chose then is not changed lightly.
    device: where inverted files are built, as `app.index.device` says; raises DeviceFailed.
    batches: row ids (n,) int64 and vectors (n, d) float32, read once; no id may come twice. Memory holds one batch, 8
    bytes a row, and, where the index is approximate, that index. Raises ValueError where a batch is otherwise; then
    nothing is published.
    """
    options = options or IndexOptions()
    choice = Choice.of(options, before)
    with partial_index(folder) as partial:
        rows, zeros, longest = _spool(partial / VECTORS, batches, metric, dimension)
        reached(Failpoint.INDEX_VECTORS_WRITTEN)
        kind, trial = choice.kind_to_build(len(rows)), choice.kept_trial
        tuned: dict[Literal["ip", "l2"], Tuned] = {}
        if kind != "flat":
            vectors = np.memmap(partial / VECTORS, np.float32, "r+", shape=(len(rows), dimension))
            _sample_last(rows, vectors)
            settled, seen = replace(options, nlist=options.nlist_for(len(rows))), len(rows) - SAMPLE
            approximate = BUILT[kind].build(vectors[:seen], metric, settled, device)
            block = VectorBlock(np.arange(seen), vectors[:seen], Bitmap.full(seen), np.empty(0, np.int64), longest)
            tuned = tune_for_rows(approximate, block, np.ascontiguousarray(vectors[seen:]), kind, options)
            taken = True
            if options.kind == "auto":
                own = tuned["l2" if metric == "l2" else "ip"]
                trial = tried(approximate, block, np.ascontiguousarray(vectors[seen:]), kind, own, metric)
                taken = choice.takes(trial)
            if taken:
                approximate.add(vectors[seen:])
                approximate.write(partial / INDEX)
            else:
                kind, tuned = "flat", {}
            vectors.flush()
        every = np.concatenate([rows, zeros])
        order = RowPositions(every).order  # refuses ids that are negative or come twice
        (partial / ROWS).write_bytes(every.data)
        if order is not None:
            (partial / ORDER).write_bytes(order.data)
        return finish(
            partial,
            lambda files: Manifest(
                version=version,
                metric=metric,
                dimension=dimension,
                rows=len(every),
                zero_rows=len(zeros),
                dead=0,
                longest=longest,
                kind=kind,
                options=options,
                tuned=tuned,
                created_at=datetime.now(UTC).isoformat(),
                files=files,
                trial=trial,
            ),
        )


def _spool(
    path: Path, batches: Iterable[tuple[RowIds, Vectors]], metric: Distance, dimension: int
) -> tuple[RowIds, RowIds, float]:
    """Streams the vectors that have a direction into a file; their rows, the other rows, and the greatest length."""
    ranked_rows: list[RowIds] = [np.empty(0, np.int64)]
    zero_rows: list[RowIds] = [np.empty(0, np.int64)]
    longest = 0.0
    with path.open("wb") as file:
        for batch, given in batches:
            rows, vectors = np.asarray(batch, np.int64), np.ascontiguousarray(given, np.float32)
            if vectors.shape != (len(rows), dimension):
                raise ValueError(f"vectors are ({len(rows)}, {dimension}), not {vectors.shape}")
            indexed, ranked, length = as_indexed(vectors, metric)
            longest = max(longest, length)
            ranked_rows.append(rows[ranked])
            zero_rows.append(rows[~ranked])
            file.write(np.ascontiguousarray(indexed[ranked]).data)  # tofile would not say why it failed
    return np.concatenate(ranked_rows), np.concatenate(zero_rows), longest


def _sample_last(rows: RowIds, vectors: Vectors) -> None:
    """Exchanges the last rows for a random sample, in place: queries that the index has not seen when it is tuned."""
    random = np.random.default_rng(_SEED)
    for last in range(len(rows) - 1, len(rows) - 1 - SAMPLE, -1):
        other = int(random.integers(last + 1))
        rows[[last, other]], vectors[[last, other]] = rows[[other, last]], vectors[[other, last]]
