"""One function over a stream, several items at a time.

Many small products side by side use the cores better than BLAS does with one after the other: whatever is no product
runs side by side too, and no thread of BLAS spins while it waits, in the way of those that read and write.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from threadpoolctl import threadpool_info, threadpool_limits

Given = TypeVar("Given")
Made = TypeVar("Made")


@dataclass(frozen=True)
class SideBySide:
    """As many threads as BLAS would take."""

    pool: Executor
    threads: int

    def map(self, function: Callable[[Given], Made], items: Iterable[Given]) -> Iterator[Made]:
        """`function` of every item, in their order.

        Reads ahead by one item a thread, so memory stays bounded. Whatever the function raises is raised in its place.
        """
        waiting: deque[Future[Made]] = deque()
        for item in items:
            waiting.append(self.pool.submit(function, item))
            if len(waiting) > self.threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@contextmanager
def side_by_side() -> Iterator[SideBySide]:
    """Threads to work in, while BLAS takes one.

    To be entered by whoever waits for the whole, and not within a stream: another thread may draw from that (Lance's
    writer does), and OpenBLAS heeds one thread alone until that one gives its limit up again (threadpoolctl).
    """
    threads = _threads()
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(threads) as pool:
        yield SideBySide(pool, threads)


def _threads() -> int:
    blas = (library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas")
    return max(map(int, blas), default=1)
