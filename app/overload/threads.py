"""The threads that requests are answered in: enough that none waits for a thread that another kind of work holds."""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable
from queue import SimpleQueue

import anyio
import structlog
from anyio.to_thread import current_default_thread_limiter

from app.settings import Settings

_SWITCH_SECONDS = 0.0005
_OTHERS = 24  # streams of events that look again, what is left for after answers, files that are sent
_EXPORTS = 4

log = structlog.get_logger(__name__)


def enough_threads(settings: Settings) -> None:
    """Has the running event loop keep as many threads as requests have turns, and some more. A thread that waits, for
    the database or for the disk, takes no processor.

    Threads hand the interpreter on after half a millisecond, where it would be five: a search asks for it a few times,
    between comparisons that do without, and would wait as long for an event loop that has much to do each time; as
    would the event loop, and with it the answers on health, for every thread.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)
    turns = (
        settings.searches_at_once,
        settings.bulk_searches_at_once,
        settings.embeddings_at_once,
        settings.writes_at_once,
        settings.reads_at_once,
    )
    current_default_thread_limiter().total_tokens = sum(turns) + _OTHERS


def export_threads() -> anyio.CapacityLimiter:
    """Threads in which the parts of exports are made, apart from those of requests, however many exports there are."""
    return anyio.CapacityLimiter(_EXPORTS)


class HandedOver:
    """Threads that do what is handed over to them, one after another, each begun when first needed.

    anyio's, which are for everything, take twice as long to hand a call over. `ThreadPoolExecutor` waits for its own
    before the process ends, even for one that waits for a database which does not answer.
    """

    def __init__(self, most: int, name: str) -> None:
        """most: how many threads there are at most; they end once nothing refers to this any more."""
        self._most = most
        self._name = name
        self._waiting: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._begun = 0
        weakref.finalize(self, _end, self._waiting, most)

    def submit(self, do: Callable[[], object]) -> None:
        """Has a thread do this, which sees to whatever may be raised itself; what it lets through is only logged. To be
        called by one thread."""
        self._waiting.put(do)
        if not self._idle.acquire(blocking=False) and self._begun < self._most:
            self._begun += 1
            threading.Thread(target=_work, args=(self._waiting, self._idle), name=self._name, daemon=True).start()


def _work(waiting: SimpleQueue[Callable[[], object] | None], idle: threading.Semaphore) -> None:
    while (do := waiting.get()) is not None:
        try:
            do()
        except Exception:  # the thread goes on: one less would never be made up for
            log.exception("what was handed over to a thread failed")
        del do  # else it, and what it refers to, would stay until the next
        idle.release()


def _end(waiting: SimpleQueue[Callable[[], object] | None], threads: int) -> None:
    for _ in range(threads):
        waiting.put(None)


def search_threads() -> HandedOver:
    """Threads for searches with one query, which are answered many together: more than a few would only take turns on
    the processors."""
    return HandedOver(2 * (os.cpu_count() or 1), "search")
