"""What an index must answer, worked out the slow way: every row, in float64."""

import numpy as np

from app.index import PADDING, Hits, RowIds, VectorIndex, Vectors
from models.portable import Distance

TOLERANCE = 2e-6  # of a score, relative to the magnitudes that went into it: float32 rounding over a few dozen terms


class Oracle:
    """Rows by id, compared one by one."""

    def __init__(self, metric: Distance, rows: RowIds, vectors: Vectors) -> None:
        self.metric: Distance = metric
        self.vectors = dict(zip(rows.tolist(), vectors.copy(), strict=True))

    def upsert(self, rows: RowIds, vectors: Vectors) -> None:
        self.vectors.update(zip(rows.tolist(), vectors.copy(), strict=True))

    def remove(self, rows: RowIds) -> None:
        for row in rows.tolist():
            self.vectors.pop(row, None)

    def batch(self) -> tuple[RowIds, Vectors]:
        """Every row and its vector."""
        return np.array(list(self.vectors), np.int64), np.array(list(self.vectors.values()), np.float32)

    def score(self, query: Vectors, row: int, score: Distance) -> float:
        """As `app.index.protocol` defines it."""
        vector, direction = self.vectors[row].astype(np.float64), query.astype(np.float64)
        if score == "cosine":
            direction = direction / np.linalg.norm(direction)
        if self.metric == "cosine":
            if not vector.any():
                length = float(np.linalg.norm(direction))
                return {"cosine": -1.0, "ip": -length, "l2": length + 1}[score]
            vector = vector / np.linalg.norm(vector)
        return float(np.linalg.norm(direction - vector) if score == "l2" else direction @ vector)

    def ranking(self, query: Vectors, score: Distance, allowed: RowIds | None = None) -> list[tuple[float, int]]:
        """Every (score, row) allowed, nearest first, ties by row id, rows without a direction last."""
        rows = sorted(self.vectors if allowed is None else set(self.vectors) & set(allowed.tolist()))
        if not rows:
            return []
        vectors, direction = np.array([self.vectors[row] for row in rows], np.float64), query.astype(np.float64)
        without = np.zeros(len(rows), bool)
        if score == "cosine":
            direction = direction / np.linalg.norm(direction)
        if self.metric == "cosine":
            without = np.linalg.norm(vectors, axis=1) == 0
            vectors = vectors / np.where(without, 1, np.linalg.norm(vectors, axis=1))[:, None]
        # Row by row the same sums, so that equal vectors have equal scores.
        scores = (
            np.sqrt(np.square(vectors - direction).sum(axis=1)) if score == "l2" else (vectors * direction).sum(axis=1)
        )
        length = float(np.linalg.norm(direction))
        scores[without] = {"cosine": -1.0, "ip": -length, "l2": length + 1}[score]
        order = np.lexsort((rows, scores if score == "l2" else -scores, without))
        return [(float(scores[place]), rows[place]) for place in order]


def assert_exact(
    index: VectorIndex, oracle: Oracle, queries: Vectors, k: int, score: Distance, allowed: RowIds | None = None
) -> None:
    """The index answers as the oracle does, up to the order of rows whose scores float32 cannot tell apart."""
    hits = index.search(queries, k, score_as=score, allowed=allowed)
    assert hits.rows.shape == hits.scores.shape == (len(queries), k)
    for query, rows, scores in zip(queries, hits.rows, hits.scores, strict=True):
        ranking = oracle.ranking(query, score, allowed)[:k]
        assert (rows == PADDING).tolist() == [False] * len(ranking) + [True] * (k - len(ranking))
        assert len(set(rows[: len(ranking)].tolist())) == len(ranking)
        slack = TOLERANCE * (1 + float(np.abs(query).sum()))
        np.testing.assert_allclose(scores[: len(ranking)], [best for best, _ in ranking], rtol=2e-6, atol=slack)
    assert_scores_true(hits, oracle, queries, score)


def assert_scores_true(hits: Hits, oracle: Oracle, queries: Vectors, score: Distance) -> None:
    """Every row answered exists and has the score it was given; nearest come first, ties by row id."""
    for query, rows, scores in zip(queries, hits.rows, hits.scores, strict=True):
        real = rows != PADDING
        true = [oracle.score(query, row, score) for row in rows[real].tolist()]
        np.testing.assert_allclose(scores[real], true, rtol=2e-6, atol=TOLERANCE * (1 + float(np.abs(query).sum())))
        with_direction = [oracle.metric != "cosine" or bool(oracle.vectors[row].any()) for row in rows[real].tolist()]
        assert with_direction == sorted(with_direction, reverse=True)
        ordered = real.copy()
        ordered[real] = with_direction
        keys = list(zip((scores if score == "l2" else -scores)[ordered].tolist(), rows[ordered].tolist(), strict=True))
        assert keys == sorted(keys)


def assert_same(one: Hits, other: Hits) -> None:
    """Two answers of a search have the same rows in the same order, and scores that are equal bit by bit."""
    np.testing.assert_array_equal(one.rows, other.rows)
    np.testing.assert_array_equal(one.scores.view(np.uint32), other.scores.view(np.uint32))
