"""Keeps a step's lease while the step works, and ends the process at once when the lease or the supervisor is gone."""

import os
import threading
import time
from collections.abc import Callable
from types import TracebackType

import structlog

from app.jobs.leases import LeaseLost, Leases
from app.jobs.values import JobProgress, Lease
from app.problems import DiskFull
from app.settings import Settings

LEASE_LOST = 75
"""The exit status of a step that no longer holds its job (sysexits' EX_TEMPFAIL)."""

log = structlog.get_logger(__name__)


class Heartbeat:
    """Renews the lease from a thread of its own, carrying the latest progress.

    lost: what is done once the lease or the supervisor is gone; the process ends at once, unless told otherwise. Not by
    an exception in the main thread: that may be inside a long call that hears of none.
    """

    def __init__(
        self,
        leases: Leases,
        lease: Lease,
        settings: Settings,
        supervisor: int,
        lost: Callable[[], object] = lambda: os._exit(LEASE_LOST),
    ) -> None:
        self.progress: JobProgress | None = None
        self.cancel_requested = False
        self._leases = leases
        self._lease = lease
        self._settings = settings
        self._supervisor = supervisor
        self._lost = lost
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> "Heartbeat":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """No lease is renewed from now on, nor missed: said before a job ends, since an ended job has no lease."""
        self._ended.set()

    def _beat(self) -> None:
        renewed = time.monotonic()
        while not self._ended.wait(self._settings.heartbeat_seconds):
            # Where the kernel cannot tell us that the supervisor died, this does.
            if os.getppid() != self._supervisor:
                self._lost()
                return
            try:
                self.cancel_requested = self._leases.renew(self._lease, lambda: self.progress)
                renewed = time.monotonic()
            except LeaseLost:
                if not self._ended.is_set():
                    self._lost()
                return
            except Exception as error:  # A database that is away for a moment has not taken the lease.
                log.warning("lease not renewed", job=self._lease.job_id, error=repr(error))
                if isinstance(error, DiskFull):
                    renewed = time.monotonic()  # Nobody can claim the job either: that is to be written, too.
                if time.monotonic() - renewed > self._settings.lease_seconds:
                    self._lost()
                    return
