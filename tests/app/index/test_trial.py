"""What `auto` takes: what answers sooner on these vectors, whatever their number."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.faiss_library import faiss
from app.index import IndexOptions, Kind, LiveIndex, Manifest, Snapshot, Vectors, publish
from app.index.manifest import Trial
from app.index.trial import Choice
from tests.app.index.conftest import questions

AUTO = IndexOptions(exact_rows=1_000, m=8, ef_construction=40)
COUNT, WIDE = 4_000, 64


def in_clusters(random: np.random.Generator, count: int) -> Vectors:
    centres = np.random.default_rng(0).standard_normal((40, 4))
    latent = centres[random.integers(40, size=count)] + 0.3 * random.standard_normal((count, 4))
    return (latent @ np.random.default_rng(1).standard_normal((4, WIDE))).astype(np.float32)


def without_structure(random: np.random.Generator, count: int) -> Vectors:
    return random.standard_normal((count, WIDE)).astype(np.float32)


def built(folder: Path, vectors: Vectors, options: IndexOptions = AUTO, before: Manifest | None = None) -> Snapshot:
    batches = [(np.arange(len(vectors)), vectors)]
    shape = {"metric": "cosine", "dimension": vectors.shape[1]}
    return Snapshot.load(publish(folder, batches, **shape, version=1, options=options, before=before))


def compared(snapshot: Snapshot, queries: Vectors) -> float:
    """With how many rows a graph compares each query."""
    faiss.cvar.hnsw_stats.reset()
    LiveIndex("cosine", WIDE, snapshot=snapshot).search(queries, 10)
    return float(faiss.cvar.hnsw_stats.ndis) / len(queries)


def test_a_graph_looks_at_many_times_more_rows_where_vectors_have_no_structure(tmp_path: Path) -> None:
    graph = replace(AUTO, kind="hnsw")
    made = (in_clusters, without_structure)
    seen = [
        compared(built(tmp_path, one(np.random.default_rng(2), COUNT), graph), one(np.random.default_rng(3), 50))
        for one in made
    ]
    assert 4 * seen[0] < seen[1]
    assert seen[1] > COUNT / 4


@pytest.mark.parametrize("made", [in_clusters, without_structure])
def test_the_kind_is_the_one_that_was_measured_to_be_faster(
    made: Callable[[np.random.Generator, int], Vectors], tmp_path: Path
) -> None:
    vectors = made(np.random.default_rng(2), COUNT)
    snapshot = built(tmp_path, vectors)
    manifest = snapshot.manifest
    trial = manifest.trial
    assert trial is not None
    assert (trial.kind, trial.rows) == ("hnsw", COUNT - 256)
    assert trial.recall >= 0.99
    assert min(trial.ms, trial.exact_ms) > 0
    assert manifest.kind == ("hnsw" if Choice(AUTO, None).takes(trial) else "flat")
    assert (snapshot.directory / "index.faiss").exists() == (manifest.kind == "hnsw")
    index = LiveIndex("cosine", WIDE, snapshot=snapshot)
    assert len(index) == COUNT
    assert (index.search(vectors[:20], 1).rows[:, 0] == np.arange(20)).sum() >= 18  # a graph finds 99 % of them


def manifest_of(kind: Kind, trial: Trial | None, snapshot: Snapshot) -> Manifest:
    return replace(snapshot.manifest, kind=kind, trial=trial, options=AUTO)


def test_what_was_chosen_before_is_kept_where_both_are_about_as_fast(tmp_path: Path) -> None:
    flat = built(tmp_path, questions(np.random.default_rng(1), 20))
    slower = Trial("hnsw", 4_000, 40, 0.99, 1.1, 1.0)
    a_little_faster, faster = replace(slower, ms=0.9), replace(slower, ms=0.7)
    new = Choice.of(AUTO, None)
    of_a_graph = Choice.of(AUTO, manifest_of("hnsw", faster, flat))
    of_none = Choice.of(AUTO, manifest_of("flat", slower, flat))
    for trial, taken in ((slower, [False] * 3), (a_little_faster, [False, True, False]), (faster, [True] * 3)):
        assert [choice.takes(trial) for choice in (new, of_a_graph, of_none)] == taken


def test_a_graph_that_was_too_slow_is_built_again_only_once_the_rows_have_doubled(tmp_path: Path) -> None:
    flat = built(tmp_path, questions(np.random.default_rng(1), 20))
    slower = Trial("hnsw", 4_000, 40, 0.99, 1.1, 1.0)
    before = manifest_of("flat", slower, flat)
    choice = Choice.of(AUTO, before)
    assert [choice.kind_to_build(rows) for rows in (900, 4_500, 7_999, 8_000)] == ["flat", "flat", "flat", "hnsw"]
    assert Choice.of(replace(AUTO, recall=0.9), before).kind_to_build(4_500) == "hnsw"
    assert Choice.of(AUTO, manifest_of("flat", None, flat)).kind_to_build(4_500) == "hnsw"
    assert Choice.of(replace(AUTO, kind="hnsw"), before).kind_to_build(4_500) == "hnsw"
    again = built(tmp_path, without_structure(np.random.default_rng(2), 4_500), before=before).manifest
    assert (again.kind, again.trial) == ("flat", slower)
