"""What is swept beside requests once a gateway has started, since to look for it takes longer than a start may."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from filelock import FileLock, Timeout

from app.composition import Crosswalk
from app.leftovers import forget_counts_of_gone
from app.store_leftovers import sweep_store

_LOCK = "sweeping.lock"
_GRACE_SECONDS = 5.0

log = structlog.get_logger(__name__)


@contextmanager
def sweeping(crosswalk: Crosswalk) -> Iterator[None]:
    """Has the object store swept, and counts of items that are gone, beside what goes on here, by one of the processes
    that share a data directory: the one that sweeps keeps the others from it for as long as it lives. So one that
    starts before another ends, as where a new release takes the place of an old one, leaves it to the next start."""
    ending = threading.Event()
    lock = FileLock(crosswalk.settings.data_dir / _LOCK, thread_local=False)  # let go of by any thread
    try:
        lock.acquire(blocking=False)
    except Timeout:
        yield
        return
    except OSError as error:  # such as of a disk without locks
        log.warning("nothing is swept beside requests, as it cannot be known that one process does", error=repr(error))
        yield
        return
    sweep = threading.Thread(target=_sweep, args=(crosswalk, ending), name="sweeping", daemon=True)
    sweep.start()
    try:
        yield
    finally:
        ending.set()
        sweep.join(_GRACE_SECONDS)  # a store that hangs keeps nobody from ending
        lock.release()


def _sweep(crosswalk: Crosswalk, ending: threading.Event) -> None:
    sweep_store(crosswalk, ending)
    forget_counts_of_gone(crosswalk, ending)
