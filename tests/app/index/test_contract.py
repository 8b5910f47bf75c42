"""What every index engine promises, each engine held to the same oracle."""

from pathlib import Path

import numpy as np
import pytest

from app.index import LONGEST, PADDING, Hits, VectorIndex
from models.portable import Distance
from tests.app.index.conftest import DIMENSION, ENGINES, Make, gallery, maker, questions
from tests.app.index.oracle import Oracle, assert_exact, assert_same, assert_scores_true

Filled = tuple[VectorIndex, Oracle]


def none_of(rows: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return np.empty(rows, np.int64), np.empty((rows, DIMENSION), np.float32)


def test_exact_engines_find_the_true_nearest_by_every_score(
    exact: Make, metric: Distance, random: np.random.Generator, tmp_path: Path
) -> None:
    rows, vectors = gallery(random, 400)
    index = exact(metric, rows, vectors, tmp_path)
    assert index.scores == {metric, "ip", "l2"}
    for score in sorted(index.scores):
        for count in (1, 3, 30):
            assert_exact(index, Oracle(metric, rows, vectors), questions(random, count), 10, score)


def test_nine_in_ten_of_the_true_nearest_are_found_by_every_score(filled: Filled, random: np.random.Generator) -> None:
    index, oracle = filled
    queries = questions(random, 20)
    for score in sorted(index.scores):
        rows = index.search(queries, 10, score_as=score).rows
        truth = [{row for _, row in oracle.ranking(query, score)[:10]} for query in queries]
        assert np.mean([len(true & set(row.tolist())) / 10 for true, row in zip(truth, rows, strict=True)]) >= 0.9


def test_scores_mean_what_the_protocol_says(filled: Filled, random: np.random.Generator) -> None:
    index, oracle = filled
    queries = questions(random)
    for score in sorted(index.scores):
        assert_scores_true(index.search(queries, 10, score_as=score), oracle, queries, score)
    assert_same(index.search(queries, 10), index.search(queries, 10, score_as=index.metric))


def test_an_answer_does_not_depend_on_the_batch_it_came_in(filled: Filled, random: np.random.Generator) -> None:
    index, _ = filled
    queries = questions(random, 300)
    for score in sorted(index.scores):
        together = index.search(queries, 10, score_as=score)
        order = random.permutation(len(queries))
        shuffled = index.search(queries[order], 10, score_as=score)
        np.testing.assert_array_equal(shuffled.rows, together.rows[order])
        np.testing.assert_array_equal(shuffled.scores, together.scores[order])
        for at in range(0, 300, 17):
            alone = index.search(queries[at : at + 1], 10, score_as=score)
            np.testing.assert_array_equal(alone.rows[0], together.rows[at])
            np.testing.assert_array_equal(alone.scores[0], together.scores[at])


def test_fewer_neighbours_are_the_first_of_more(
    exact: Make, metric: Distance, random: np.random.Generator, tmp_path: Path
) -> None:
    index, queries = exact(metric, *gallery(random), tmp_path), questions(random)
    few, more = index.search(queries, 3), index.search(queries, 10)
    assert_same(few, Hits(more.rows[:, :3], more.scores[:, :3]))


@pytest.mark.parametrize(
    "name", [name for name in ENGINES if not any(rough in name for rough in ("graph", "quantised", "bits"))]
)  # which reach a few of many equals
def test_equal_scores_are_ordered_by_row_id(
    name: str, metric: Distance, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    random = np.random.default_rng(8)
    vectors = np.eye(DIMENSION, dtype=np.float32)[random.integers(3, size=2_000)]
    rows = random.permutation(2_000)
    index = maker(name, request)(metric, rows, vectors, tmp_path)
    hits = index.search(np.eye(DIMENSION, dtype=np.float32)[:1], 40)
    np.testing.assert_array_equal(hits.rows[0], np.sort(rows[vectors[:, 0] == 1])[:40])


def test_more_neighbours_than_rows_are_padded(engine: Make, metric: Distance, tmp_path: Path) -> None:
    rows, vectors = np.array([7, 3, 5]), np.eye(3, DIMENSION, dtype=np.float32)
    index = engine(metric, rows, vectors, tmp_path)
    hits = index.search(vectors, 5)
    assert (hits.rows[:, 3:] == PADDING).all()
    assert (hits.scores[:, 3:] == (np.inf if metric == "l2" else -np.inf)).all()
    assert all(set(row) == {7, 3, 5} for row in hits.rows[:, :3].tolist())


def test_an_empty_index_answers_with_padding(engine: Make, tmp_path: Path) -> None:
    index = engine("cosine", *none_of(), tmp_path)
    assert len(index) == 0
    assert (index.search(np.ones((2, DIMENSION), np.float32), 4).rows == PADDING).all()


def test_no_queries_get_no_answers(filled_l2: Filled) -> None:
    assert filled_l2[0].search(none_of()[1], 4).rows.shape == (0, 4)


def test_what_was_written_is_found_and_what_was_removed_is_not(filled: Filled, random: np.random.Generator) -> None:
    index, oracle = filled
    rows, vectors = oracle.batch()
    changed, removed = rows[:300], rows[300:700]
    fresh, news = rows.max() + 1 + np.arange(100), questions(random, 400)
    queries = np.concatenate([news[:3], vectors[300:303], news[300:303]])
    version = index.version
    index.upsert(np.concatenate([changed, fresh]), news, version=version + 1)
    index.remove(removed, version=version + 2)
    oracle.upsert(np.concatenate([changed, fresh]), news)
    oracle.remove(removed)
    assert (index.version, len(index)) == (version + 2, len(oracle.vectors))
    for score in sorted(index.scores):
        hits = index.search(queries, 10, score_as=score)
        assert (hits.rows != PADDING).all()
        assert_scores_true(hits, oracle, queries, score)
    nearest = index.search(
        np.concatenate([news[:3], news[300:303]]), 1, score_as="l2" if index.metric == "l2" else None
    )
    if index.metric != "ip":
        np.testing.assert_array_equal(nearest.rows[:, 0], np.concatenate([changed[:3], fresh[:3]]))


def test_neighbours_are_found_where_most_rows_are_gone(filled: Filled, random: np.random.Generator) -> None:
    index, oracle = filled
    kept = random.choice(oracle.batch()[0], 15, replace=False)
    removed = np.setdiff1d(oracle.batch()[0], kept)
    index.remove(removed, version=index.version)
    oracle.remove(removed)
    for score in sorted(index.scores):
        assert_exact(index, oracle, questions(random, 5), 20, score)


def test_rows_are_held_as_indexed_with_the_version_of_their_last_write(
    filled: Filled, random: np.random.Generator
) -> None:
    index, oracle = filled
    rows, _ = oracle.batch()
    first = index.held(rows[:300]).versions
    assert (first <= index.version).all()
    assert (first >= 1).all()
    changed, gone = rows[:200:7], rows[100:300:9]
    changed = np.setdiff1d(changed, gone)
    news = questions(random, len(changed))
    news[0] = 0
    index.apply(changed, news, gone, version=7)
    oracle.upsert(changed, news)
    oracle.remove(gone)
    requested = random.permutation(np.concatenate([rows[:300], rows[:3], [5, 2**62]]))
    held = index.held(requested)
    assert np.array_equal(index.versions(requested), held.versions)
    found = index.search(questions(random, 30), 10).rows
    found = found[found != PADDING]
    assert np.array_equal(index.versions_found(found), index.versions(found))
    present = np.array([row in oracle.vectors for row in requested.tolist()])
    assert (held.versions >= 0).tolist() == present.tolist()
    assert not held.vectors[~present].any()
    expected = np.array([oracle.vectors[row] for row in requested[present].tolist()])
    if index.metric == "cosine":
        expected /= np.maximum(np.linalg.norm(expected, axis=1, keepdims=True), 1e-30)
    np.testing.assert_allclose(held.vectors[present], expected, rtol=1e-6, atol=1e-7)
    rewritten = np.isin(requested[present], changed)
    assert set(held.versions[present][rewritten].tolist()) == {7}
    assert (held.versions[present][~rewritten] < 7).all()
    nothing = index.held(np.empty(0, np.int64))
    assert nothing.vectors.shape == (0, DIMENSION)


def test_a_removed_row_can_come_back(filled: Filled) -> None:
    index, oracle = filled
    row, query = oracle.batch()[0][:1], np.full((1, DIMENSION), 9, np.float32)
    for _ in range(3):
        index.remove(row, version=index.version)
        assert row[0] not in index.search(query, 5).rows
        index.upsert(row, query, version=index.version)
        assert index.search(query, 5).rows[0, 0] == row[0]
    assert len(index) == len(oracle.vectors)


def test_unknown_rows_are_removed_without_harm(filled_l2: Filled) -> None:
    index, oracle = filled_l2
    before = index.search(questions(np.random.default_rng(0)), 10)
    index.remove(np.array([1, 2, 2]), version=index.version + 1)
    assert len(index) == len(oracle.vectors)
    assert_same(index.search(questions(np.random.default_rng(0)), 10), before)


@pytest.mark.parametrize("share", [0.004, 0.05, 0.5, 0.95])
def test_a_filter_lets_through_what_it_names_and_nothing_else(
    filled: Filled, random: np.random.Generator, share: float
) -> None:
    index, oracle = filled
    rows = oracle.batch()[0]
    allowed = random.choice(rows, int(share * len(rows)), replace=False)
    allowed = np.concatenate([allowed, allowed[:2], [5]])  # twice, and unknown
    queries = questions(random, 8)
    for score in sorted(index.scores):
        hits = index.search(queries, 8, score_as=score, allowed=allowed)
        assert np.isin(hits.rows, allowed).all()
        assert_scores_true(hits, oracle, queries, score)
        truth = [{row for _, row in oracle.ranking(query, score, allowed)[:8]} for query in queries]
        assert np.mean([len(true & set(row.tolist())) / 8 for true, row in zip(truth, hits.rows, strict=True)]) > 0.85


def test_one_row_in_thousands_is_found(filled: Filled, random: np.random.Generator) -> None:
    index, oracle = filled
    for row in random.choice(oracle.batch()[0], 10, replace=False):
        for score in sorted(index.scores):
            assert_exact(index, oracle, questions(random, 6), 3, score, allowed=np.array([row]))


def test_a_filter_that_names_nothing_here_finds_nothing(filled_l2: Filled, random: np.random.Generator) -> None:
    for allowed in (np.empty(0, np.int64), np.array([1, 2, 3])):
        assert (filled_l2[0].search(questions(random), 3, allowed=allowed).rows == PADDING).all()


def test_a_zero_vector_under_cosine_ranks_after_every_other(engine: Make, tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    rows, vectors = np.arange(1_200), random.standard_normal((1_200, DIMENSION)).astype(np.float32)
    vectors[[9, 4, 1_100]] = 0
    vectors[7] = -1
    index, oracle = engine("cosine", rows, vectors, tmp_path), Oracle("cosine", rows, vectors)
    query = np.ones((1, DIMENSION), np.float32)
    for score in sorted(index.scores):
        hits = index.search(query, 1_210, score_as=score)
        assert hits.rows[0, 1_196:1_201].tolist() == [7, 4, 9, 1_100, PADDING]
        assert_exact(index, oracle, query, 1_210, score)
    assert index.search(query, 1_210).scores[0, 1_197] == -1
    assert index.search(query, 3, allowed=np.array([9, 7])).rows.tolist() == [[7, 9, PADDING]]


def test_a_row_may_lose_and_regain_its_direction(engine: Make, tmp_path: Path) -> None:
    rows, vectors = gallery(np.random.default_rng(4))
    index, query = engine("cosine", rows, vectors, tmp_path), vectors[:1]
    index.upsert(rows[:1], np.zeros((1, DIMENSION), np.float32), version=index.version)
    assert len(index) == len(rows)
    assert rows[0] not in index.search(query, 50).rows
    assert index.search(query, len(rows)).rows[0, -1] == rows[0]
    index.upsert(rows[:1], vectors[:1], version=index.version)
    assert index.search(query, 1).rows[0, 0] == rows[0]
    assert len(index) == len(rows)


def test_without_cosine_a_zero_vector_is_a_point_like_any_other(exact: Make, tmp_path: Path) -> None:
    rows, vectors = gallery(np.random.default_rng(4), 40)
    vectors[3] = 0
    index = exact("l2", rows, vectors, tmp_path)
    assert index.search(np.full((1, DIMENSION), 1e-3, np.float32), 1).rows[0, 0] == rows[3]


def test_what_cannot_be_is_refused_and_changes_nothing(filled: Filled, random: np.random.Generator) -> None:
    index, oracle = filled
    queries, ones = questions(random), np.ones((2, DIMENSION), np.float32)
    before, version = index.search(queries, 10), index.version
    spoiled = [np.full((2, DIMENSION), bad, np.float32) for bad in (np.nan, np.inf, 2 * LONGEST)]
    for rows, vectors, at in [
        *((np.array([1, 2]), bad, version) for bad in spoiled),
        (np.array([1, 1]), ones, version),
        (np.array([-1, 1]), ones, version),
        (np.array([1]), ones, version),
        (np.array([1, 2]), ones[:, 1:], version),
        (np.array([1, 2]), ones, version - 1),
    ]:
        with pytest.raises(ValueError, match=r"."):
            index.apply(rows, vectors, oracle.batch()[0][:5], version=at)
    for bad in [*spoiled, ones[:, 1:]]:
        with pytest.raises(ValueError, match=r"."):
            index.search(bad, 1)
    with pytest.raises(ValueError, match="k is at least 1"):
        index.search(queries, 0)
    if index.metric == "cosine":
        with pytest.raises(ValueError, match="zero query"):
            index.search(0 * ones, 1)
    else:
        with pytest.raises(ValueError, match="not by cosine"):
            index.search(ones, 1, score_as="cosine")
    assert (len(index), index.version) == (len(oracle.vectors), version)
    assert_same(index.search(queries, 10), before)


def test_a_write_keeps_no_hold_on_what_it_was_given(filled_l2: Filled) -> None:
    """By L2, where vectors are held as they are given; under cosine they are normalised, and so copied, in any case."""
    index, oracle = filled_l2
    (rows, vectors), queries = oracle.batch(), questions(np.random.default_rng(7))
    new = vectors[:5] * 2
    index.upsert(rows[:5], new, version=index.version)
    before = index.search(queries, 10)
    new[:], rows[:] = 0, 0
    assert_same(index.search(queries, 10), before)
