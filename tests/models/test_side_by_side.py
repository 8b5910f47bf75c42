"""A stream worked on side by side comes out as if one item had been done after the other."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from models.side_by_side import side_by_side
from tests.waiting import PATIENCE_SECONDS


def _blas_threads() -> set[int]:
    return {int(library["num_threads"]) for library in threadpool_info() if library["user_api"] == "blas"}


@contextmanager
def torch_threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def test_results_come_in_the_order_of_their_items() -> None:
    later_done = threading.Event()

    def done(item: int) -> int:
        if item == 0:
            assert later_done.wait(PATIENCE_SECONDS)
        else:
            later_done.set()
        return item * item

    with torch_threads(2), side_by_side() as threads:
        assert list(threads.map(done, range(50))) == [item * item for item in range(50)]


def test_no_more_is_read_ahead_than_there_are_threads() -> None:
    read = 0

    def items() -> Iterator[int]:
        nonlocal read
        while read < 100:
            read += 1
            yield read

    with torch_threads(3), side_by_side() as threads:
        for taken, item in enumerate(threads.map(lambda item: item, items()), start=1):
            assert item == taken
            assert read <= taken + 3


def test_what_the_function_raises_comes_in_the_place_of_its_item() -> None:
    def halved(item: int) -> int:
        if item % 2:
            raise ValueError(f"{item} is odd")
        return item // 2

    with side_by_side() as threads:
        results = threads.map(halved, iter([2, 4, 5, 6]))
        assert [next(results), next(results)] == [1, 2]
        with pytest.raises(ValueError, match="5 is odd"):
            next(results)


def test_blas_takes_one_thread_meanwhile_and_its_own_again_afterwards() -> None:
    with threadpool_limits(2, "blas"):
        before = _blas_threads()
        with torch_threads(2), side_by_side() as threads:
            squares = threads.map(lambda item: np.full((2, 2), item) @ np.eye(2), range(4))
            assert [(int(square[0, 0]), _blas_threads()) for square in squares] == [(item, {1}) for item in range(4)]
        assert _blas_threads() == before


def test_a_stream_that_another_thread_left_half_read_leaves_blas_as_it_was() -> None:
    with threadpool_limits(2, "blas"):
        before = _blas_threads()
        with side_by_side() as threads, ThreadPoolExecutor(1) as reader:
            results = threads.map(lambda item: item, range(100))
            assert reader.submit(next, results).result() == 0
        assert _blas_threads() == before
    with threadpool_limits(1, "blas"):
        assert _blas_threads() == {1}


def test_pytorch_takes_one_thread_in_each_and_its_own_again_afterwards() -> None:
    with torch_threads(2):
        with side_by_side() as threads:
            assert list(threads.map(lambda _: torch.get_num_threads(), range(4))) == [1] * 4
        assert torch.get_num_threads() == 2
        with ThreadPoolExecutor(1) as other:
            assert other.submit(torch.get_num_threads).result() == 2


def test_one_thread_alone_is_the_callers_and_its_libraries_take_as_many_as_ever() -> None:
    with torch_threads(2), threadpool_limits(2, "blas"):
        before = _blas_threads()
        with side_by_side(most=1) as threads:
            seen = set(threads.map(lambda _: (threading.get_ident(), torch.get_num_threads()), range(20)))
            assert seen == {(threading.get_ident(), 2)}
            assert _blas_threads() == before


def test_what_has_not_begun_is_dropped_where_the_consumer_gives_up() -> None:
    begun, go_on = [], threading.Event()

    def work(item: int) -> None:
        begun.append(item)
        if item:
            assert go_on.wait(PATIENCE_SECONDS)

    def give_up() -> None:
        with torch_threads(2), side_by_side() as threads:
            next(threads.map(work, range(100)))
            threading.Timer(0.1, go_on.set).start()
            raise SystemExit

    with pytest.raises(SystemExit):
        give_up()
    assert set(begun) <= {0, 1, 2}
