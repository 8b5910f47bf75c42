"""Rows written since an index was published, in groups: where answers are exact nothing near is missed, and else no
more than the index promises."""

import dataclasses
import threading
from pathlib import Path

import numpy as np
import pytest

from app.index import IndexOptions, LiveIndex, Snapshot, Vectors, publish
from app.index.block import LEAST_REDUCED, VectorBlock
from app.index.exact import similarity_of
from app.index.faiss import ARRANGING
from app.index.groups import EXACT_REACH, Groups
from app.index.leading import Axes, ReducedRows
from models.portable import Distance
from tests.app.index.oracle import assert_same
from tests.app.index.test_leading import SCORES, WIDE, alike, block, unlike

PUBLISHED, WRITTEN = 3_000, LEAST_REDUCED + 3_000
GRAPH, EVERY_ROW = IndexOptions(kind="hnsw", ef_construction=40), IndexOptions(kind="flat")


def grouped(vectors: Vectors, count: int, reduced: ReducedRows | None = None) -> VectorBlock:
    """All vectors, the first `count` of them in groups, a part of which came after the groups were learned."""
    compared = vectors if reduced is None else reduced.vectors
    half = count // 16 * 8
    groups = Groups.learned(compared[:half]).with_more(compared[half:count])
    return dataclasses.replace(block(vectors, reduced), groups=groups)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("by_axes", [True, False])
def test_no_row_above_the_floor_is_missed_where_answers_are_exact(by_axes: bool, score: Distance) -> None:
    random = np.random.default_rng(1)
    vectors = np.concatenate([alike(random, LEAST_REDUCED), unlike(random, 2_000) / 4, alike(random, 1_000)])
    axes = Axes.of(vectors[:256], 31)
    rows = grouped(vectors, 14_008, ReducedRows(axes, axes.reduce(vectors)) if by_axes else None)
    queries = np.concatenate([alike(random, 30), unlike(random, 10), vectors[5:6], np.zeros((1, WIDE), np.float32)])
    queries[3] *= 100
    whole, gone = block(vectors), np.arange(0, len(vectors), 3)
    for some, every in ((rows, whole), (rows.without(gone), whole.without(gone))):
        for k in (1, 10):
            expected = every.search(queries, k, score)
            for above in (k, k + 5):
                floor = every.search(queries, above, score).scores[:, -1]
                assert_same(some.search(queries, k, score, floor=floor), expected)


