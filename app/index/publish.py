"""Building an index from a stream and publishing it so that it is there wholly or not at all.

Files are written into a folder of their own and synced, the manifest with their digests last; then the folder gets its
name, which ends in the manifest's checksum. What was published before stays until `prune`.
"""

import shutil
import uuid
from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np

from app.failpoints import Failpoint, reached
from app.index.approximate import BUILT, Approximate
from app.index.bitmap import Bitmap
from app.index.block import VectorBlock, as_indexed
from app.index.exact import one_thread
from app.index.manifest import FILE, Digest, Manifest, Tuned
from app.index.protocol import IndexOptions, Kind, RowIds, Vectors
from app.index.row_positions import RowPositions
from app.index.snapshot import INDEX, ORDER, ROWS, VECTORS, Snapshot
from models.portable import Distance, sync

_PARTIAL = ".partial-"
_NEIGHBOURS = 10  # recall is measured at
_SAMPLE = 256  # rows that recall is measured with
_SEED = 11


def publish(
    folder: Path,
    batches: Iterable[tuple[RowIds, Vectors]],
    *,
    metric: Distance,
    dimension: int,
    version: int,
    options: IndexOptions | None = None,
) -> Path:
    """Builds the index of one store version in `folder` and returns its directory, for `Snapshot.load`.

    batches: row ids (n,) int64 and vectors (n, d) float32, read once; no id may come twice. Memory holds one batch, 8
    bytes a row, and, where the index is approximate, that index. Raises ValueError where a batch is otherwise; then
    nothing is published.
    """
    options = options or IndexOptions()
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{_PARTIAL}{uuid.uuid4().hex}"
    partial.mkdir()
    try:
        rows, zeros, longest = _spool(partial / VECTORS, batches, metric, dimension)
        reached(Failpoint.INDEX_VECTORS_WRITTEN)
        kind = options.kind_for(len(rows))
        tuned: dict[Literal["ip", "l2"], Tuned] = {}
        if kind != "flat":
            vectors = np.memmap(partial / VECTORS, np.float32, "r+", shape=(len(rows), dimension))
            _sample_last(rows, vectors)
            settled = replace(options, nlist=options.nlist_for(len(rows)))
            approximate = BUILT[kind].build(vectors[:-_SAMPLE], metric, settled)
            tuned = {score: _tuned(approximate, vectors, longest, score, kind, options) for score in ("ip", "l2")}
            approximate.add(vectors[-_SAMPLE:])
            approximate.write(partial / INDEX)
            vectors.flush()
        every = np.concatenate([rows, zeros])
        order = RowPositions(every).order  # refuses ids that are negative or come twice
        (partial / ROWS).write_bytes(every.data)
        if order is not None:
            (partial / ORDER).write_bytes(order.data)
        manifest = Manifest(
            version=version,
            metric=metric,
            dimension=dimension,
            rows=len(every),
            zero_rows=len(zeros),
            longest=longest,
            kind=kind,
            options=options,
            tuned=tuned,
            created_at=datetime.now(UTC).isoformat(),
            files={path.name: Digest.of(path) for path in sorted(partial.iterdir())},
        )
        (partial / FILE).write_text(manifest.dump())
        reached(Failpoint.INDEX_MANIFEST_WRITTEN)
        for path in (*partial.iterdir(), partial):
            sync(path)
        reached(Failpoint.INDEX_SYNCED)
        published = folder / manifest.name
        partial.rename(published)
        reached(Failpoint.INDEX_RENAMED)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    sync(folder)
    reached(Failpoint.INDEX_PUBLISHED)
    return published


def prune(folder: Path, keep: Collection[str]) -> None:
    """Deletes what lies in `folder` but the directories named, once those are what is pointed at.

    An index still open elsewhere goes on being searched: its files vanish when it is closed. Not while `publish` is at
    work in the same folder, whose unfinished directory would go as well.
    """
    for path in folder.iterdir():
        if path.name not in keep:
            shutil.rmtree(path)
            reached(Failpoint.INDEX_PRUNED)


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
    for last in range(len(rows) - 1, len(rows) - 1 - _SAMPLE, -1):
        other = int(random.integers(last + 1))
        rows[[last, other]], vectors[[last, other]] = rows[[other, last]], vectors[[other, last]]


def _tuned(
    approximate: Approximate,
    vectors: Vectors,
    longest: float,
    score: Literal["ip", "l2"],
    kind: Kind,
    options: IndexOptions,
) -> Tuned:
    """The effort asked for, or the least that reaches the recall asked for, and the recall@10 measured with it.

    Queries are the last of the vectors (n, d), which the index does not hold yet.
    """
    seen = len(vectors) - _SAMPLE
    block = VectorBlock(np.arange(seen), vectors[:seen], Bitmap.full(seen), np.empty(0, np.int64), longest)
    queries = np.ascontiguousarray(vectors[seen:])
    given = options.effort_for(kind)
    efforts = [given] if given else approximate.efforts()
    return _least(approximate, block, queries, score, _NEIGHBOURS, efforts, options.recall_for(len(vectors)))


def tune(snapshot: Snapshot, queries: Vectors, score: Distance, neighbours: int) -> tuple[Tuned, Tuned] | None:
    """What the snapshot's own effort finds for queries unlike its rows, and the least effort that finds enough.

    queries: (m, d) float32 as `LiveIndex.search` takes them, of whose nearest `neighbours` the recall is asked for that
    the index was built to reach. Never less than its own effort. None where every row is looked at anyway.
    """
    approximate, own = snapshot.approximate, snapshot.manifest.tuning(score)
    if approximate is None or own is None:
        return None
    indexed, block = as_indexed(queries, score)[0], snapshot.block
    before = _least(approximate, block, indexed, score, neighbours, [own.effort], 0.0)
    wanted = snapshot.manifest.options.recall_for(snapshot.manifest.rows)
    if before.recall >= wanted:
        return before, before
    harder = (effort for effort in approximate.efforts() if effort > own.effort)
    return before, _least(approximate, block, indexed, score, neighbours, [own.effort, *harder], wanted)


def _least(
    approximate: Approximate,
    block: VectorBlock,
    queries: Vectors,
    score: Distance,
    neighbours: int,
    efforts: Iterable[int],
    wanted: float,
) -> Tuned:
    """The first of the rising efforts that reaches the recall wanted, or else the last, and its recall."""

    def recall(effort: int) -> float:
        propose = approximate.propose(score, effort, block.ranked.count)
        rows = block.search(queries, neighbours, score, propose).rows
        return float(np.mean([np.isin(true, one).mean() for true, one in zip(truth, rows, strict=True)]))

    with one_thread():
        truth = block.search(queries, neighbours, score).rows
        for effort in efforts:
            measured = recall(effort)
            if measured >= wanted:
                break
    return Tuned(effort, measured)
