from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from models.training.threads import WORTH_THREADS, blas_threads_worth_it, fits_side_by_side, threads_worth_it


@pytest.mark.parametrize(("operations", "threads"), [(1.0, 1), (WORTH_THREADS, 2)])
def test_small_steps_of_training_take_one_thread_and_large_ones_all(operations: float, threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with threads_worth_it(operations):
            assert torch.get_num_threads() == threads
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("operations", "threads"), [(1.0, 1), (WORTH_THREADS, 2)])
def test_small_decompositions_take_one_thread_and_large_ones_all(operations: float, threads: int) -> None:
    with threadpool_limits(2, user_api="blas"):
        with blas_threads_worth_it(operations):
            assert threads_of_numpy() == {threads}
        assert threads_of_numpy() == {2}


def test_fits_side_by_side_have_one_thread_each_and_others_their_own_again_afterwards() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with fits_side_by_side() as threads:
            assert list(threads.map(lambda _: torch.get_num_threads(), range(4))) == [1] * 4
        assert torch.get_num_threads() == 2
        with ThreadPoolExecutor(1) as other:
            assert other.submit(torch.get_num_threads).result() == 2
        with fits_side_by_side(most=1) as threads:
            assert list(threads.map(lambda _: torch.get_num_threads(), range(4))) == [2] * 4
    finally:
        torch.set_num_threads(before)


def threads_of_numpy() -> set[int]:
    """Of numpy's own library: others that this process has loaded may know one thread alone."""
    found = [library for library in threadpool_info() if library["user_api"] == "blas"]
    return {library["num_threads"] for library in found if "numpy" in library["filepath"]}
