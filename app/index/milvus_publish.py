"""Loads an index into a collection of Milvus, and publishes it in a directory as `publish` does, wholly or not."""

from __future__ import annotations

import dataclasses
import re
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
import structlog

from app.failpoints import Failpoint, reached
from app.index.block import as_indexed
from app.index.exact import one_thread
from app.index.manifest import FILE, Digest, Manifest, Tuned
from app.index.milvus import KINDS, CollectionName, MilvusSnapshot
from app.index.milvus_search import stored
from app.index.milvus_server import MilvusServer
from app.index.protocol import IndexOptions, Kind, RowIds, Vectors
from app.index.row_positions import RowPositions
from app.index.snapshot import ROWS
from app.problems import IndexEngineRefuses, Unavailable
from models.portable import Distance, sync

_PARTIAL = ".partial-"
_NEIGHBOURS, _SAMPLE, _SEED = 10, 256, 11  # recall is measured at, with so many rows
_WIDEST = 4096  # ef
_MOST_CLUSTERS = 65_536
_LONGEST_NAME = 150  # characters of a gallery's, in a collection's of 255 at most

log = structlog.get_logger(__name__)


def publish_to_milvus(
    server: MilvusServer,
    prefix: str,
    folder: Path,
    batches: Iterable[tuple[RowIds, Vectors]],
    *,
    metric: Distance,
    dimension: int,
    version: int,
    options: IndexOptions,
) -> Path:
    """Loads one store version and returns the directory in `folder` that names it, for `MilvusSnapshot.load`.

    batches: row ids (n,) int64 and vectors (n, d) float32, read once; no id may come twice. Memory holds one batch and
    8 bytes a row. Raises ValueError where a batch is otherwise, and Unavailable; then nothing is published.
    """
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{_PARTIAL}{uuid.uuid4().hex}"
    partial.mkdir()
    gallery = milvus_name(folder.parent.parent.name)[:_LONGEST_NAME]
    collection = CollectionName(f"{prefix}_{gallery}_{folder.name}_{version}_{uuid.uuid4().hex[:12]}", 0.0)
    collection.write(partial)
    for path in (*partial.iterdir(), partial, folder):
        sync(path)
    try:
        rows, zeros, longest = _load(server, collection.name, batches, metric, dimension, version)
        dataclasses.replace(collection, loaded_at=time.time()).write(partial)
        reached(Failpoint.INDEX_COLLECTION_LOADED)
        every = np.concatenate([np.sort(rows), np.sort(zeros)])
        RowPositions(every)  # refuses ids that are negative or come twice
        (partial / ROWS).write_bytes(every.data)
        kind = _kind_for(options, len(rows)) if metric == "cosine" else "flat"
        server.build(collection.name, KINDS[kind], _parameters(kind, options, len(rows)))
        if (held := server.count(collection.name)) != len(rows):
            raise IndexEngineRefuses(f"Milvus holds {held} rows of {len(rows)} that were inserted.")
        manifest = Manifest(
            version=version,
            metric=metric,
            dimension=dimension,
            rows=len(every),
            zero_rows=len(zeros),
            dead=0,
            longest=longest,
            kind=kind,
            options=options,
            tuned={},
            created_at=datetime.now(UTC).isoformat(),
            files={path.name: Digest.of(path) for path in sorted(partial.iterdir())},
        )
        if kind != "flat":
            manifest = dataclasses.replace(manifest, tuned=_tuned(MilvusSnapshot.of(partial, manifest, server)))
        (partial / FILE).write_text(manifest.dump())
        reached(Failpoint.INDEX_MANIFEST_WRITTEN)
        for path in (*partial.iterdir(), partial):
            sync(path)
        reached(Failpoint.INDEX_SYNCED)
        published = folder / manifest.name
        partial.rename(published)
        reached(Failpoint.INDEX_RENAMED)
    except BaseException:
        _abandon(server, collection.name, partial)
        raise
    sync(folder)
    reached(Failpoint.INDEX_PUBLISHED)
    return published


def tune_in_milvus(
    snapshot: MilvusSnapshot, queries: Vectors, score: Distance, neighbours: int
) -> tuple[Tuned, Tuned] | None:
    """As `effort.tune`."""
    own = snapshot.manifest.tuning(score)
    if own is None:
        return None
    indexed = as_indexed(queries, score)[0]
    with one_thread():
        truth = snapshot.scan(indexed, neighbours, score).rows
    wanted = snapshot.manifest.options.recall_for(snapshot.manifest.rows)
    before = _least(snapshot, indexed, truth, score, [own.effort], 0.0)
    if before.recall >= wanted:
        return before, before
    harder = (effort for effort in _efforts(snapshot) if effort > own.effort)
    return before, _least(snapshot, indexed, truth, score, [own.effort, *harder], wanted)


