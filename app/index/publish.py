"""Building an index from a stream and publishing it so that it is there wholly or not at all.

Files are written into a folder of their own and synced, the manifest with their digests last; then the folder gets its
name, which ends in the manifest's checksum. What was published before stays until `prune`.
"""

import dataclasses
import os
import shutil
import uuid
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from app.index.approximate import BUILT, Approximate
from app.index.bitmap import Bitmap
from app.index.block import Block, as_indexed
from app.index.exact import one_thread
from app.index.manifest import FILE, Digest, Manifest
from app.index.protocol import IndexOptions, Metric, Rows, Vectors
from app.index.row_ids import RowIds
from app.index.snapshot import INDEX, ROWS, VECTORS, map_vectors

_PARTIAL = ".partial-"
_NEIGHBOURS = 10  # recall is measured at
_SAMPLE = 256  # rows that recall is measured with
_SEED = 11


def publish(
    folder: Path,
    batches: Iterable[tuple[Rows, Vectors]],
    *,
    metric: Metric,
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
        block = _write_rows(partial, batches, metric, dimension)
        kind = options.kind_for(len(block)) if block.ranked.count else "flat"
        effort, recall = None, None
        if kind != "flat":
            approximate = BUILT[kind].build(block.vectors, metric, options)
            approximate.write(partial / INDEX)
            effort, recall = _tuned(approximate, block, metric, options)
        manifest = Manifest(
            version=version,
            metric=metric,
            dimension=dimension,
            rows=len(block),
            zero_rows=len(block.zeros),
            longest=block.longest,
            kind=kind,
            options=options,
            effort=effort,
            recall=recall,
            created_at=datetime.now(UTC).isoformat(),
            files={path.name: Digest.of(path) for path in sorted(partial.iterdir())},
        )
        (partial / FILE).write_text(manifest.dump())
        for path in (*partial.iterdir(), partial):
            _sync(path)
        published = folder / f"{version}-{manifest.checksum[:16]}"
        partial.rename(published)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    _sync(folder)
    return published


def prune(folder: Path, keep: Collection[str]) -> None:
    """Deletes what lies in `folder` but the directories named, once those are what is pointed at.

    An index still open elsewhere goes on being searched: its files vanish when it is closed. Not while `publish` is at
    work in the same folder, whose unfinished directory would go as well.
    """
    for path in folder.iterdir():
        if path.name not in keep:
            shutil.rmtree(path)


def _write_rows(directory: Path, batches: Iterable[tuple[Rows, Vectors]], metric: Metric, dimension: int) -> Block:
    """Streams rows and vectors into their files, rows without a direction last."""
    ranked_rows: list[Rows] = [np.empty(0, np.int64)]
    zero_rows: list[Rows] = [np.empty(0, np.int64)]
    longest = 0.0
    with (directory / VECTORS).open("wb") as file:
        for batch, given in batches:
            rows, vectors = np.asarray(batch, np.int64), np.ascontiguousarray(given, np.float32)
            if vectors.shape != (len(rows), dimension):
                raise ValueError(f"vectors are ({len(rows)}, {dimension}), not {vectors.shape}")
            units, ranked, length = as_indexed(vectors, metric)
            longest = max(longest, length)
            ranked_rows.append(rows[ranked])
            zero_rows.append(rows[~ranked])
            units[ranked].tofile(file)
    rows, zeros = np.concatenate(ranked_rows), np.concatenate(zero_rows)
    every = np.concatenate([rows, zeros])
    RowIds(every)
    every.tofile(directory / ROWS)
    vectors = map_vectors(directory / VECTORS, len(rows), dimension)
    return Block(every, vectors, Bitmap.full(len(rows)), np.arange(len(rows), len(every)), longest)


def _tuned(approximate: Approximate, block: Block, metric: Metric, options: IndexOptions) -> tuple[int, float]:
    """The effort asked for, or the least that reaches the recall asked for; and the recall@10 measured with it.

    Queries are rows of the index, each without itself as an answer.
    """
    count = block.ranked.count
    chosen = np.sort(np.random.default_rng(_SEED).choice(count, min(count, _SAMPLE), replace=False))
    queries = np.ascontiguousarray(block.vectors[chosen])
    positions = dataclasses.replace(block, rows=np.arange(count))
    k = min(_NEIGHBOURS + 1, count)

    def neighbours(effort: int | None) -> Rows:
        propose = None if effort is None else approximate.propose(metric, effort, count)
        found = positions.search(queries, k, metric, propose).rows
        return np.where(found == chosen[:, None], -1, found)

    with one_thread():
        truth = neighbours(None)
        given = options.nprobe if options.kind != "hnsw" else options.ef_search
        for effort in [given] if given else approximate.efforts():
            found = neighbours(effort)
            hit = (truth[:, :, None] == found[:, None, :]).any(axis=2) & (truth >= 0)
            recall = float(hit.sum() / max((truth >= 0).sum(), 1))
            if recall >= options.recall:
                break
    return effort, recall


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
