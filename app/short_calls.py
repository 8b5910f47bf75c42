"""Calls so short that an event loop makes them itself, since to hand one over to a thread would take longer.

Nothing else is answered meanwhile. So whatever such a call comes to that waits, or may take long, has it made again in
a thread: by `leave_event_loop`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_SECONDS = 0.002  # of one call; health checks, and whoever sends the next request, wait as long
_SECONDS_FOR_EACH = 0.002  # what takes longer, threads do sooner, side by side
_WORTH_A_TRY = 1.5  # times as long, in a thread, which also waits for caches that the event loop has used meanwhile
_MOST_REFUSALS = 64
_OLD = 0.75  # weight of what was measured before


class TakesLong(BaseException):
    """A call that an event loop made itself is to be made in a thread. No `Exception`, so that nothing on the way takes
    it for a failure."""


class _Here(threading.local):
    is_loop = False


_here = _Here()


@contextmanager
def in_event_loop() -> Iterator[None]:
    """While this is entered, `leave_event_loop` refuses to go on in this thread."""
    _here.is_loop = True
    try:
        yield
    finally:
        _here.is_loop = False


def leave_event_loop() -> None:
    """To be called before anything that waits, for a disk, a lock or a server, or takes longer than a millisecond.

    Raises TakesLong where an event loop is making the call itself; nothing may have been changed before.
    """
    if _here.is_loop:
        raise TakesLong


class Pace:
    """How long calls of one kind take, and so whether an event loop is to make the next one itself."""

    def __init__(self) -> None:
        self._thread_seconds: float | None = None
        self._loop_seconds: float | None = None
        self._together = 1  # as many as one call was seen to answer in time, and one more
        self._in_threads = 0
        self._refusals = 1

    @property
    def fit(self) -> int:
        """How many can be answered by one call of an event loop; 0 where a thread is to make the next call.

        As many as would take so long one by one, or more where calls were seen to answer these in time: much of what a
        call takes is the same however many it answers.
        """
        if self._in_threads or self._thread_seconds is None:
            return 0
        if self._loop_seconds is not None:
            return max(self._together, int(_SECONDS / self._loop_seconds))
        if self._thread_seconds > _WORTH_A_TRY * _SECONDS_FOR_EACH:
            return 0
        return max(1, int(_SECONDS / self._thread_seconds))

    def took(self, seconds: float, answered: int, *, in_loop: bool, kept: float = 0.0) -> None:
        """Takes note of a call that answered so many.

        seconds: of a processor, so that calls are not taken for long ones where others use the processor. kept: seconds
        by the clock that the event loop was kept for.
        """
        each = max(seconds, 1e-9) / answered  # clocks have steps
        if not in_loop:
            self._thread_seconds = _followed(self._thread_seconds, each)
            self._in_threads = max(0, self._in_threads - 1)
            return
        self._loop_seconds = _followed(self._loop_seconds, each)
        if seconds > _SECONDS:
            self._together = max(1, min(answered - 1, int(answered * _SECONDS / seconds)))
        else:  # where fewer come, what many took is of less and less use
            self._together = max(answered + 1, self._together - 1)
        if kept > 2 * _SECONDS or self._loop_seconds > _SECONDS_FOR_EACH:
            self.refused()
        else:
            self._refusals = 1

    def refused(self) -> None:
        """Takes note of a call that came to what takes long: the next calls are made in threads, twice as many as the
        last time."""
        self._in_threads = self._refusals
        self._refusals = min(2 * self._refusals, _MOST_REFUSALS)


def _followed(before: float | None, now: float) -> float:
    """A mean of what was measured, of which the last is a fourth."""
    return now if before is None else _OLD * before + (1 - _OLD) * now
