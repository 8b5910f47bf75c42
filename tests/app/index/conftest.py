"""Index engines under the contract: each makes an index that holds given rows."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from app.index import IndexEngine, IndexOptions, LiveIndex, RowIds, Snapshot, VectorIndex, Vectors, grow, publish
from app.settings import Settings
from models.portable import Distance
from tests.app.index.oracle import Oracle
from tests.services import MilvusProcess

DIMENSION = 12
COUNT = 2_400
METRICS: tuple[Distance, ...] = ("cosine", "ip", "l2")

Make = Callable[[Distance, RowIds, Vectors, Path], VectorIndex]


def in_memory(metric: Distance, rows: RowIds, vectors: Vectors, folder: Path) -> LiveIndex:
    index = LiveIndex(metric, vectors.shape[1])
    index.upsert(rows, vectors, version=1)
    return index


def published(options: IndexOptions) -> Make:
    def make(metric: Distance, rows: RowIds, vectors: Vectors, folder: Path) -> LiveIndex:
        batches = zip(np.array_split(rows, 5), np.array_split(vectors, 5), strict=True)
        directory = publish(folder, batches, metric=metric, dimension=vectors.shape[1], version=1, options=options)
        return LiveIndex(metric, vectors.shape[1], snapshot=Snapshot.load(directory))

    return make


def half_written_since(metric: Distance, rows: RowIds, vectors: Vectors, folder: Path) -> LiveIndex:
    return stale_half(IndexEngine(Settings()), metric, rows, vectors, folder)


def stale_half(engine: IndexEngine, metric: Distance, rows: RowIds, vectors: Vectors, folder: Path) -> LiveIndex:
    """Half the snapshot is stale, a part of it gone, and the delta holds what is true now."""
    half = len(rows) // 2
    stale = np.concatenate([vectors[:half], vectors[:half][::-1]])
    gone = np.arange(50) + int(rows.max(initial=0)) + 1
    ones = np.ones((50, vectors.shape[1]), np.float32)
    batches = [(np.concatenate([rows[: len(stale)], gone]), np.concatenate([stale, ones]))]
    directory = engine.publish(
        folder, batches, metric=metric, dimension=vectors.shape[1], version=1, options=IndexOptions()
    )
    index = LiveIndex(metric, vectors.shape[1], snapshot=engine.open(directory))
    index.apply(rows[half:], vectors[half:], gone, version=2)
    return index


def milvus_engine(server: MilvusProcess) -> IndexEngine:
    return IndexEngine(Settings(**server.settings))


def in_milvus(server: MilvusProcess, options: IndexOptions) -> Make:
    def make(metric: Distance, rows: RowIds, vectors: Vectors, folder: Path) -> LiveIndex:
        engine, dimension = milvus_engine(server), vectors.shape[1]
        batches = zip(np.array_split(rows, 5), np.array_split(vectors, 5), strict=True)
        path = engine.publish(folder, batches, metric=metric, dimension=dimension, version=1, options=options)
        return LiveIndex(metric, dimension, snapshot=engine.open(path))

    return make


def half_in_milvus(server: MilvusProcess) -> Make:
    return partial(stale_half, milvus_engine(server))


def grown(metric: Distance, rows: RowIds, vectors: Vectors, folder: Path) -> LiveIndex:
    """A graph of most of the rows, some with vectors that they no longer have, and of others that are gone; grown to
    be as is true now, where there are enough."""
    options = IndexOptions(kind="hnsw", m=16, ef_construction=60)
    changed, old = len(rows) // 24, 4 * len(rows) // 5
    before = vectors[:old].copy()
    before[:changed] = vectors[:changed][::-1]
    gone = np.arange(50) + int(rows.max(initial=0)) + 1
    given = np.concatenate([rows[:old], gone]), np.concatenate([before, np.ones((50, vectors.shape[1]), np.float32)])
    shape = {"metric": metric, "dimension": vectors.shape[1]}
    base = Snapshot.load(publish(folder, [given], **shape, version=1, options=options))
    new = np.r_[0:changed, old : len(rows)]
    path = grow(folder, base, rows[new], vectors[new], gone, version=2, options=options)
    assert (path is None) == (len(rows) < COUNT // 2)
    path = path or publish(folder, [(rows, vectors)], **shape, version=2, options=options)
    return LiveIndex(metric, vectors.shape[1], snapshot=Snapshot.load(path))


EXACT: dict[str, Make] = {
    "delta": in_memory,
    "snapshot": published(IndexOptions(kind="flat")),
    "snapshot and delta": half_written_since,
}
APPROXIMATE: dict[str, Make] = {
    "inverted file": published(IndexOptions(kind="ivf_flat", nlist=60)),
    "quantised file": published(IndexOptions(kind="ivf_sq8", nlist=60)),
    "file of bits": published(IndexOptions(kind="ivf_rabitq", nlist=60)),
    "graph": published(IndexOptions(kind="hnsw", m=16, ef_construction=60)),
    "grown graph": grown,
}
EXACT_IN_MILVUS: dict[str, Callable[[MilvusProcess], Make]] = {
    "Milvus": partial(in_milvus, options=IndexOptions(kind="flat")),
    "Milvus and delta": half_in_milvus,
}
IN_MILVUS: dict[str, Callable[[MilvusProcess], Make]] = {
    "Milvus and delta": half_in_milvus,
    "Milvus graph": partial(in_milvus, options=IndexOptions(kind="hnsw", m=16, ef_construction=60)),
    "Milvus quantised file": partial(in_milvus, options=IndexOptions(kind="ivf_sq8", nlist=60, nprobe=30)),
}
ENGINES = [*EXACT, *APPROXIMATE, *IN_MILVUS]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of metrics other than cosine, Milvus has no approximate indexes: they would be tested as "Milvus" once more."""
    repeated = [item for item in items if isinstance(item, pytest.Function) and _compares_all_in_milvus(item)]
    config.hook.pytest_deselected(items=repeated)
    items[:] = [item for item in items if item not in repeated]