def milvus_name(text: str) -> str:
    """A text as part of a name in Milvus, where letters, digits and `_` may stand: no two texts become the same."""
    return re.sub(r"[^a-zA-Z0-9]", lambda match: f"_{ord(match[0]):02x}", text)


def _load(
    server: MilvusServer,
    collection: str,
    batches: Iterable[tuple[RowIds, Vectors]],
    metric: Distance,
    dimension: int,
    version: int,
) -> tuple[RowIds, RowIds, float]:
    """Inserts the vectors that have a direction; their rows, the other rows, and the greatest length."""
    unit = metric == "cosine"
    what = f"A generation of a Crosswalk gallery, with its items as of version {version}"
    server.create(collection, dimension if unit else dimension + 1, what)
    ranked_rows: list[RowIds] = [np.empty(0, np.int64)]
    zero_rows: list[RowIds] = [np.empty(0, np.int64)]
    longest = 0.0
    for batch, given in batches:
        rows, vectors = np.asarray(batch, np.int64), np.ascontiguousarray(given, np.float32)
        if vectors.shape != (len(rows), dimension):
            raise ValueError(f"vectors are ({len(rows)}, {dimension}), not {vectors.shape}")
        indexed, ranked, length = as_indexed(vectors, metric)
        longest = max(longest, length)
        ranked_rows.append(rows[ranked])
        zero_rows.append(rows[~ranked])
        server.insert(collection, rows[ranked], stored(indexed[ranked], unit))
    return np.concatenate(ranked_rows), np.concatenate(zero_rows), longest


def _kind_for(options: IndexOptions, rows: int) -> Kind:
    """As the options say, but for lists of bits, which Milvus Lite does not have: they are of bytes in any Milvus."""
    kind = options.kind_for(rows)
    return "ivf_sq8" if kind == "ivf_rabitq" else kind


def _parameters(kind: Kind, options: IndexOptions, rows: int) -> dict[str, int]:
    """What Milvus is told of an index of a kind."""
    if kind == "hnsw":
        return {"M": options.m, "efConstruction": options.ef_construction}
    return {} if kind == "flat" else {"nlist": min(options.nlist_for(rows), _MOST_CLUSTERS)}


def _tuned(snapshot: MilvusSnapshot) -> dict[Literal["ip", "l2"], Tuned]:
    """The least effort that reaches the recall asked for, measured with rows of the index, each but itself.

    It is the same for every score: unit vectors are ordered alike by all.
    """
    options, count = snapshot.manifest.options, snapshot.block.ranked.size
    chosen = np.sort(np.random.default_rng(_SEED).choice(count, min(_SAMPLE, count), replace=False))
    queries = snapshot.vectors_at(chosen)
    with one_thread():
        truth = snapshot.scan(queries, _NEIGHBOURS + 1, "ip").rows
    given = options.effort_for(snapshot.manifest.kind)
    efforts = [given] if given else _efforts(snapshot)
    tuned = _least(snapshot, queries, truth, "ip", efforts, options.recall_for(count))
    return {"ip": tuned, "l2": tuned}


def _efforts(snapshot: MilvusSnapshot) -> Iterator[int]:
    """Efforts worth trying, each twice the one before."""
    options, rows = snapshot.manifest.options, snapshot.block.ranked.size
    nlist = min(options.nlist_for(rows), _MOST_CLUSTERS)
    effort, last = (64, _WIDEST) if snapshot.manifest.kind == "hnsw" else (min(8, nlist), nlist)
    while effort < last:
        yield effort
        effort *= 2
    yield last


def _least(
    snapshot: MilvusSnapshot, queries: Vectors, truth: RowIds, score: Distance, efforts: Iterable[int], wanted: float
) -> Tuned:
    """The first of the rising efforts whose share of the true rows (m, k) is above the one wanted by its standard error
    at least, or else the last, and its share."""
    manifest = snapshot.manifest
    for effort in efforts:
        trial = dataclasses.replace(manifest, tuned={"ip": Tuned(effort, 0.0), "l2": Tuned(effort, 0.0)})
        rows = dataclasses.replace(snapshot, manifest=trial).search(snapshot.block, queries, truth.shape[1], score).rows
        each = np.array([np.isin(true, one).mean() for true, one in zip(truth, rows, strict=True)])
        if each.mean() - each.std() / np.sqrt(len(each)) >= wanted:
            break
    return Tuned(effort, float(each.mean()))


def _abandon(server: MilvusServer, collection: str, partial: Path) -> None:
    """Removes what will not be published; where Milvus is away, the directory stays, which names what is left there."""
    try:
        server.drop(collection)
    except Unavailable:
        log.warning("a collection stays until leftovers are swept", collection=collection)
    else:
        shutil.rmtree(partial, ignore_errors=True)
