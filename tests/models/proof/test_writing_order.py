from __future__ import annotations

import numpy as np

from models.proof.writing_order import dependence_range, writing_order

CODES = np.array([0, 1, 0, 0, -1, 1, 0])


def test_neighbours_are_those_written_next_with_the_same_label() -> None:
    order = writing_order(CODES)
    assert order.within(np.array([2, 1, 0]), 1).tolist() == [[0, 2, 3], [-1, 1, 5], [-1, 0, 2]]


def test_row_without_label_or_outside_the_gallery_has_no_neighbours() -> None:
    order = writing_order(CODES)
    assert order.within(np.array([4, -1]), 1).tolist() == [[-1, 4, -1], [-1, -1, -1]]


def test_runs_follow_the_order_within_a_label() -> None:
    runs = writing_order(CODES).runs(np.array([0, 2, 3, 6, 1, 5, 4, -1]), 2)
    assert runs[0] == runs[1]
    assert runs[2] == runs[3]
    assert runs[4] == runs[5]
    assert len(set(runs.tolist())) == 5


def runs_of(length: int, rng: np.random.Generator) -> np.ndarray:
    own, shared = rng.normal(size=(2, 2000, 16))
    rows: np.ndarray = own + shared[np.arange(2000) // length * length]
    return rows.astype(np.float32)


def test_length_of_runs_is_found() -> None:
    rng = np.random.default_rng(0)
    order = writing_order(np.repeat(np.arange(10), 200))
    for length in (1, 3, 6):
        reach = dependence_range(runs_of(length, rng), order)
        assert reach in ({0} if length == 1 else {length - 2, length - 1})


def test_shuffled_rows_show_no_dependence() -> None:
    rng = np.random.default_rng(0)
    rows = runs_of(6, rng)[rng.permutation(2000)]
    assert dependence_range(rows, writing_order(np.repeat(np.arange(10), 200))) == 0


def test_empty_order_has_no_dependence() -> None:
    assert dependence_range(np.zeros((3, 2), np.float32), writing_order(np.full(3, -1))) == 0
