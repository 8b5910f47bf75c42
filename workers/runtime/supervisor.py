"""Claims jobs and sees each through its own process: watched, killed when cancelled, released when it crashes."""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.forking.forked_process import ForkServer
from app.jobs.leases import LeaseLost, Leases
from app.jobs.values import Lease
from app.problems import DiskFull, Unavailable
from app.settings import Settings
from app.storage.database import Database
from workers.runtime.child_process import Child, environment
from workers.runtime.death import Death
from workers.runtime.program import Program

_TICK_SECONDS = 0.2
_LINGER_SECONDS = 2.0
_SWEEPS_UNTIL_SPACE = 5
"""After so many sweeps a step that found the disk full is tried again."""
_LONGEST_START_SECONDS = 600.0
"""How long a process may take before it keeps its lease itself; one that hangs loses its job to another."""

log = structlog.get_logger(__name__)


class Supervisor:
    """`worker_concurrency` slots, each a thread that runs one step at a time.

    A slot looks for work when the doorbell wakes it, when a step ends, and every `sweep_seconds`: that finds jobs whose
    ring was lost, whose back-off is over, or whose holder vanished, without the broker. While a step runs, what those
    that wait will import is imported.
    """

    def __init__(self, settings: Settings, program: Program, ring: Callable[[], None]) -> None:
        self._settings = settings
        self._program = program
        self._ring = ring
        self._database = Database(settings.sqlalchemy_url, settings.database_connections, settings.database_seconds)
        self._leases = Leases(self._database, settings, program.failed(settings))
        # On macOS, what a system library has set up does not outlive a fork; elsewhere there is none.
        self._forks = ForkServer(environment(settings)) if sys.platform == "linux" else None
        self._stopping = threading.Event()
        self._bells = [threading.Event() for _ in range(settings.worker_concurrency)]
        self._slots = [
            threading.Thread(target=self._serve, args=(bell,), name=f"slot {number}", daemon=True)
            for number, bell in enumerate(self._bells)
        ]

    def start(self) -> None:
        self._prepare(self._program.first)
        for slot in self._slots:
            slot.start()
        self.wake()

    def wake(self) -> None:
        """Has every slot look for work now."""
        for bell in self._bells:
            bell.set()

    def stop(self) -> None:
        """Kills what runs, hands its jobs back, and returns when all is still. Costs no job an attempt."""
        self._stopping.set()
        self.wake()
        for slot in self._slots:
            slot.join()
        if self._forks is not None:
            self._forks.close()
        self._database.close()

    def _serve(self, bell: threading.Event) -> None:
        while not self._stopping.is_set():
            bell.wait(self._settings.sweep_seconds)
            bell.clear()
            try:
                self._leases.bury()
                while not self._stopping.is_set() and (lease := self._leases.claim(self._program.steps)):
                    try:
                        self._see_through(lease, bell)
                    except Exception:
                        bell.set()  # it may have rung meanwhile
                        raise
                    self._ring()
            except Exception:  # The database may be away; the slot must still be there when it is back.
                log.exception("could not look for work; looking again soon")

    def _see_through(self, lease: Lease, bell: threading.Event) -> None:
        log.info("step started", job=lease.job_id, step=lease.step, subject=lease.subject, attempt=lease.attempt)
        child = Child(self._program, self._settings, lease, self._forks)
        try:
            self._watch(lease, child, bell)
            if child.wait(0) == -signal.SIGTERM:
                self._stopping.wait(_LINGER_SECONDS)  # Whoever asked it to end, as a shutdown does, may be asking us.
        finally:
            child.stop()
        death, reason, asked = child.death(), child.reason(), child.asked_to_wait
        while True:
            try:
                self._let_go(lease, death, reason, asked)
            except LeaseLost:
                # The usual end: the step finished its job, or failed it for good, and with that gave up the lease.
                log.info("step ended", job=lease.job_id, step=lease.step, subject=lease.subject)
            except DiskFull as problem:
                # Not even this can be written down. A lease that runs out meanwhile would cost the job an attempt.
                log.error("waiting for space on the disk", job=lease.job_id, why=problem.detail)
                if not self._stopping.wait(self._settings.sweep_seconds):
                    continue
            return

    def _let_go(self, lease: Lease, death: Death, reason: str, asked: float) -> None:
        """Releases a job whose process is gone, to be tried again after `asked` seconds at the earliest. Raises
        LeaseLost where the step had ended the job, as it should."""
        if self._stopping.is_set():
            self._leases.hand_back(lease)
        elif death.waits:
            after = max(asked, _SWEEPS_UNTIL_SPACE * self._settings.sweep_seconds)
            self._leases.hand_back(lease, after=after, reason=reason)
            log.warning("step waits for what it lacks", job=lease.job_id, why=reason)
        else:
            state = self._leases.release(lease, reason, most_attempts=death.attempts, after=asked)
            log.warning("step did not finish", job=lease.job_id, state=state, why=reason)

    def _prepare(self, steps: Iterable[str]) -> None:
        """Has imported what these steps will import, where they are forked."""
        modules = tuple(sorted(self._program.steps[step] for step in steps))
        if self._forks is None or not modules:
            return
        try:
            self._forks.prepare((self._program.entry, *modules))
        except OSError as error:
            log.warning("could not make ready for steps; they will wait for what they import", error=repr(error))

    def _watch(self, lease: Lease, child: Child, bell: threading.Event) -> None:
        """Returns when the process has ended, or is to be stopped. Makes ready for what waits, at each ring anew.

        Until the process has begun, the lease is kept here: on a busy machine an interpreter may take longer to start
        than a lease lasts.
        """
        started = looked = time.monotonic()
        bell.set()
        while child.wait(_TICK_SECONDS) is None and not self._stopping.is_set():
            try:
                if bell.is_set():
                    bell.clear()  # whether it rang or not, the slot looks for work when this step ends
                    self._prepare(self._leases.waiting(self._program.steps))
                if time.monotonic() - looked < self._settings.heartbeat_seconds:
                    continue
                looked = time.monotonic()
                starting = not child.begun and looked - started < _LONGEST_START_SECONDS
                if self._leases.renew(lease) if starting else self._leases.cancel_requested(lease):
                    return
            except LeaseLost:
                # Either it has just finished and is on its way out, or it is not entitled to go on.
                child.wait(_LINGER_SECONDS)
                return
            except (SQLAlchemyError, Unavailable) as error:
                log.warning("could not ask whether to go on", job=lease.job_id, error=repr(error))
