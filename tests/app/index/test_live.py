"""The snapshot under the delta: what moves from one to the other, and what searches see meanwhile."""

import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from app.index import PADDING, IndexOptions, LiveIndex, RowIds, Snapshot, Vectors, publish
from models.portable import Distance
from tests.app.index.conftest import DIMENSION, METRICS, gallery, questions
from tests.app.index.oracle import Oracle, assert_exact, assert_same
from tests.waiting import PATIENCE_SECONDS


def snapshot(folder: Path, metric: Distance, rows: RowIds, vectors: Vectors, version: int) -> Snapshot:
    directory = publish(folder, [(rows, vectors)], metric=metric, dimension=vectors.shape[1], version=version)
    return Snapshot.load(directory)


def test_answers_are_the_same_bits_from_delta_and_snapshot(metric: Distance, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    rows, vectors = gallery(random, 900)
    vectors[5] = 0
    fresh = LiveIndex(metric, DIMENSION)
    fresh.upsert(rows, vectors, version=4)
    loaded = LiveIndex(metric, DIMENSION, snapshot=snapshot(tmp_path, metric, rows, vectors, 4))
    half = snapshot(tmp_path, metric, rows[:400], vectors[:400], 2)
    mixed = LiveIndex(metric, DIMENSION, snapshot=half)
    mixed.upsert(rows[300:], vectors[300:], version=4)
    queries = questions(random, 50)
    for score in sorted(fresh.scores):
        expected = fresh.search(queries, 900, score_as=score)
        for other in (loaded, mixed):
            assert_same(other.search(queries, 900, score_as=score), expected)


def test_a_swap_keeps_what_was_written_after_the_snapshot(metric: Distance, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    rows, vectors = gallery(random, 300)
    index, oracle = LiveIndex(metric, DIMENSION), Oracle(metric, rows, vectors)
    index.upsert(rows, vectors, version=1)
    before = (rows.copy(), vectors.copy())
    news = questions(random, 40)
    news[3] = 0
    index.apply(rows[:40], news, rows[40:80], version=2)
    oracle.upsert(rows[:40], news)
    oracle.remove(rows[40:80])
    queries = questions(random)
    expected = index.search(queries, 300)
    index.swap(snapshot(tmp_path, metric, *before, version=1))
    assert (index.version, len(index)) == (2, 260)
    assert_same(index.search(queries, 300), expected)
    index.swap(snapshot(tmp_path, metric, *oracle.batch(), version=3))
    assert (index.version, len(index)) == (3, 260)
    assert_same(index.search(queries, 300), expected)
    assert index.memory().resident < 20_000, "the delta is empty"


def test_a_row_removed_before_it_reached_the_index_stays_out_after_the_swap(tmp_path: Path) -> None:
    index = LiveIndex("l2", 2)
    index.remove(np.array([1]), version=7)
    index.swap(snapshot(tmp_path, "l2", np.array([1, 2]), np.ones((2, 2), np.float32), 6))
    assert index.search(np.ones((1, 2), np.float32), 2).rows.tolist() == [[2, PADDING]]


def test_a_snapshot_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    rows, vectors = np.arange(3), np.eye(3, dtype=np.float32)
    old = snapshot(tmp_path, "l2", rows, vectors, 3)
    index = LiveIndex("l2", 3, snapshot=snapshot(tmp_path, "l2", rows, vectors, 5))
    with pytest.raises(ValueError, match="older"):
        index.swap(old)
    with pytest.raises(ValueError, match="does not fit"):
        LiveIndex("ip", 3, snapshot=old)
    with pytest.raises(ValueError, match="does not fit"):
        LiveIndex("l2", 4, snapshot=old)
    assert index.version == 5


def test_a_rebuild_is_due_once_much_was_written_and_no_more_after_it(tmp_path: Path) -> None:
    rows, vectors = np.arange(30_000), np.random.default_rng(0).standard_normal((30_000, 2)).astype(np.float32)
    index = LiveIndex("l2", 2, snapshot=snapshot(tmp_path, "l2", rows, vectors, 1))
    index.upsert(rows[:10_000], vectors[:10_000] + 1, version=2)
    index.upsert(rows[:10_000], vectors[:10_000] + 2, version=2)
    due = [index.rebuild_due]
    index.remove(rows[10_000:10_001], version=3)
    due.append(index.rebuild_due)
    index.swap(snapshot(tmp_path, "l2", rows[:10_000], vectors[:10_000], 3))
    assert [*due, index.rebuild_due] == [False, True, False]


def test_rows_written_again_with_the_vectors_that_they_have_are_as_of_another_version_and_nothing_else(
    metric: Distance, tmp_path: Path
) -> None:
    random = np.random.default_rng(2)
    rows, vectors = gallery(random, 20_000)
    vectors[7] = 0
    index = LiveIndex(metric, DIMENSION, snapshot=snapshot(tmp_path, metric, rows, vectors, 1))
    queries = questions(random)
    memory, expected = index.memory(), index.search(queries, 50)
    for version in (2, 3):
        index.upsert(rows[: 10_000 * version], vectors[: 10_000 * version], version=version)
        assert set(index.versions(rows[: 10_000 * version])) == {version}
    assert not index.rebuild_due
    assert index.memory() == memory
    assert_same(index.search(queries, 50), expected)
    index.apply(rows[:2], vectors[:2] * np.array([[1], [-1]], np.float32), rows[1:3], version=4)
    assert index.versions(rows[:4]).tolist() == [4, 4, -1, 3]
    index.apply(rows[3:4], vectors[3:4], rows[3:4], version=5)
    assert index.versions(rows[:5]).tolist() == [4, 4, -1, 5, 3]


def test_rows_that_were_not_written_between_two_snapshots_stay_as_of_the_version_that_they_were(
    metric: Distance, tmp_path: Path
) -> None:
    rows, vectors = gallery(np.random.default_rng(3), 1_000)
    index = LiveIndex(metric, DIMENSION, snapshot=snapshot(tmp_path, metric, rows, vectors, 1))
    index.upsert(rows[:2], vectors[2:4], version=2)
    index.upsert(rows[2:3], vectors[2:3], version=3)
    now = np.concatenate([vectors[2:4], vectors[2:]])
    index.upsert(rows[4:5], vectors[5:6], version=4)
    index.swap(snapshot(tmp_path, metric, rows, now, 3))
    assert index.versions(rows[:6]).tolist() == [2, 2, 3, 1, 4, 1]
    index.swap(snapshot(tmp_path, metric, rows, now, 6))  # of what was written in 5 and 6, nothing is known here
    assert set(index.versions(rows).tolist()) == {6}


def test_rewriting_one_row_for_ever_takes_no_more_memory() -> None:
    index = LiveIndex("l2", 4)
    for version in range(3_000):
        index.upsert(np.array([8]), np.full((1, 4), version, np.float32), version=version)
    assert index.memory().resident < 50_000
    assert index.search(np.zeros((1, 4), np.float32), 2).scores[0].tolist() == [2 * 2_999, np.inf]


def test_a_search_sees_a_state_that_was_never_half_written(tmp_path: Path) -> None:
    """Write v leaves eight rows, all at distance v: every answer must hold eight, of one v that only rises."""
    writes, first = 250, np.arange(8)
    at = np.eye(8, dtype=np.float32)
    index = LiveIndex("l2", 8, snapshot=snapshot(tmp_path, "l2", first, 0 * at, 0))
    done, failures = threading.Event(), list[str]()

    def write() -> None:
        for version in range(1, writes):
            # Four rows move, four are replaced by others under new ids.
            kept, old, new = first[:4], first[4:] + 8 * (version - 1), first[4:] + 8 * version
            index.apply(np.concatenate([kept, new]), version * at, old, version=version)
        done.set()

    def rebuild() -> None:
        while not done.is_set():
            hits = index.search(np.zeros((1, 8), np.float32), 8)
            version = int(hits.scores[0, 0])
            batch = np.sort(hits.rows[0])
            index.swap(snapshot(tmp_path, "l2", batch, version * at, version))

    def read(count: int) -> None:
        latest = 0.0
        while not done.is_set() or latest < writes - 1:
            hits = index.search(np.zeros((count, 8), np.float32), 9)
            value = float(hits.scores[0, 0])
            rows = [*first[:4].tolist(), *(first[4:] + 8 * int(value)).tolist(), PADDING]
            whole = (hits.rows == rows).all() and (hits.scores == [*[value] * 8, np.inf]).all()
            if not whole or value < latest:
                failures.append(f"after {latest}: {hits}")
                return
            latest = value

    threads = [threading.Thread(target=run, daemon=True) for run in (write, rebuild, lambda: read(1), lambda: read(6))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=PATIENCE_SECONDS)
    assert not failures
    assert not any(thread.is_alive() for thread in threads)
    assert index.search(np.zeros((1, 8), np.float32), 8).scores[0].tolist() == [writes - 1] * 8


ROWS = st.lists(st.integers(0, 14), unique=True, max_size=6).map(lambda rows: np.array(rows, np.int64))
COARSE = st.integers(-2, 2).map(float)  # many ties, and zero vectors


class Life(RuleBasedStateMachine):
    """An index through any sequence of writes and rebuilds, against the oracle after each."""

    folder: Path

    @initialize(metric=st.sampled_from(METRICS))
    def begin(self, metric: Distance) -> None:
        self.oracle = Oracle(metric, np.empty(0, np.int64), np.empty((0, 3), np.float32))
        self.index = LiveIndex(metric, 3)
        self.past = [(0, *self.oracle.batch())]
        self.given: dict[int, Vectors] = {}
        self.last: dict[int, int] = {}
        self.first_snapshot = 0

    @rule(data=st.data(), rows=ROWS, removed=ROWS)
    def write(self, data: st.DataObject, rows: RowIds, removed: RowIds) -> None:
        vectors = data.draw(hnp.arrays(np.float32, (len(rows), 3), elements=COARSE))
        self._write(rows, vectors, removed)

    @rule(rows=ROWS, removed=ROWS)
    def write_again(self, rows: RowIds, removed: RowIds) -> None:
        rows = rows[np.isin(rows, list(self.given))]
        self._write(rows, np.array([self.given[row] for row in rows.tolist()], np.float32).reshape(-1, 3), removed)

    def _write(self, rows: RowIds, vectors: Vectors, removed: RowIds) -> None:
        version = self.index.version + 1
        self.index.apply(rows, vectors, removed, version=version)
        self.oracle.remove(removed)
        self.oracle.upsert(rows, vectors)
        self.given |= dict(zip(rows.tolist(), vectors, strict=True))
        self.last |= dict.fromkeys(removed.tolist(), -1) | dict.fromkeys(rows.tolist(), version)
        self.past.append((version, *self.oracle.batch()))

    @rule(data=st.data())
    def rebuild(self, data: st.DataObject) -> None:
        served = self.index.snapshot.version if self.index.snapshot else 0
        version, rows, vectors = data.draw(st.sampled_from([past for past in self.past if past[0] >= served]))
        vectors = vectors.reshape(-1, 3)
        if self.index.snapshot is None:
            self.first_snapshot = version
        self.index.swap(snapshot(self.folder, self.index.metric, rows, vectors, version))

    @invariant()
    def answers_like_the_oracle(self) -> None:
        if not hasattr(self, "index"):
            return
        assert len(self.index) == len(self.oracle.vectors)
        first = self.first_snapshot
        stamps = {row: -1 if version < 0 else max(version, first) for row, version in self.last.items()}
        assert dict(zip(stamps, self.index.versions(np.array([*stamps], np.int64)).tolist(), strict=True)) == stamps
        queries = np.array([[1, 0, 0], [1, -2, 3]], np.float32)
        for score in sorted(self.index.scores):
            assert_exact(self.index, self.oracle, queries, 4, score)
            assert_exact(self.index, self.oracle, queries, 16, score, allowed=np.arange(0, 15, 2))


def test_any_sequence_of_writes_and_rebuilds_is_answered_like_the_oracle(tmp_path: Path) -> None:
    Life.folder = tmp_path
    run_state_machine_as_test(Life, settings=settings(max_examples=30, stateful_step_count=15))


@pytest.mark.parametrize("options", [IndexOptions(kind="ivf_flat"), IndexOptions(kind="hnsw")], ids=lambda o: o.kind)
def test_a_whole_neighbourhood_removed_leaves_no_gap_in_the_answer(options: IndexOptions, tmp_path: Path) -> None:
    rows, vectors = gallery(np.random.default_rng(5))
    batches = [(rows, vectors)]
    directory = publish(tmp_path, batches, metric="l2", dimension=DIMENSION, version=1, options=options)
    index = LiveIndex("l2", DIMENSION, snapshot=Snapshot.load(directory))
    around = index.search(vectors[:1], 200).rows[0]
    index.remove(around, version=2)
    row_ids = index.search(vectors[:1], 50).rows[0]
    assert (row_ids != PADDING).all()
    assert not np.isin(row_ids, around).any()
