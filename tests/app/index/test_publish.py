"""Published wholly or not at all, verified when loaded, and never cleared before the next is there."""

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from app.index import CorruptIndex, IndexOptions, LiveIndex, RowIds, Snapshot, Vectors, prune, publish, tune
from app.index.protocol import AskedKind
from models.portable import Distance
from tests.app.index.conftest import DIMENSION, gallery, questions
from tests.app.index.oracle import assert_same

KINDS = {
    "flat": IndexOptions(kind="flat"),
    "ivf_flat": IndexOptions(kind="ivf_flat", nlist=40),
    "ivf_sq8": IndexOptions(kind="ivf_sq8", nlist=40),
    "ivf_rabitq": IndexOptions(kind="ivf_rabitq", nlist=40),
    "hnsw": IndexOptions(kind="hnsw", m=8, ef_construction=40),
}
FILES = [
    *((kind, name) for kind in KINDS for name in ("vectors.f32", "rows.i64", "order.i64", "manifest.json")),
    *((kind, "index.faiss") for kind in KINDS if kind != "flat"),
]


def published(folder: Path, kind: str = "flat", version: int = 1, count: int = 1_500) -> Path:
    rows, vectors = gallery(np.random.default_rng(1), count)
    vectors[:2] = 0
    batches = [(rows[:700], vectors[:700]), (rows[700:], vectors[700:])]
    return publish(folder, batches, metric="cosine", dimension=DIMENSION, version=version, options=KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_snapshot_answers_as_before_the_restart(kind: str, tmp_path: Path) -> None:
    directory, queries = published(tmp_path, kind), questions(np.random.default_rng(2))
    once, again = (LiveIndex("cosine", DIMENSION, snapshot=Snapshot.load(directory)) for _ in range(2))
    assert_same(once.search(queries, 10), again.search(queries, 10))


@pytest.mark.parametrize("kind", KINDS)
def test_the_manifest_says_what_was_built(kind: str, tmp_path: Path) -> None:
    manifest = Snapshot.load(published(tmp_path, kind, version=12)).manifest
    assert (manifest.version, manifest.metric, manifest.dimension) == (12, "cosine", DIMENSION)
    assert (manifest.rows, manifest.zero_rows) == (1_500, 2)
    assert (manifest.kind, manifest.options) == (kind, KINDS[kind])
    assert set(manifest.tuned) == (set() if kind == "flat" else {"ip", "l2"})
    assert manifest.recall >= 0.97
    names = {"flat": set(), "hnsw": {"m", "ef_construction", "ef_search"}}
    assert set(manifest.parameters) == names.get(kind, {"nlist", "nprobe"})
    assert manifest.bytes == sum(path.stat().st_size for path in tmp_path.glob("*/*") if path.name != "manifest.json")


def test_recall_aimed_at_is_less_above_a_million_rows_unless_it_is_given() -> None:
    assert [IndexOptions().recall_for(rows) for rows in (1_000_000, 1_000_001)] == [0.99, 0.95]
    assert IndexOptions(recall=0.8).recall_for(2_000_000) == 0.8


def test_recall_is_reached_unless_the_effort_is_fixed(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows, vectors = np.arange(4_000), random.standard_normal((4_000, 24)).astype(np.float32)

    def recall(**options: int | float) -> float:
        chosen = IndexOptions(kind="ivf_flat", **options)  # type: ignore[arg-type]
        path = publish(tmp_path, [(rows, vectors)], metric="l2", dimension=24, version=1, options=chosen)
        return Snapshot.load(path).manifest.recall

    assert recall(nprobe=1) < 0.5
    assert recall() >= 0.99
    assert 0.7 <= recall(recall=0.7) < recall()


def test_auto_is_exact_then_tries_a_graph_and_then_a_quantised_inverted_file(tmp_path: Path) -> None:
    rows, vectors = gallery(np.random.default_rng(0), 1_600)
    for exact_rows, graph_rows, kind in ((1_600, 0, "flat"), (1_599, 1_600, "hnsw"), (1_599, 1_599, "ivf_sq8")):
        options = IndexOptions(exact_rows=exact_rows, graph_rows=graph_rows)
        path = publish(tmp_path, [(rows, vectors)], metric="l2", dimension=DIMENSION, version=1, options=options)
        manifest = Snapshot.load(path).manifest
        assert (manifest.trial.kind if manifest.trial else "flat") == kind
    assert {IndexOptions(kind=kind).kind_for(999) for kind in get_args(AskedKind)} == {"flat"}


@pytest.mark.parametrize(("kind", "name"), FILES)
def test_any_flipped_byte_is_noticed(kind: str, name: str, tmp_path: Path) -> None:
    path = published(tmp_path, kind) / name
    whole = path.read_bytes()
    for at in np.random.default_rng(3).integers(len(whole), size=6).tolist():
        flipped = bytes([whole[at] ^ 0x01])
        path.write_bytes(whole[:at] + flipped + whole[at + 1 :])
        with pytest.raises(CorruptIndex):
            Snapshot.load(path.parent)
    path.write_bytes(whole)
    Snapshot.load(path.parent)


def test_altered_vectors_are_noticed_later_where_they_are_not_read_at_once(tmp_path: Path) -> None:
    directory = published(tmp_path, "hnsw")
    size, path = 1_498 * DIMENSION * 4, directory / "vectors.f32"
    assert Snapshot.load(directory, check_at_once=size).checked
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    with pytest.raises(CorruptIndex):
        Snapshot.load(directory, check_at_once=size)
    snapshot = Snapshot.load(directory, check_at_once=size - 1)
    assert not snapshot.checked
    with pytest.raises(CorruptIndex):
        snapshot.check_vectors()
    path.write_bytes(whole)
    snapshot.check_vectors()


@pytest.mark.parametrize(("kind", "name"), FILES)
def test_a_file_cut_short_grown_or_gone_is_noticed(kind: str, name: str, tmp_path: Path) -> None:
    path = published(tmp_path, kind) / name
    whole = path.read_bytes()
    for spoiled in (whole[:-1], whole[: len(whole) // 2], b"", whole + b"x"):
        path.write_bytes(spoiled)
        with pytest.raises(CorruptIndex):
            Snapshot.load(path.parent)
    path.unlink()
    with pytest.raises(CorruptIndex):
        Snapshot.load(path.parent)


@pytest.mark.parametrize("manifest", ["[]", "null", "7", '{"format": 1}', '{"checksum": 1, "format": 2}', "\x00"])
def test_a_manifest_that_is_none_is_noticed(manifest: str, tmp_path: Path) -> None:
    directory = published(tmp_path)
    (directory / "manifest.json").write_text(manifest)
    with pytest.raises(CorruptIndex):
        Snapshot.load(directory)


def test_a_manifest_rewritten_to_fit_other_files_no_longer_fits_its_name(tmp_path: Path) -> None:
    one, other = published(tmp_path, version=1), published(tmp_path, version=2)
    for path in other.iterdir():
        (one / path.name).write_bytes(path.read_bytes())
    with pytest.raises(CorruptIndex, match="name"):
        Snapshot.load(one)


def test_a_half_written_directory_is_no_index(tmp_path: Path) -> None:
    directory = published(tmp_path)
    with pytest.raises(CorruptIndex):
        Snapshot.load(tmp_path / "1-nowhere")
    (directory / "manifest.json").unlink()
    with pytest.raises(CorruptIndex):
        Snapshot.load(directory)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_that_breaks_publishes_nothing_and_leaves_the_old_index(kind: str, tmp_path: Path) -> None:
    before = published(tmp_path, kind)
    rows, vectors = gallery(np.random.default_rng(1))

    def broken() -> Iterator[tuple[RowIds, Vectors]]:
        yield rows, vectors
        raise ConnectionError("the store went away")

    def publish_these(batches: Iterator[tuple[RowIds, Vectors]]) -> None:
        publish(tmp_path, batches, metric="cosine", dimension=DIMENSION, version=2, options=KINDS[kind])

    with pytest.raises(ConnectionError):
        publish_these(broken())
    for wrong in [
        (rows, np.where(vectors > 2, np.nan, vectors)),
        (np.zeros_like(rows), vectors),
        (-rows, vectors),
        (rows[1:], vectors),
        (rows, vectors[:, 1:]),
    ]:
        with pytest.raises(ValueError, match=r"."):
            publish_these(iter([wrong]))
    assert list(tmp_path.iterdir()) == [before]
    Snapshot.load(before)


def test_the_old_index_goes_only_when_told_and_serves_on_where_it_is_open(tmp_path: Path) -> None:
    old = published(tmp_path, version=1)
    index, queries = LiveIndex("cosine", DIMENSION, snapshot=Snapshot.load(old)), questions(np.random.default_rng(2))
    before = index.search(queries, 10)
    new = published(tmp_path, version=2)
    (tmp_path / ".partial-left-by-a-crash").mkdir()
    assert old.exists()
    prune(tmp_path, {new.name})
    assert list(tmp_path.iterdir()) == [new]
    assert_same(index.search(queries, 10), before)


def test_the_same_version_published_twice_gets_two_names(tmp_path: Path) -> None:
    assert published(tmp_path) != published(tmp_path)


def test_vectors_stay_on_disk(tmp_path: Path) -> None:
    snapshot = Snapshot.load(published(tmp_path))
    assert not snapshot.block.vectors.flags.owndata
    assert not snapshot.block.vectors.flags.writeable
    assert snapshot.memory().mapped == 1_498 * DIMENSION * 4 + 2 * 1_500 * 8


def test_a_graph_keeps_its_links_alone_and_reads_the_one_copy_of_the_vectors(tmp_path: Path) -> None:
    directory = published(tmp_path, "hnsw")
    vectors = Snapshot.load(directory).block.vectors
    assert not any(one.tobytes() in (directory / "index.faiss").read_bytes() for one in vectors[::50])


@pytest.mark.parametrize(("metric", "answers"), [("cosine", {"ip", "l2"}), ("ip", {"ip"}), ("l2", {"l2"})])
def test_a_graph_answers_the_scores_that_order_its_rows_as_its_own_does(
    metric: Distance, answers: set[Distance], tmp_path: Path
) -> None:
    """The rest, where rows are of unlike lengths, are answered by looking at every row."""
    rows, vectors = gallery(np.random.default_rng(1))
    options = IndexOptions(kind="hnsw", m=8, ef_construction=40)
    path = publish(tmp_path, [(rows, vectors)], metric=metric, dimension=DIMENSION, version=1, options=options)
    graph = Snapshot.load(path).approximate
    assert graph is not None
    scores: tuple[Distance, ...] = ("ip", "l2")
    assert {score for score in scores if graph.propose(score, 64, len(rows)) is not None} == answers


def test_publishing_holds_one_batch_at_a_time(tmp_path: Path) -> None:
    random, size, count = np.random.default_rng(0), 2_000, 60
    tracemalloc.start()
    batches = (
        (np.arange(at * size, (at + 1) * size), random.standard_normal((size, 64)).astype(np.float32))
        for at in range(count)
    )
    options = IndexOptions(kind="flat")
    publish(tmp_path, batches, metric="cosine", dimension=64, version=1, options=options)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.3 * size * count * 64 * 4


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "pq"},
        {"exact_rows": -1},
        {"graph_rows": -1},
        {"nlist": 0},
        {"nprobe": 0},
        {"nlist": 10, "nprobe": 11},
        {"m": 1},
        {"ef_construction": 0},
        {"ef_search": 5_000},
        {"recall": 0},
        {"recall": 1.1},
    ],
    ids=json.dumps,
)
def test_options_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(reversed(wrong))):
        IndexOptions(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["ivf_flat", "hnsw"])
