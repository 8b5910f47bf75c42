"""What is particular to indexes in Milvus: its limits, its failures, and that nothing stays there that nobody names."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import numpy as np
import psutil
import pytest
from pydantic import SecretStr

from app.index import CorruptIndex, IndexEngine, IndexOptions, LiveIndex, RowIds, Vectors
from app.index.milvus import COLLECTION, CollectionName
from app.index.milvus_server import MilvusAddress, MilvusServer
from app.problems import IndexEngineAway, IndexLost
from app.settings import Settings
from models.portable import Distance
from tests.app.index.conftest import DIMENSION, gallery, half_in_milvus, half_written_since, milvus_engine, questions
from tests.app.index.oracle import Oracle, assert_same
from tests.services import MilvusProcess
from tests.waiting import PATIENCE_SECONDS, wait_until

Done = TypeVar("Done")
NewMilvus = Callable[[str], MilvusProcess]


@pytest.fixture
def new_milvus(tmp_path: Path, milvus_installed: None) -> Iterator[NewMilvus]:
    """Starts servers of the test's own, with the token that they ask for."""
    started: list[MilvusProcess] = []

    def start(token: str) -> MilvusProcess:
        started.append(MilvusProcess(tmp_path / f"milvus-{len(started)}", token))
        started[-1].start()
        return started[-1]

    yield start
    for server in started:
        server.kill()


def published(
    engine: IndexEngine, folder: Path, rows: RowIds, vectors: Vectors, metric: Distance = "l2", kind: str = "flat"
) -> Path:
    options = IndexOptions(kind=kind)  # type: ignore[arg-type]  # one of them
    batches = [(rows, vectors)]
    return engine.publish(folder, batches, metric=metric, dimension=vectors.shape[1], version=1, options=options)


def opened(engine: IndexEngine, path: Path) -> LiveIndex:
    index = engine.open(path)
    return LiveIndex(index.manifest.metric, index.manifest.dimension, snapshot=index)


def collections(server: MilvusProcess) -> set[str]:
    from pymilvus import MilvusClient

    return set(MilvusClient(server.uri).list_collections())


def answers(engine: IndexEngine) -> bool:
    assert engine.server is not None
    try:
        return engine.server.answers()
    except IndexEngineAway:
        return False


def in_time(do: Callable[[], Done]) -> Done:
    """What is done, again and again where a busy machine has Milvus answer later than an impatient engine waits."""
    done: list[Done] = []

    def was_done() -> bool:
        with suppress(IndexEngineAway):
            done.append(do())
        return bool(done)

    wait_until(was_done, "Milvus to answer in time")
    return done[0]


def test_both_engines_answer_alike_to_the_bit(
    milvus: MilvusProcess, metric: Distance, random: np.random.Generator, tmp_path: Path
) -> None:
    (rows, vectors), queries = gallery(random, 1_500), questions(random)
    vectors[7] = 0
    one = half_written_since(metric, rows, vectors, tmp_path / "faiss")
    other = half_in_milvus(milvus)(metric, rows, vectors, tmp_path / "milvus")
    allowed = random.choice(rows, 700, replace=False)
    for score in sorted(one.scores):
        assert_same(one.search(queries, 10, score_as=score), other.search(queries, 10, score_as=score))
        filtered = [index.search(queries, 30, score_as=score, allowed=allowed) for index in (one, other)]
        assert_same(*filtered)
    np.testing.assert_array_equal(one.held(rows[:900]).vectors, other.held(rows[:900]).vectors)


def test_whatever_is_written_over_a_row_that_milvus_keeps_takes_its_place(
    milvus: MilvusProcess, metric: Distance, random: np.random.Generator, tmp_path: Path
) -> None:
    rows, vectors = gallery(random, 60)
    vectors[7] = 0
    index = opened(milvus_engine(milvus), published(milvus_engine(milvus), tmp_path, rows, vectors, metric))
    expected = index.held(rows[4:8]).vectors
    index.upsert(rows[:4], np.zeros((4, DIMENSION), np.float32), version=2)
    index.upsert(rows[4:8], vectors[4:8], version=3)
    held = index.held(rows[:8])
    assert held.versions.tolist() == [2] * 4 + [3] * 4
    assert not held.vectors[:4].any()
    np.testing.assert_array_equal(held.vectors[4:], expected)


def test_equal_rows_are_told_apart_by_their_ids_where_they_are_more_than_milvus_gives(
    milvus: MilvusProcess, tmp_path: Path
) -> None:
    rows = np.random.default_rng(5).permutation(18_000)
    vectors = np.ones((18_000, 2), np.float32)
    vectors[rows < 100] = 2
    index = opened(milvus_engine(milvus), published(milvus_engine(milvus), tmp_path, rows, vectors))
    hits = index.search(np.ones((1, 2), np.float32), 10_000)
    np.testing.assert_array_equal(hits.rows[0], 100 + np.arange(10_000))


