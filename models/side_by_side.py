"""Work that is shared between threads, each of which computes by itself.

Many small products side by side use the cores better than a library does with one after the other: whatever is no
product runs side by side too, and no thread of the library spins while it waits, in the way of those that read and
write.
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
    """Threads to work in. pool: None for one alone, which is the caller's own."""

    pool: Executor | None
    threads: int

    def map(self, function: Callable[[Given], Made], items: Iterable[Given]) -> Iterator[Made]:
        """`function` of every item, in their order.

        Reads ahead by one item a thread, so memory stays bounded. Whatever the function raises is raised in its place.
        """
        if self.pool is None:
            yield from map(function, items)
            return
        waiting: deque[Future[Made]] = deque()
        for item in items:
            waiting.append(self.pool.submit(function, item))
            if len(waiting) > self.threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@contextmanager
def side_by_side(threads: int, begin: Callable[[], object] | None = None) -> Iterator[SideBySide]:
    """So many threads, in which BLAS takes one meanwhile; one alone has BLAS to itself. begin: called in each at first.

    To be entered by whoever waits for the whole, and not within a stream: another thread may draw from that (Lance's
    writer does), and OpenBLAS heeds one thread alone until that one gives its limit up again (threadpoolctl). What
    waits to be begun is given up where the block is left by an exception.
    """
    if threads <= 1:
        yield SideBySide(None, 1)
        return
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(threads, initializer=begin) as pool:
        try:
            yield SideBySide(pool, threads)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def blas_threads() -> int:
    """How many threads BLAS takes for one product."""
    blas = (library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas")
    return max(map(int, blas), default=1)
