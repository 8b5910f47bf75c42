from __future__ import annotations

import json
import math

import numpy as np
import pytest

from models.evaluation.version_chain import chain_scores

NAN = math.nan


def test_a_tie_counts_under_at_least_and_not_under_more_than() -> None:
    matrix = np.array([[0.5, NAN, NAN], [0.5, 0.6, NAN], [0.7, 0.4, 0.8]])
    scores = chain_scores(matrix)
    assert scores.ac == pytest.approx(1 / 3)  # of (1, 0) tied, (2, 0) better, (2, 1) worse
    assert scores.ac_or_equal == pytest.approx(2 / 3)
    assert scores.am == pytest.approx((0.5 + 0.5 + 0.6 + 0.7 + 0.4 + 0.8) / 6)
    assert (scores.pairs_counted, scores.pairs, scores.cells_counted, scores.cells) == (3, 3, 6, 6)
    assert scores.missing == ()


def test_scores_equal_the_double_sums_of_the_definition() -> None:
    t = 7
    matrix = np.random.default_rng(0).integers(0, 5, (t, t)) / 4  # coarse, so that ties occur
    pairs = [(i, j) for i in range(t) for j in range(i)]
    assert any(matrix[i, j] == matrix[j, j] for i, j in pairs)
    scores = chain_scores(matrix)
    assert scores.ac == pytest.approx(2 / (t * (t - 1)) * sum(matrix[i, j] > matrix[j, j] for i, j in pairs))
    assert scores.ac_or_equal == pytest.approx(2 / (t * (t - 1)) * sum(matrix[i, j] >= matrix[j, j] for i, j in pairs))
    assert scores.am == pytest.approx(2 / (t * (t + 1)) * sum(matrix[i, j] for i in range(t) for j in range(i + 1)))


def test_missing_cells_are_left_out_counted_and_named() -> None:
    matrix = np.array([[0.5, NAN, NAN], [NAN, 0.6, NAN], [0.7, 0.4, NAN]])
    scores = chain_scores(matrix)
    assert scores.ac == scores.ac_or_equal == pytest.approx(1 / 2)
    assert (scores.pairs_counted, scores.pairs) == (2, 3)
    assert scores.am == pytest.approx((0.5 + 0.6 + 0.7 + 0.4) / 4)
    assert (scores.cells_counted, scores.cells) == (4, 6)
    assert scores.missing == ((1, 0), (2, 2))


def test_a_missing_self_test_takes_its_whole_column_of_pairs() -> None:
    scores = chain_scores(np.array([[NAN, NAN, NAN], [0.9, 0.6, NAN], [0.9, 0.7, 0.8]]))
    assert (scores.ac, scores.pairs_counted) == (1.0, 1)


def test_what_is_above_the_diagonal_is_not_read() -> None:
    low = np.tril(np.random.default_rng(1).random((4, 4)))
    assert chain_scores(low) == chain_scores(low + np.triu(np.full((4, 4), 9.0), 1))


def test_one_version_has_no_pairs_and_its_self_test_as_mean() -> None:
    scores = chain_scores(np.array([[0.25]]))
    assert (scores.ac, scores.ac_or_equal, scores.pairs, scores.am) == (None, None, 0, 0.25)
    nothing = chain_scores(np.array([[NAN]]))
    assert (nothing.am, nothing.missing) == (None, ((0, 0),))


def test_json_is_plain() -> None:
    scores = chain_scores(np.array([[0.5, NAN], [NAN, NAN]])).to_json()
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores
    assert scores["missing"] == [[1, 0], [1, 1]]


@pytest.mark.parametrize("shape", [(2, 3), (4,), (0, 0)])
def test_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(T, T\)"):
        chain_scores(np.zeros(shape))