def test_what_a_filter_names_is_found_where_it_is_far_off_and_lists_are_longer_than_milvus_takes(
    milvus: MilvusProcess, tmp_path: Path
) -> None:
    random = np.random.default_rng(6)
    vectors = random.standard_normal((36_000, 2)).astype(np.float32)
    rows, near = np.arange(36_000) * 3, vectors[:, 0] > 0
    index = opened(milvus_engine(milvus), published(milvus_engine(milvus), tmp_path, rows, vectors))
    query = np.array([[9.0, 0.0]], np.float32)
    hits = index.search(query, 10, allowed=rows[~near])
    truth = np.flatnonzero(~near)[np.argsort(np.linalg.norm(vectors[~near] - query, axis=1))[:10]]
    np.testing.assert_array_equal(hits.rows[0], rows[truth])


@pytest.mark.parametrize(
    ("asked", "kind"), [*((kind, kind) for kind in ("hnsw", "ivf_flat", "ivf_sq8")), ("ivf_rabitq", "ivf_sq8")]
)
def test_approximate_index_is_tuned_to_the_recall_asked_for(
    milvus: MilvusProcess, random: np.random.Generator, tmp_path: Path, asked: str, kind: str
) -> None:
    (rows, vectors), engine = gallery(random, 4_000), milvus_engine(milvus)
    index = engine.open(published(engine, tmp_path, rows, vectors, "cosine", asked))
    assert index.manifest.kind == kind
    assert index.manifest.recall >= 0.99
    queries = questions(random)
    tuned = engine.tune(index, queries, "cosine", 10)
    assert tuned is not None
    oracle = Oracle("cosine", rows, vectors)
    found = opened(engine, index.directory).search(queries, 10, effort=tuned[1].effort).rows
    truth = [{row for _, row in oracle.ranking(query, "cosine")[:10]} for query in queries]
    recall = np.mean([len(true & set(one.tolist())) / 10 for true, one in zip(truth, found, strict=True)])
    assert recall == pytest.approx(tuned[1].recall)
    assert recall >= 0.99


def test_what_is_not_published_leaves_nothing_in_milvus(
    milvus: MilvusProcess, random: np.random.Generator, tmp_path: Path
) -> None:
    before, engine = collections(milvus), milvus_engine(milvus)
    rows, vectors = gallery(random, 50)
    with pytest.raises(ValueError, match="appears twice"):
        published(engine, tmp_path, np.concatenate([rows, rows]), np.concatenate([vectors, vectors]))
    assert list(tmp_path.iterdir()) == []
    assert collections(milvus) == before


def test_superseded_and_half_loaded_collections_go_and_the_others_stay(
    milvus: MilvusProcess, random: np.random.Generator, tmp_path: Path
) -> None:
    engine, (rows, vectors), folder = milvus_engine(milvus), gallery(random, 50), tmp_path / "g-1a2b" / "indexes" / "2"
    old, new = published(engine, folder, rows, vectors), published(engine, folder, rows, 2 * vectors)
    names = [CollectionName.read(path).name for path in (old, new)]
    engine.show_active("g", old)
    killed = folder / ".partial-of-a-process-that-was-killed"
    killed.mkdir()
    CollectionName(f"{names[0]}x", 0.0).write(killed)
    server = MilvusServer(MilvusAddress(milvus.uri, None, PATIENCE_SECONDS))
    server.create(f"{names[0]}x", 3, "half loaded")
    engine.show_active("g", new)
    engine.prune(folder, [new.name])
    assert list(folder.iterdir()) == [new]
    assert {name for name in collections(milvus) if names[0] in name} == set()
    assert server.count("crosswalk_g") == 50, "the alias leads to the new one"
    engine.show_active("g", None)
    assert server.count("crosswalk_g") is None, "the alias leads nowhere while no collection answers"
    engine.show_active("g", new)
    assert engine.releasing().release(tmp_path / "g-1a2b")
    assert names[1] not in collections(milvus)
    assert server.count("crosswalk_g") is None


