"""Work that nobody waits for, done beside searches in steps, by one thread that rests as long as it works."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator

import structlog

log = structlog.get_logger(__name__)


class Unhurried:
    """Does what it is given, one after the other; its thread lives for as long as there is something to do."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[tuple[str, Iterator[None]]] = deque()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def busy(self) -> bool:
        """Whether anything is left to do."""
        return self._thread is not None

    def begin(self, what: str, steps: Iterator[None]) -> None:
        """Takes work to be done, and returns before it is. what: names it, where it fails."""
        with self._lock:
            if self._closed.is_set():
                return
            self._waiting.append((what, steps))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="unhurried", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Lets go of what is left, after the step that is under way."""
        with self._lock:
            self._closed.set()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting or self._closed.is_set():
                    self._thread = None
                    return
                what, steps = self._waiting.popleft()
            try:
                self._take(steps)
            except Exception as error:  # such as a version that is gone: nobody waits, and searches do without
                log.warning("work beside searches given up", what=what, error=repr(error))

    def _take(self, steps: Iterator[None]) -> None:
        began = time.monotonic()
        for _ in steps:
            if self._closed.wait(time.monotonic() - began):
                return
            began = time.monotonic()
