"""One function over a stream, several items at a time.

Many small products side by side use the cores better than BLAS does with one after the other: whatever is no product
runs side by side too, and no thread of BLAS spins while it waits, in the way of those that read and write.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from threadpoolctl import threadpool_info, threadpool_limits

Given = TypeVar("Given")
Made = TypeVar("Made")


def side_by_side(function: Callable[[Given], Made], items: Iterable[Given]) -> Iterator[Made]:
    """`function` of every item, in their order, in as many threads as BLAS would take; that takes one meanwhile.

    Reads ahead by one item a thread, so memory stays bounded. Whatever the function raises is raised in its place.
    """
    threads = _threads()
    waiting: deque[Future[Made]] = deque()
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(threads) as pool:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _threads() -> int:
    blas = (library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas")
    return max(map(int, blas), default=1)
