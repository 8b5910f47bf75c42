"""Grouping and limits to scores against brute force: every label's nearest items, of every item that may be found."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.filters import UNLABELLED, RowLabels
from app.index import PADDING, Hits, LiveIndex, RowIds
from app.search.grouping import grouped
from app.search.ranking import QueryPlaces, Rank, Ranking, near_enough, without_own
from models.portable import Distance

Group = tuple[int, list[tuple[float, int]]]


def row_labels(codes: list[int]) -> RowLabels:
    """Of rows 0 … n - 1; UNLABELLED for one without."""
    every = np.array(codes, np.int32)
    rows = np.flatnonzero(every != UNLABELLED)
    return RowLabels(rows, every[rows], None if 2 * len(rows) > len(every) else rows)


def scored(queries: np.ndarray, vectors: np.ndarray, metric: Distance) -> np.ndarray:
    """Every pair by one float64 formula, as float32: (m, n)."""
    left, right = queries.astype(np.float64)[:, None], vectors.astype(np.float64)[None]
    scores = np.sqrt(np.square(left - right).sum(axis=2)) if metric == "l2" else (left * right).sum(axis=2)
    return np.asarray(scores, np.float32)


def ranking_all(scores: np.ndarray, metric: Distance) -> Rank:
    """Ranks by scores (m, n) of every row."""
    sign = 1 if metric == "l2" else -1

    def rank(which: QueryPlaces, k: int, allowed: RowIds | None) -> Ranking:
        few = scores[which]
        rows = np.arange(scores.shape[1])
        kept = rows if allowed is None else np.intersect1d(rows, allowed)
        order = np.argsort(sign * few[:, kept], axis=1, kind="stable")[:, :k]
        hits = Hits(np.full((len(which), k), PADDING), np.full((len(which), k), sign * np.inf, np.float32))
        hits.rows[:, : order.shape[1]] = kept[order]
        hits.scores[:, : order.shape[1]] = few[np.arange(len(few))[:, None], kept[order]]
        return Ranking(hits, True, None)

    return rank


def brute(scores: np.ndarray, codes: list[int], k: int, size: int, sign: int, among: set[int]) -> list[Group]:
    """The nearest labels of one query, (n,) scores, each with its nearest rows."""
    by_label: dict[int, list[tuple[float, int]]] = {}
    for row, code in enumerate(codes):
        if code != UNLABELLED and row in among:
            by_label.setdefault(code, []).append((sign * float(scores[row]), row))
    ordered = sorted(((code, sorted(found)[:size]) for code, found in by_label.items()), key=lambda one: one[1][0])
    return ordered[:k]


def read(hits: Hits, codes: list[int], size: int, sign: int) -> list[list[Group]]:
    """Grouped hits as `brute` writes them."""
    answers: list[list[Group]] = []
    for rows, scores in zip(
        hits.rows.reshape(len(hits.rows), -1, size), hits.scores.reshape(len(hits.rows), -1, size), strict=True
    ):
        groups = [
            [(sign * float(one), int(row)) for row, one in zip(line, values, strict=True) if row != PADDING]
            for line, values in zip(rows, scores, strict=True)
        ]
        answers.append([(codes[group[0][1]], group) for group in groups if group])
        assert all(codes[row] == code for code, group in answers[-1] for _, row in group)
    return answers


@given(
    seed=st.integers(0, 2**32 - 1),
    counts=st.lists(st.sampled_from([1, 1, 2, 3, 70, 300]), max_size=8),
    unlabelled=st.sampled_from([0, 0, 5, 200]),
    k=st.integers(1, 6),
    size=st.integers(1, 5),
    metric=st.sampled_from(["cosine", "ip", "l2"]),
    filtered=st.booleans(),
    coarse=st.booleans(),
    itself=st.booleans(),
    looked_at=st.sampled_from([(4, 8), (64, 100), (64, 4_096)]),
)
def test_groups_are_those_of_brute_force(
    seed: int,
    counts: list[int],
    unlabelled: int,
    k: int,
    size: int,
    metric: Distance,
    filtered: bool,
    coarse: bool,
    itself: bool,
    looked_at: tuple[int, int],
) -> None:
    """A few labels with most of the items lie nearest to the queries, so that the others are not among the first."""
    rng = np.random.default_rng(seed)
    codes = [code for code, count in enumerate(counts) for _ in range(count)] + [UNLABELLED] * unlabelled
    order = rng.permutation(len(codes))
    codes = [codes[place] for place in order]
    size_of = np.array([counts[code] if code != UNLABELLED else 200 for code in codes], np.float64)
    scores = rng.normal(size=(3, len(codes))) + size_of / 100 * (-1 if metric == "l2" else 1)
    scores = np.asarray(np.round(scores) if coarse else scores, np.float32)  # coarse: many ties
    sign = 1 if metric == "l2" else -1
    allowed = np.flatnonzero(rng.random(len(codes)) < 0.4) if filtered else None
    rank = ranking_all(scores, metric)
    own = rng.integers(0, max(1, len(codes)), 3)
    if itself and codes:
        rank = without_own(rank, own)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.search.grouping._FIRST", looked_at[0])
        patch.setattr("app.search.grouping._MOST", looked_at[1])
        hits = grouped(rank, 3, row_labels(codes).among(allowed), k, size, metric).hits
    assert hits.rows.shape == (3, k * size)
    among = set(range(len(codes))) if allowed is None else set(allowed.tolist())
    found = read(hits, codes, size, sign)
    for query in range(3):
        left = among - {int(own[query])} if itself else among
        assert found[query] == brute(scores[query], codes, k, size, sign, left)


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
def test_groups_of_an_index_are_those_of_brute_force(metric: Distance) -> None:
    rng = np.random.default_rng(1)
    codes = [0] * 900 + [1] * 300 + [2] * 5 + [3] + [UNLABELLED] * 50
    vectors = rng.normal(size=(len(codes), 6)).astype(np.float32)
    vectors[900:] += 4
    queries = rng.normal(size=(5, 6)).astype(np.float32)
    index = LiveIndex(metric, 6)
    index.upsert(np.arange(len(codes)), vectors, version=1)
    sign = 1 if metric == "l2" else -1

    def rank(which: QueryPlaces, k: int, allowed: RowIds | None) -> Ranking:
        return Ranking(index.search(queries[which], k, allowed=allowed), True, None)

    hits = grouped(rank, 5, row_labels(codes), 4, 3, metric).hits
    if metric == "cosine":
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    expected = scored(queries, vectors, metric)
    for query, groups in enumerate(read(hits, codes, 3, sign)):
        wanted = brute(expected[query], codes, 4, 3, sign, set(range(len(codes))))
        assert [(code, [row for _, row in group]) for code, group in groups] == [
            (code, [row for _, row in group]) for code, group in wanted
        ]
        np.testing.assert_allclose(
            [one for _, group in groups for one, _ in group],
            [one for _, group in wanted for one, _ in group],
            rtol=1e-5,
        )


@given(
    st.lists(st.floats(-2, 2, width=32), max_size=12),
    st.none() | st.floats(-3, 3),
    st.none() | st.floats(-3, 3),
)
def test_of_hits_those_within_the_limits_stay(
    scores: list[float], at_least: float | None, at_most: float | None
) -> None:
    given_scores = np.array([scores], np.float32).reshape(1, -1)
    hits = near_enough(Hits(np.arange(len(scores))[None], given_scores), at_least, at_most, "ip")
    wanted = [
        row
        for row, one in enumerate(scores)
        if (at_least is None or one >= at_least) and (at_most is None or one <= at_most)
    ]
    assert [row for row in hits.rows[0].tolist() if row != PADDING] == wanted
    assert hits.scores[0][hits.rows[0] != PADDING].tolist() == [scores[row] for row in wanted]