def test_queries_unlike_the_rows_get_the_effort_that_finds_what_the_index_promises(kind: str, tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    rows, vectors = gallery(random, 3_000)
    options = IndexOptions(kind="ivf_flat", nlist=200) if kind == "ivf_flat" else IndexOptions(kind="hnsw", m=16)
    snapshot = Snapshot.load(
        publish(tmp_path, [(rows, vectors)], metric="l2", dimension=DIMENSION, version=1, options=options)
    )
    strange = 6 * questions(random, 60)
    tuning = tune(snapshot, strange, "l2", 100)
    assert tuning is not None
    before, after = tuning
    assert before.recall < 0.99 <= after.recall
    assert before.effort < after.effort
    index, exact = LiveIndex("l2", DIMENSION, snapshot=snapshot), LiveIndex("l2", DIMENSION)
    exact.upsert(rows, vectors, version=1)
    truth = exact.search(strange, 100).rows
    for tuned in tuning:
        given = index.search(strange, 100, effort=tuned.effort).rows
        recall = np.mean([np.isin(one, other).mean() for one, other in zip(truth, given, strict=True)])
        assert recall == pytest.approx(tuned.recall, abs=1e-9)
    own = tune(snapshot, vectors[:60], "l2", 5)
    assert own is not None
    assert own[1].effort == own[0].effort == before.effort


def test_exact_index_needs_no_tuning_and_effort_is_at_least_one(tmp_path: Path) -> None:
    snapshot = Snapshot.load(published(tmp_path))
    assert tune(snapshot, questions(np.random.default_rng(2)), "cosine", 10) is None
    with pytest.raises(ValueError, match="effort"):
        LiveIndex("cosine", DIMENSION, snapshot=snapshot).search(questions(np.random.default_rng(2)), 1, effort=0)
