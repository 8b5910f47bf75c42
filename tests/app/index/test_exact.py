"""The exact search on rows made to mislead a fast pass, against explicit loops."""

from collections.abc import Callable

import numpy as np
import pytest

from app.index import Hits, LiveIndex
from app.index.bitmap import Bitmap
from app.index.exact import Propose, Scan, best_of, nearest
from models.portable import Distance

Vectors = np.ndarray
Score = Callable[[Vectors, Vectors], float]
NAIVE: dict[str, Score] = {
    "ip": lambda query, vector: float(np.dot(query, vector)),
    "l2": lambda query, vector: float(np.sqrt(np.square(query - vector).sum())),
}


def misleading(name: str) -> tuple[Vectors, Vectors]:
    """Rows and queries whose nearest a float32 pass confuses."""
    random = np.random.default_rng(1)
    rows = random.standard_normal((3_000, 48))
    queries = random.standard_normal((40, 48))
    if name == "far from the origin":  # squared distances by ‖q‖² + ‖x‖² − 2⟨q, x⟩ lose every digit
        rows, queries = 1e-2 * rows + 300, 1e-2 * queries + 300
    elif name == "one very long row":
        rows[77] *= 1e6
    elif name == "near duplicates":
        rows = np.repeat(rows[:30], 100, axis=0) * (1 + 1e-7 * random.standard_normal((3_000, 1)))
    elif name == "duplicates":
        rows = np.repeat(rows[:3], 1_000, axis=0)
    elif name == "tiny":
        rows, queries = 1e-15 * rows, 1e-15 * queries
    return rows.astype(np.float32), queries.astype(np.float32)


NAMES = ["far from the origin", "one very long row", "near duplicates", "duplicates", "tiny", "ordinary"]


def searched(rows: Vectors, queries: Vectors, k: int, score: Distance, propose: Propose | None = None) -> Hits:
    longest = float(np.linalg.norm(rows.astype(np.float64), axis=1).max())
    every = Bitmap.full(len(rows))
    scan = propose or Scan(rows, score)
    ids = np.arange(len(rows))
    return nearest(queries, k, vectors=rows, rows=ids, score=score, longest=longest, selected=every, propose=scan)


@pytest.mark.parametrize("score", ["ip", "l2"])
@pytest.mark.parametrize("name", NAMES)
def test_no_nearer_row_is_missed(name: str, score: Distance) -> None:
    rows, queries = misleading(name)
    hits, wide = searched(rows, queries, 7, score), rows.astype(np.float64)
    for query, row_ids, scores in zip(queries.astype(np.float64), hits.rows, hits.scores, strict=True):
        true = np.array([NAIVE[score](query, row) for row in wide])
        best = np.argsort(true if score == "l2" else -true, kind="stable")[:7]
        terms = np.abs(query * wide) if score == "ip" else np.abs(query - wide)
        rounding = 2e-6 * terms.sum(axis=1)
        assert (np.abs(true[row_ids] - true[best]) <= rounding[row_ids] + rounding[best]).all()
        assert (np.abs(scores - true[row_ids]) <= rounding[row_ids]).all()


@pytest.mark.parametrize("score", ["ip", "l2"])
@pytest.mark.parametrize("name", NAMES)
def test_misleading_rows_are_ranked_alike_in_every_batch(name: str, score: Distance) -> None:
    rows, queries = misleading(name)
    together = searched(rows, queries, 7, score)
    for size in (1, 3, 11):
        parts = [searched(rows, queries[at : at + size], 7, score) for at in range(0, len(queries), size)]
        np.testing.assert_array_equal(np.concatenate([part.rows for part in parts]), together.rows)
        np.testing.assert_array_equal(np.concatenate([part.scores for part in parts]), together.scores)


@pytest.mark.parametrize("score", ["ip", "l2"])
@pytest.mark.parametrize("name", NAMES)
def test_where_a_row_lies_changes_neither_its_rank_nor_its_score(name: str, score: Distance) -> None:
    rows, queries = misleading(name)
    ids = np.random.default_rng(2).permutation(len(rows))
    here, elsewhere = LiveIndex("l2", rows.shape[1]), LiveIndex("l2", rows.shape[1])
    here.upsert(np.arange(len(rows)), rows, version=1)
    elsewhere.upsert(ids, rows[ids], version=1)
    one, other = (index.search(queries, 7, score_as=score) for index in (here, elsewhere))
    np.testing.assert_array_equal(one.rows, other.rows)
    np.testing.assert_array_equal(one.scores, other.scores)


def test_a_fast_pass_that_errs_is_asked_again() -> None:
    """A pass off by as much as rounding may be, always against the true nearest, does not mislead the search."""
    rows, queries = misleading("near duplicates")
    truth = searched(rows, queries, 7, "ip")

    def spiteful(queries: Vectors, fetch: int, selected: Bitmap) -> tuple[Vectors, Vectors]:
        similarity = queries.astype(np.float64) @ rows.T.astype(np.float64)
        lengths = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(rows, axis=1)
        best = np.argsort(np.argsort(-similarity, axis=1), axis=1) < 7
        similarity -= np.where(best, 1, -1) * lengths * 2.0**-22
        order = np.argsort(-similarity, axis=1)[:, :fetch]
        return order, np.take_along_axis(similarity, order[:, -1:], axis=1)[:, 0].astype(np.float32)

    again = searched(rows, queries, 7, "ip", spiteful)
    np.testing.assert_array_equal(again.rows, truth.rows)


@pytest.mark.parametrize("score", ["ip", "l2"])
@pytest.mark.parametrize("lines", [1, 40])
@pytest.mark.parametrize("k", [1, 4, 6])
def test_the_best_of_lines_that_are_and_are_not_in_order(score: Distance, lines: int, k: int) -> None:
    random = np.random.default_rng(k)
    scores = np.sort(random.integers(0, 60, (lines, 6)).astype(np.float32), axis=1)  # some are equal
    if score == "ip":
        scores = scores[:, ::-1].copy()
    scores[::3] = random.permuted(scores[::3], axis=1)
    rows = random.permuted(np.broadcast_to(np.arange(6), (lines, 6)), axis=1)
    hits = best_of(rows, scores, np.ones(rows.shape, bool), k, score)
    sign = 1 if score == "l2" else -1
    for line in range(lines):
        ranking = sorted(zip((sign * scores[line]).tolist(), rows[line].tolist(), strict=True))[:k]
        assert hits.rows[line].tolist() == [row for _, row in ranking]
        assert (sign * hits.scores[line]).tolist() == [value for value, _ in ranking]
