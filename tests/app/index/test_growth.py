"""A graph grown by what was written since it was published, and when it is better built anew."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from app.index import IndexOptions, LiveIndex, RowIds, Snapshot, Vectors, grow, publish
from app.index.manifest import Trial
from tests.app.index.conftest import DIMENSION, gallery, questions
from tests.app.index.oracle import Oracle, assert_scores_true

GRAPH = IndexOptions(kind="hnsw", m=8, ef_construction=40)
NONE = np.empty(0, np.int64)


def first(folder: Path, rows: RowIds, vectors: Vectors, options: IndexOptions = GRAPH) -> Snapshot:
    path = publish(folder, [(rows, vectors)], metric="cosine", dimension=DIMENSION, version=1, options=options)
    return Snapshot.load(path)


def test_a_graph_grown_twice_holds_what_is_true_and_finds_nothing_else(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    rows, vectors = gallery(random, 4_000)
    vectors[[5, 3_000]] = 0
    snapshot, oracle = first(tmp_path, rows[:2_000], vectors[:2_000]), Oracle("cosine", rows[:2_000], vectors[:2_000])
    for version, (start, end) in enumerate(((2_000, 2_900), (2_900, 4_000)), 2):
        written, removed = np.r_[start - 100 : start, start:end], rows[start - 300 : start - 150]
        news = vectors[written] + questions(random, len(written)) * (rows[written] % 2)[:, None].astype(np.float32)
        path = grow(tmp_path, snapshot, rows[written], news, removed, version=version, options=GRAPH)
        assert path is not None
        snapshot = Snapshot.load(path)
        oracle.remove(removed)
        oracle.upsert(rows[written], news)
    held, truth = oracle.batch()
    assert snapshot.manifest.dead == 2 * 250
    assert (snapshot.manifest.rows, set(snapshot.rows.tolist())) == (len(held), set(held.tolist()))
    index = LiveIndex("cosine", DIMENSION, snapshot=snapshot)
    assert len(index) == len(held)
    units = truth / np.maximum(np.linalg.norm(truth, axis=1, keepdims=True), 1e-30)
    np.testing.assert_allclose(index.held(held).vectors, units, rtol=1e-6, atol=1e-7)
    queries = questions(random, 40)
    hits = index.search(queries, 10)
    assert_scores_true(hits, oracle, queries, "cosine")
    true = [{row for _, row in oracle.ranking(query, "cosine")[:10]} for query in queries]
    found = [len(wanted & set(row.tolist())) / 10 for wanted, row in zip(true, hits.rows, strict=True)]
    assert np.mean(found) >= 0.95
    assert snapshot.manifest.recall >= 0.97


@pytest.mark.parametrize(
    "why", ["exact", "other options", "few are new", "most are new", "many would be dead", "too slow"]
)
def test_where_it_is_better_built_anew_nothing_is_published(why: str, tmp_path: Path) -> None:
    rows, vectors = gallery(np.random.default_rng(1), 5_000)
    snapshot = first(tmp_path, rows[:2_000], vectors[:2_000], IndexOptions(kind="flat") if why == "exact" else GRAPH)
    asked = IndexOptions(kind="hnsw", m=9) if why == "other options" else snapshot.manifest.options
    if why == "too slow":
        slow = Trial("hnsw", 2_000, 40, 0.99, ms=1.1, exact_ms=1.0)
        asked = IndexOptions(exact_rows=1_000)
        snapshot = dataclasses.replace(
            snapshot, manifest=dataclasses.replace(snapshot.manifest, trial=slow, options=asked)
        )
    end = {"few are new": 2_200, "most are new": 4_500}.get(why, 2_500)
    removed = rows[:700] if why == "many would be dead" else NONE
    news = rows[2_000:end], vectors[2_000:end]
    assert grow(tmp_path, snapshot, *news, removed, version=2, options=asked) is None
    assert list(tmp_path.iterdir()) == [snapshot.directory]
