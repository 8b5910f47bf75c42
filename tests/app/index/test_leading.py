"""Rows compared by a few of their coordinates first: what is answered is what whole vectors say, to the bit."""

import dataclasses
import threading
from pathlib import Path

import numpy as np
import pytest

from app.index import IndexOptions, LiveIndex, Snapshot, Vectors, as_indexed, publish
from app.index.axes_choice import choose_axes
from app.index.bitmap import Bitmap
from app.index.block import LEAST_REDUCED, VectorBlock
from app.index.delta import Delta
from app.index.exact import Scan, rounding, similarity_of
from app.index.faiss import ARRANGING
from app.index.leading import Axes, ReducedRows
from models.portable import Distance
from tests.app.index.oracle import assert_same

WIDE, COUNT = 64, LEAST_REDUCED + 500
FLAT = IndexOptions(kind="flat")
SCORES: tuple[Distance, ...] = ("ip", "l2")


def alike(random: np.random.Generator, count: int) -> Vectors:
    """Vectors of few directions and a little of every other, as embeddings are; some come twice."""
    directions = np.random.default_rng(0).standard_normal((6, WIDE))
    vectors = random.standard_normal((count, 6)) @ directions + 0.05 * random.standard_normal((count, WIDE))
    vectors[1::50] = vectors[: len(vectors[1::50])]
    return vectors.astype(np.float32)


def unlike(random: np.random.Generator, count: int) -> Vectors:
    return random.standard_normal((count, WIDE)).astype(np.float32)


def block(vectors: Vectors, reduced: ReducedRows | None = None) -> VectorBlock:
    longest = float(np.linalg.norm(vectors.astype(np.float64), axis=1).max())
    none = np.empty(0, np.int64)
    return VectorBlock(np.arange(len(vectors)), vectors, Bitmap.full(len(vectors)), none, longest, reduced)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("scale", [1.0, 1e-15, 1e6])
def test_no_row_is_nearer_than_reduced_vectors_say(scale: float, score: Distance) -> None:
    random = np.random.default_rng(1)
    vectors = np.concatenate([alike(random, 900), unlike(random, 100)]) * np.float32(scale)
    queries = np.concatenate([alike(random, 10), unlike(random, 10), vectors[:5]]) * np.float32(scale)
    axes = Axes.of(vectors[:256], 31)
    rows = block(vectors, ReducedRows(axes, axes.reduce(vectors)))
    assert rows.reduced is not None
    positions, bound = Scan(rows.reduced.vectors, score)(axes.reduce(queries), 40, rows.ranked)
    every = block(vectors).search(queries, 1_000, score)
    whole, slack = similarity_of(every.scores, score), rounding(queries, rows.longest, score)
    for proposed, most, ids, similarities, lost in zip(positions, bound, every.rows, whole, slack, strict=True):
        left_out = similarities[~np.isin(ids, proposed)]
        assert (left_out <= most + 2 * lost).all()


@pytest.mark.parametrize("score", SCORES)
def test_answers_are_those_of_whole_vectors_to_the_bit(score: Distance) -> None:
    random = np.random.default_rng(2)
    vectors = np.concatenate([alike(random, COUNT), unlike(random, 700)])
    axes = Axes.of(vectors[:256], 31)
    whole = block(vectors)
    reduced = dataclasses.replace(whole, reduced=ReducedRows(axes, axes.reduce(vectors)))
    queries = np.concatenate([alike(random, 20), unlike(random, 20), vectors[-5:]])
    gone, some = np.arange(0, 900), np.arange(0, len(vectors), 2)
    for one, other in (
        (reduced, whole),
        (reduced.without(gone), whole.without(gone)),
        (reduced.only(some), whole.only(some)),
    ):
        for k in (1, 10, 300):
            assert_same(one.search(queries, k, score), other.search(queries, k, score))


def test_many_rows_written_since_an_index_was_published_are_answered_as_if_it_held_them(
    metric: Distance, tmp_path: Path
) -> None:
    random = np.random.default_rng(3)
    vectors, rows = alike(random, COUNT + 2_000), np.arange(COUNT + 2_000)
    vectors[1_990:2_010] = vectors[1_990]  # ties, on both sides
    index = half_written(metric, vectors, tmp_path)
    other = half_written(metric, unlike(random, len(vectors)), tmp_path)
    assert [one.frozen()._state.delta.reduced is not None for one in (index, other)] == [True, False]
    now = np.concatenate([-vectors[:50], vectors[50:2_000], vectors[2_050:]])
    held = np.concatenate([rows[:2_000], rows[2_050:]])
    every = publish(tmp_path, [(held, now)], metric=metric, dimension=WIDE, version=3, options=FLAT)
    expected = LiveIndex(metric, WIDE, snapshot=Snapshot.load(every))
    queries = np.concatenate([alike(random, 20), unlike(random, 5), vectors[1_990:1_991]])
    for score in sorted(index.scores):
        assert_same(index.search(queries, 15, score_as=score), expected.search(queries, 15, score_as=score))


def half_written(metric: Distance, vectors: Vectors, folder: Path) -> LiveIndex:
    """The first 2,000 are published, and the others written since, when some of both were replaced and removed."""
    rows = np.arange(len(vectors))
    first = [(rows[:2_000], vectors[:2_000])]
    path = publish(folder, first, metric=metric, dimension=WIDE, version=1, options=FLAT)
    index = LiveIndex(metric, WIDE, snapshot=Snapshot.load(path))
    for part in np.array_split(rows[2_000:], 5):
        index.upsert(part, vectors[part], version=2)
    for thread in threading.enumerate():
        if thread.name == ARRANGING:
            thread.join()
    index.apply(rows[:50], -vectors[:50], rows[2_000:2_050], version=3)
    return index


def test_rows_written_while_others_are_reduced_are_reduced_as_well_unless_all_have_moved() -> None:
    vectors, rows = alike(np.random.default_rng(5), 1_000), np.arange(1_000)
    axes = Axes.of(vectors[:256], 31)
    for later, done in ((310, True), (1_000, False)):
        delta = Delta("l2", WIDE)
        delta.replace(rows[:300], rows[:300], vectors[:300], 1)
        before = delta.block
        reduced = axes.reduce(before.vectors)
        delta.replace(rows[300:later], rows[300:later], vectors[300:later], 2)
        assert delta.search_by(axes, before, reduced) == done
        assert (delta.block.reduced is not None) == done
        if delta.block.reduced is not None:
            np.testing.assert_allclose(delta.block.reduced.vectors, axes.reduce(vectors[:later]), rtol=1e-5)


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_axes_are_taken_where_vectors_have_few_directions_and_not_where_they_have_none(metric: Distance) -> None:
    random = np.random.default_rng(4)
    for made, taken in ((alike, True), (unlike, False)):
        vectors, _, _ = as_indexed(made(random, 6_000), metric)
        assert (chosen(block(vectors), metric) is not None) == taken


def chosen(rows: VectorBlock, metric: Distance) -> Axes | None:
    return choose_axes(
        rows.vectors, rows, metric, lambda queries, k, score: rows.search(queries, k, score).scores[:, -1]
    )
