"""Turns at the connections of a database: how many sessions may hold one, and for how long others wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from sqlalchemy.exc import TimeoutError

_ONLY_READ = 3  # connections, at most, that no writer takes


class ConnectionTurns:
    """As many turns as there are connections; a few of them are for those that read alone."""

    def __init__(self, connections: int, seconds: float) -> None:
        self._seconds = seconds
        self._all = threading.BoundedSemaphore(connections)
        self._writers = threading.BoundedSemaphore(connections - min(connections - 1, _ONLY_READ))

    @contextmanager
    def held(self, *, writes: bool) -> Iterator[None]:
        """A turn for as long as the context is open: a connection is free for its holder.

        Raises SQLAlchemy's TimeoutError where none came within `seconds`, whatever it was that was waited for.
        """
        latest = time.monotonic() + self._seconds
        with ExitStack() as stack:
            for turns in (self._writers, self._all) if writes else (self._all,):
                if not turns.acquire(timeout=max(0.0, latest - time.monotonic())):
                    what = "writer" if turns is self._writers else "session"
                    raise TimeoutError(f"no connection for another {what} in {self._seconds:g} seconds")
                stack.callback(turns.release)
            yield
