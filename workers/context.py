"""What a step is given, and what it may say: progress, checkpoint, finish."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from app.artifacts.shared import StepArtifacts
from app.failpoints import Failpoint, reached
from app.jobs.leases import CancelRequested, Leases
from app.jobs.values import JobProgress, Lease
from app.settings import Settings
from app.storage.database import Database
from workers.heartbeat import Heartbeat


class StepFailed(Exception):
    """The step cannot succeed, however often it is tried; the reason is for the person who asked for it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class StepContext:
    """One attempt at one step.

    A step may be cut off at any instant and started again with its last checkpoint: whatever it does outside `finish`
    must be harmless when done twice, also while a former attempt that lost its lease is still dying.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        leases: Leases,
        lease: Lease,
        heartbeat: Heartbeat,
        artifacts: StepArtifacts | None = None,
    ) -> None:
        """artifacts: where an object store keeps them, in whose folder the step works then."""
        self.settings = settings if artifacts is None else artifacts.begin()
        self._artifacts = artifacts
        self.database = database
        self.lease = lease
        self.finished = False
        self._leases = leases
        self._heartbeat = heartbeat
        self._began: tuple[float, int] | None = None
        self._done = 0
        self._phase: tuple[str, int] | None = None

    def progress(self, done: int, total: int, *, step: str | None = None) -> None:
        """Says how far the step has come, in its own unit; as often as it likes: the next heartbeat carries it.

        The time left is that of the phase named `step`, reckoned from the pace since its first report in this attempt.
        Another name, another total or a step back begins another phase. Raises CancelRequested.
        """
        self.check_cancelled()
        now = time.monotonic()
        phase = (step or self.lease.step, total)
        if self._began is None or phase != self._phase or done < self._done:
            self._began, self._phase = (now, done), phase
        self._done = done
        since, first = self._began
        eta = (total - done) * (now - since) / (done - first) if done > first else None
        self._heartbeat.progress = JobProgress(step=step or self.lease.step, done=done, total=total, eta_seconds=eta)
        reached(Failpoint.PROGRESS_TOLD)

    def checkpoint(self, state: dict[str, Any]) -> None:
        """Keeps what the next attempt finds in `lease.checkpoint`: small, JSON, written before this returns.

        Raises LeaseLost, and CancelRequested.
        """
        self.check_cancelled()
        self._publish()
        self._leases.checkpoint(self.lease, state, self._heartbeat.progress)

    def holding(self) -> AbstractContextManager[Session]:
        """A transaction that is entered while this attempt holds the job, and during which nobody else can claim it:
        for what must not be done by one who was cut off and thought dead. Short, since it holds SQLite's one writer.

        Raises LeaseLost, and CancelRequested.
        """
        self.check_cancelled()
        return self._leases.holding(self.lease)

    def check_cancelled(self) -> None:
        """Raises CancelRequested once someone has asked for the job to stop; the process is killed soon anyway."""
        if self._heartbeat.cancel_requested:
            raise CancelRequested(self.lease.job_id)

    def fail(self, reason: str) -> None:
        """Ends the step for good and tells its subject why. Raises LeaseLost."""
        self._heartbeat.stop()
        self._leases.fail(self.lease, reason)
        self._end()

    def finish(self, apply: Callable[[Session], None], served: Path | None = None) -> None:
        """Ends the step: its results and the job's success are one transaction. The last thing that a step does.

        `apply` only writes rows (locking its subject first) and enqueues what comes next. served: a folder of
        artifacts that nobody will need, which other machines are not given. Raises LeaseLost, and CancelRequested;
        nothing is written then.
        """
        self._publish(served)
        self._heartbeat.stop()
        self._leases.finish(self.lease, apply)
        self.finished = True
        self._end()

    def _publish(self, served: Path | None = None) -> None:
        """Gives the artifacts to the other machines, before the database says that there are any; not those of an
        attempt that was cut off and thought dead."""
        if self._artifacts is not None:
            with self._leases.holding(self.lease):
                pass
            self._artifacts.publish(served)

    def _end(self) -> None:
        if self._artifacts is not None:
            self._artifacts.end()