@pytest.mark.parametrize("score", SCORES)
def test_of_rows_that_are_nearly_the_same_the_furthest_out_is_found(score: Distance) -> None:
    """Their groups are so small that a search in float32 may see no distance at all to their centroids."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((100, WIDE))
    centres = (centres / np.linalg.norm(centres, axis=1, keepdims=True))[random.integers(100, size=LEAST_REDUCED + 8)]
    vectors = (centres + 4e-5 * random.standard_normal(centres.shape)).astype(np.float32)
    rows, some = grouped(vectors, len(vectors)), random.integers(len(vectors), size=1_000)
    assert rows.groups is not None
    centroids = rows.groups.centroids
    nearest = np.argmax(vectors[some] @ centroids.T - np.square(centroids).sum(axis=1) / 2, axis=1)
    out = vectors[some] - centroids[nearest]
    out /= np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-30)
    queries = (vectors[some] + 0.3 * out if score == "l2" else out + 0.6 * vectors[some]).astype(np.float32)
    expected = block(vectors).search(queries, 1, score)
    assert_same(rows.search(queries, 1, score, floor=expected.scores[:, -1]), expected)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_few_rows_can_be_grouped(count: int) -> None:
    groups = Groups.learned(unlike(np.random.default_rng(5), count))
    assert groups.count == count


@pytest.mark.parametrize("score", SCORES)
def test_most_groups_of_rows_in_clusters_are_passed_over_with_certainty(score: Distance) -> None:
    random = np.random.default_rng(2)
    centres = 5 * random.standard_normal((40, WIDE))
    vectors = (centres[random.integers(40, size=6_000)] + 0.1 * random.standard_normal((6_000, WIDE))).astype(
        np.float32
    )
    groups = Groups.learned(vectors)
    found = block(vectors).search(vectors[:50], 10, score)
    near = groups.near(vectors[:50], similarity_of(found.scores[:, -1], score), score, EXACT_REACH)
    assert near.share.mean() < 0.2
    listed = near.listed()
    assert [set(line[line >= 0]) for line in listed] == [set(np.flatnonzero(looked)) for looked in near.groups]


def written(options: IndexOptions, vectors: Vectors, folder: Path) -> LiveIndex:
    """The first rows are published, and the others written since, in parts that are grouped meanwhile."""
    rows = np.arange(len(vectors))
    first = [(rows[:PUBLISHED], vectors[:PUBLISHED])]
    path = publish(folder, first, metric="cosine", dimension=WIDE, version=1, options=options)
    index = LiveIndex("cosine", WIDE, snapshot=Snapshot.load(path))
    for number, part in enumerate(np.array_split(rows[PUBLISHED:], 4)):
        index.upsert(part, vectors[part], version=2 + number)
        wait_until_arranged()
    return index


def wait_until_arranged() -> None:
    for thread in threading.enumerate():
        if thread.name == ARRANGING:
            thread.join()


def test_rows_that_a_newer_snapshot_does_not_hold_are_grouped_again_without_another_write(tmp_path: Path) -> None:
    vectors = alike(np.random.default_rng(6), PUBLISHED + WRITTEN)
    index = written(EVERY_ROW, vectors, tmp_path / "before")
    rows = [(np.arange(PUBLISHED), vectors[:PUBLISHED])]
    path = publish(tmp_path / "after", rows, metric="cosine", dimension=WIDE, version=1, options=EVERY_ROW)
    index.swap(Snapshot.load(path))
    wait_until_arranged()
    delta = index.frozen()._state.delta
    assert delta.ranked.count == WRITTEN
    assert delta.groups is not None
    assert delta.groups.count >= LEAST_REDUCED


def test_groups_are_kept_for_the_rows_that_a_newer_snapshot_does_not_hold(tmp_path: Path) -> None:
    """Their reach is measured anew, since more published rows leave less for the others to add."""
    vectors, published, held = unlike(np.random.default_rng(9), 50_000), 20_000, 35_000
    rows = np.arange(len(vectors))

    def snapshot(count: int, version: int) -> Snapshot:
        part = [(rows[:count], vectors[:count])]
        path = publish(tmp_path, part, metric="cosine", dimension=WIDE, version=version, options=GRAPH)
        return Snapshot.load(path)

    index = LiveIndex("cosine", WIDE, snapshot=snapshot(published, 1))
    for version, part in ((2, rows[published:held]), (3, rows[held:])):
        index.upsert(part, vectors[part], version=version)
        wait_until_arranged()
    before = index.frozen()._state.delta.groups
    assert before is not None
    index.swap(snapshot(held, 2))
    delta = index.frozen()._state.delta
    assert len(delta.rows) == len(rows) - held
    assert delta.groups is not None
    assert delta.groups.count == len(delta.rows)
    wait_until_arranged()
    after = index.frozen()._state.delta.groups
    assert after is not None
    np.testing.assert_array_equal(after.centroids, before.centroids)
    assert (before.origin.published, after.origin.published) == (published, held)
    exact = LiveIndex("cosine", WIDE)
    exact.upsert(rows, vectors, version=1)
    queries = unlike(np.random.default_rng(10), 200)
    found, truth = index.search(queries, 10), exact.search(queries, 10).rows
    since = [np.isin(true[true >= held], rows) for true, rows in zip(truth, found.rows, strict=True)]
    assert np.concatenate(since).mean() >= 0.98


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_written_and_published_rows_in_groups_are_found_as_if_each_were_compared(
    seed: int, score: Distance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("app.index.block.LEAST_REDUCED", "app.index.faiss.LEAST_REDUCED", "app.index.faiss._UNGROUPED_LEAST"):
        monkeypatch.setattr(name, 64)
    monkeypatch.setattr("app.index.block._FEW", 0)
    random, grouped = np.random.default_rng(seed), 0
    now: dict[int, Vectors] = dict(enumerate(unlike(random, 200)))
    index, states = LiveIndex(score, WIDE), [(1, dict(now))]
    index.upsert(np.array(list(now)), np.array(list(now.values())), version=1)
    for version in range(2, 14):
        rows = random.choice(900, random.integers(1, 250), replace=False)
        gone = random.choice(900, random.integers(0, 40), replace=False)
        vectors, gone = unlike(random, len(rows)), np.setdiff1d(gone, rows)
        index.apply(rows, vectors, gone, version=version)
        now |= dict(zip(rows.tolist(), vectors, strict=True))
        now = {row: vector for row, vector in now.items() if row not in gone}
        states.append((version, dict(now)))
        if version % 3 == 0:
            since, held = states[-2]
            part = [(np.array(list(held)), np.array(list(held.values())))]
            path = publish(tmp_path, part, metric=score, dimension=WIDE, version=since, options=EVERY_ROW)
            index.swap(Snapshot.load(path))
        if random.random() < 0.5:
            wait_until_arranged()
        groups = index.frozen()._state.delta.groups
        grouped += groups is not None and groups.count > 0
        exact = LiveIndex(score, WIDE)
        exact.upsert(np.array(list(now)), np.array(list(now.values())), version=1)
        queries = np.concatenate([unlike(random, 20), np.array(list(now.values()))[:5]])
        for k in (1, 10):
            assert_same(index.search(queries, k), exact.search(queries, k))
    wait_until_arranged()
    assert grouped >= 3


def test_looking_for_axes_is_tried_again_after_it_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", failures.append)

    def out_of_memory(_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as short:
        short.setattr(np.linalg, "eigh", out_of_memory)
        index = written(EVERY_ROW, alike(np.random.default_rng(7), PUBLISHED + WRITTEN), tmp_path)
    assert {failure.exc_type for failure in failures} == {MemoryError}
    assert index.frozen()._state.delta.reduced is None
    index.remove(np.array([PUBLISHED]), version=9)
    wait_until_arranged()
    delta = index.frozen()._state.delta
    assert delta.reduced is not None
    assert delta.groups is not None


def test_above_a_graph_as_much_is_found_of_rows_written_since_as_it_promises_in_any_batch(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    vectors = alike(random, PUBLISHED + WRITTEN)
    index = written(GRAPH, vectors, tmp_path)
    groups = index.frozen()._state.delta.groups
    assert groups is not None
    assert groups.count >= LEAST_REDUCED
    assert groups.reach < EXACT_REACH
    exact = LiveIndex("cosine", WIDE)
    exact.upsert(np.arange(len(vectors)), vectors, version=1)
    queries = alike(random, 200)
    found, truth = index.search(queries, 10), exact.search(queries, 10).rows
    since = [np.isin(true[true >= PUBLISHED], rows) for true, rows in zip(truth, found.rows, strict=True)]
    assert np.concatenate(since).mean() >= 0.98
    for start in range(0, 200, 7):
        part = index.search(queries[start : start + 7], 10)
        np.testing.assert_array_equal(part.rows, found.rows[start : start + 7])


def test_a_row_written_since_is_found_by_its_own_vector_among_many_that_are_nearly_the_same(tmp_path: Path) -> None:
    random = np.random.default_rng(8)
    centres = random.standard_normal((400, WIDE))[random.integers(400, size=PUBLISHED + WRITTEN)]
    far = random.choice([0.05, 1.0], size=len(centres))[:, None]
    vectors = (centres + far * random.standard_normal(centres.shape)).astype(np.float32)
    index = written(GRAPH, vectors, tmp_path)
    groups = index.frozen()._state.delta.groups
    assert groups is not None
    assert groups.reach < EXACT_REACH
    own = np.arange(PUBLISHED, len(vectors), 10)
    np.testing.assert_array_equal(index.search(vectors[own], 1).rows[:, 0], own)


def test_above_published_rows_that_are_all_compared_nothing_is_missed(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    vectors = np.concatenate([alike(random, PUBLISHED + WRITTEN - 500), unlike(random, 500)])
    index = written(EVERY_ROW, vectors, tmp_path)
    groups = index.frozen()._state.delta.groups
    assert groups is not None
    assert groups.reach == EXACT_REACH
    again, gone = np.arange(PUBLISHED, PUBLISHED + 200), np.arange(PUBLISHED + 200, PUBLISHED + 900)
    index.apply(again, -vectors[again], gone, version=9)
    vectors[again] = -vectors[again]
    kept = np.setdiff1d(np.arange(len(vectors)), gone)
    exact = LiveIndex("cosine", WIDE)
    exact.upsert(kept, vectors[kept], version=1)
    queries = np.concatenate([alike(random, 40), unlike(random, 20), vectors[again[:5]]])
    for score in sorted(index.scores):
        assert_same(index.search(queries, 10, score_as=score), exact.search(queries, 10, score_as=score))
    allowed = kept[::2]
    assert_same(index.search(queries, 10, allowed=allowed), exact.search(queries, 10, allowed=allowed))
