"""Work done in another thread while the caller does its own: batches read ahead, and batches written behind."""

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar

Batch = TypeVar("Batch")


def read_ahead(read: Callable[[], Iterator[Batch]]) -> Generator[Batch]:
    """What an iterator gives, one more being read while the caller has the last. Begun, gone through and closed in one
    thread of its own."""
    nothing = object()
    with ThreadPoolExecutor(1, thread_name_prefix="store-reader") as thread:
        batches = thread.submit(read).result()
        following = thread.submit(next, batches, nothing)
        try:
            while (batch := following.result()) is not nothing:
                following = thread.submit(next, batches, nothing)
                yield batch  # type: ignore[misc]  # what `nothing` is not
        finally:
            thread.submit(_close, batches).result()


def _close(batches: Iterator[object]) -> None:
    """Ends a generator where it is, as one that is left early would be in whatever thread comes by."""
    if (close := getattr(batches, "close", None)) is not None:
        close()


class Behind(Generic[Batch]):
    """One thread that does one thing after another, each begun once the one before is done.

    What it raises is raised by the next `do`, or at the end of the context.
    """

    def __init__(self, do: Callable[[Batch], object]) -> None:
        self._do = do
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store-writer")
        self._last: Future[object] | None = None

    def do(self, batch: Batch) -> None:
        """Begins with this one once the last is done."""
        self.wait()
        self._last = self._thread.submit(self._do, batch)

    def wait(self) -> None:
        """Returns when all is done."""
        if self._last is not None:
            last, self._last = self._last, None
            last.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.wait()
        finally:
            self._thread.shutdown()
