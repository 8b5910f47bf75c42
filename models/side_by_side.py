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

import torch
from threadpoolctl import threadpool_limits

Given = TypeVar("Given")
Made = TypeVar("Made")


@dataclass(frozen=True)
class SideBySide:
    """Threads to work in; pool: None where there is one alone, which is then the caller's own."""

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
def side_by_side(most: int | None = None) -> Iterator[SideBySide]:
    """As many threads as PyTorch would take, and no more than `most`; PyTorch takes one in each, and BLAS one in all.

    Where that is one thread, the work is done by the caller as it asks for results, and both libraries take as many
    threads as ever. Where the caller's context ends with an error, what has not begun is dropped.

    To be entered by whoever waits for the whole, and not within a stream: another thread may draw from that (Lance's
    writer does), and OpenBLAS heeds one thread alone until that one gives its limit up again (threadpoolctl).
    """
    before = torch.get_num_threads()
    threads = before if most is None else max(1, min(most, before))
    if threads == 1:
        yield SideBySide(None, 1)
        return
    try:
        with (
            threadpool_limits(1, "blas"),
            ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool,
        ):
            try:
                yield SideBySide(pool, threads)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    finally:
        torch.set_num_threads(before)  # which is what threads begin with that do not say it themselves


def fits_at_once() -> int | None:
    """As many transformations as may be learned side by side: one where a GPU learns them; None for any number."""
    return 1 if torch.cuda.is_available() else None