def test_search_without_milvus_is_refused_until_it_is_back(
    new_milvus: NewMilvus, random: np.random.Generator, tmp_path: Path
) -> None:
    server = new_milvus("")
    engine = IndexEngine(Settings(**server.settings | {"milvus_timeout_seconds": 2.0}))
    (rows, vectors), queries = gallery(random, 300), questions(random)
    path = published(milvus_engine(server), tmp_path / "indexes", rows, vectors)
    index = in_time(lambda: opened(engine, path))
    before = in_time(lambda: index.search(queries, 10))
    process = psutil.Process(server.pid)
    process.suspend()  # it takes connections, and never answers
    with pytest.raises(IndexEngineAway, match="CROSSWALK_MILVUS_URI"):
        index.search(queries, 10)
    process.resume()
    assert_same(in_time(lambda: index.search(queries, 10)), before)
    server.kill()
    with pytest.raises(IndexEngineAway) as caught:
        index.search(queries, 10)
    assert (caught.value.status, caught.value.headers) == (503, {"Retry-After": "5"})
    for call in (lambda: engine.open(path), lambda: published(engine, tmp_path / "more", rows, vectors)):
        with pytest.raises(IndexEngineAway):
            call()
    server.start()
    wait_until(lambda: answers(engine), "Milvus to be found again")
    assert_same(in_time(lambda: index.search(queries, 10)), before)
    assert_same(in_time(lambda: opened(engine, path).search(queries, 10)), before)
    assert milvus_engine(server).releasing().release(tmp_path / "more"), "what was to be published is swept"


def test_wrong_token_is_told_by_the_name_of_its_setting_and_shown_nowhere(
    new_milvus: NewMilvus, capfd: pytest.CaptureFixture[str], random: np.random.Generator, tmp_path: Path
) -> None:
    server = new_milvus("right-token")
    rows, vectors = gallery(random, 20)
    given = {
        token: Settings(index_engine="milvus", milvus_uri=server.uri, milvus_token=SecretStr(token))
        for token in ("right-token", "wrong-token")
    }
    path = published(IndexEngine(given["right-token"]), tmp_path, rows, vectors)
    with pytest.raises(IndexEngineAway, match="CROSSWALK_MILVUS_TOKEN") as caught:
        IndexEngine(given["wrong-token"]).open(path)
    seen = capfd.readouterr()
    assert "wrong-token" not in f"{caught.value.detail} {given['wrong-token']!r} {seen.out} {seen.err}"
    assert "wrong-token" not in given["wrong-token"].model_dump_json()


def test_collection_that_somebody_dropped_is_told_once_and_then_known_to_be_gone(
    milvus: MilvusProcess, random: np.random.Generator, tmp_path: Path
) -> None:
    engine, (rows, vectors) = milvus_engine(milvus), gallery(random, 300)
    path = published(engine, tmp_path, rows, vectors)
    index = opened(engine, path)
    MilvusServer(MilvusAddress(milvus.uri, None, PATIENCE_SECONDS)).drop(CollectionName.read(path).name)
    with pytest.raises(IndexLost):
        index.search(questions(random), 3)
    assert index.lost
    with pytest.raises(CorruptIndex, match="no collection"):
        engine.open(path)


def test_collection_with_fewer_rows_than_were_published_is_not_opened(
    milvus: MilvusProcess, random: np.random.Generator, tmp_path: Path
) -> None:
    from pymilvus import MilvusClient

    engine, (rows, vectors) = milvus_engine(milvus), gallery(random, 30)
    path = published(engine, tmp_path, rows, vectors)
    MilvusClient(milvus.uri).delete(CollectionName.read(path).name, ids=rows[:1].tolist())
    with pytest.raises(CorruptIndex, match="29 rows"):
        engine.open(path)


def test_index_of_one_engine_is_known_to_the_other(
    milvus: MilvusProcess, random: np.random.Generator, tmp_path: Path
) -> None:
    (rows, vectors), queries = gallery(random, 60), questions(random)
    faiss, other = IndexEngine(Settings()), milvus_engine(milvus)
    in_files, in_milvus = published(faiss, tmp_path, rows, vectors), published(other, tmp_path, rows, vectors)
    assert (in_milvus / COLLECTION).exists()
    assert_same(opened(other, in_files).search(queries, 5), opened(other, in_milvus).search(queries, 5))
    assert not other.is_own(other.open(in_files))
    with pytest.raises(CorruptIndex, match="CROSSWALK_MILVUS_URI"):
        faiss.open(in_milvus)
    assert not faiss.releasing().release(in_milvus), "its collection cannot be dropped"


def test_settings_say_what_is_missing() -> None:
    with pytest.raises(ValueError, match="milvus_uri must say"):
        Settings(index_engine="milvus")
    with pytest.raises(ValueError, match="milvus_uri"):
        Settings(index_engine="milvus", milvus_uri="http://user:secret@milvus:19530")


def test_token_reaches_the_other_processes_of_a_gateway() -> None:
    settings = Settings(milvus_uri="http://milvus:19530", milvus_token=SecretStr("right-token"))
    received = pickle.loads(pickle.dumps(settings))
    assert received.milvus_token.get_secret_value() == "right-token"


def test_gateway_that_needs_no_milvus_imports_nothing_of_it() -> None:
    code = (
        "import sys, app.main, app.settings as s; app.main.create_app(s.Settings()); print('pymilvus' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False"], ran.stderr