def _compares_all_in_milvus(item: pytest.Function) -> bool:
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    approximate = parameters.get("engine") in IN_MILVUS.keys() - EXACT_IN_MILVUS.keys()
    return approximate and (parameters.get("metric", "cosine") != "cosine" or "filled_l2" in item.fixturenames)


def maker(name: str, request: pytest.FixtureRequest) -> Make:
    """What makes indexes of an engine."""
    if name in EXACT_IN_MILVUS | IN_MILVUS:
        return (EXACT_IN_MILVUS | IN_MILVUS)[name](request.getfixturevalue("milvus"))
    return (EXACT | APPROXIMATE)[name]


@pytest.fixture(params=METRICS)
def metric(request: pytest.FixtureRequest) -> Distance:
    chosen: Distance = request.param
    return chosen


@pytest.fixture(params=[*EXACT, *EXACT_IN_MILVUS])
def exact(request: pytest.FixtureRequest) -> Make:
    return maker(request.param, request)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Make:
    return maker(request.param, request)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(3)


def gallery(random: np.random.Generator, count: int = COUNT) -> tuple[RowIds, Vectors]:
    """Clustered vectors of unlike lengths, under ids that are neither dense nor in order."""
    centres = random.standard_normal((20, DIMENSION))
    vectors = centres[random.integers(20, size=count)] + 0.6 * random.standard_normal((count, DIMENSION))
    rows = random.choice(2**40, count, replace=False) + 2**61
    return rows, vectors.astype(np.float32)


def questions(random: np.random.Generator, count: int = 24) -> Vectors:
    return (2 * random.standard_normal((count, DIMENSION))).astype(np.float32)


@pytest.fixture
def filled_l2(engine: Make, random: np.random.Generator, tmp_path: Path) -> tuple[VectorIndex, Oracle]:
    """An index of any engine that compares by L2, for claims that say nothing of distances, and its oracle."""
    rows, vectors = gallery(random)
    return engine("l2", rows, vectors, tmp_path), Oracle("l2", rows, vectors)


@pytest.fixture
def filled(engine: Make, metric: Distance, random: np.random.Generator, tmp_path: Path) -> tuple[VectorIndex, Oracle]:
    """An index of any engine, and the oracle that knows what is in it."""
    rows, vectors = gallery(random)
    return engine(metric, rows, vectors, tmp_path), Oracle(metric, rows, vectors)
