"""The workers' side of work: a job is claimed by a lease, and only whoever holds the lease can change the job.

A lease is renewed by a heartbeat. One that expires is claimed by another, up to a number of attempts; its token is then
worthless, so that a step which was only slow, or cut off, cannot write over its successor.

Where a transaction locks both, it locks the subject first and its job second, cancelling included: in the other order
the two could block each other, and a cancel could miss the job that a step just ending enqueues.
"""

import secrets
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import ColumnElement, SQLColumnExpression, and_, exists, or_, select
from sqlalchemy.orm import Session

from app.failpoints import Failpoint, reached
from app.jobs.clock import database_now
from app.jobs.tables import JobRow
from app.jobs.values import JobProgress, JobState, Lease
from app.settings import Settings
from app.storage.database import Database

Failed = Callable[[Session, str, str], None]
"""Tells a subject, in the transaction that fails its job: `failed(session, subject, reason)`."""

_LONGEST_BACK_OFF = timedelta(minutes=1)

log = structlog.get_logger(__name__)


class LeaseLost(Exception):
    """Another holds the job, or it has ended: whoever gets this must stop and write nothing."""


class CancelRequested(Exception):
    """Someone asked for the job to stop: its results are not wanted any more."""


class Leases:
    """Claims jobs and ends them. Every method is one transaction; those that take a lease raise LeaseLost."""

    def __init__(self, database: Database, settings: Settings, failed: Failed) -> None:
        self._database = database
        self._failed = failed
        self._length = timedelta(seconds=settings.lease_seconds)
        self._back_off = timedelta(seconds=settings.sweep_seconds)
        self._attempts = settings.job_attempts

    def claim(self, steps: Collection[str]) -> Lease | None:
        """Takes the job that has waited longest, queued or let go by its holder; None where there is none.

        However many ask at once, each job goes to one of them: rows locked by another are skipped (PostgreSQL), or
        writers take turns (SQLite).
        """
        if not self._any_due(steps):
            return None
        with self._database.session() as session:
            now = database_now(session)
            due = select(JobRow).where(JobRow.step.in_(steps), self._due(now))
            oldest = due.order_by(JobRow.available_at, JobRow.id).limit(1)
            row = session.scalars(oldest.with_for_update(skip_locked=True)).first()
            if row is None:
                return None
            row.state = JobState.RUNNING
            row.attempts += 1
            row.lease_token = secrets.token_hex(16)
            row.lease_expires_at = now + self._length
            row.started_at = row.started_at or now
            lease = _lease(row, row.lease_token)
        reached(Failpoint.LEASE_CLAIMED)
        return lease

    def waiting(self, steps: Collection[str]) -> set[str]:
        """Those of the steps that a job waits for which may be claimed."""
        with self._database.read() as session:
            due = select(JobRow.step).where(JobRow.step.in_(steps), self._due(database_now(session)))
            return set(session.scalars(due.distinct()))

    def taken(self, job_id: str, token: str) -> Lease:
        """The lease as its holder's own process finds it."""
        with self._database.read() as session:
            row = session.get(JobRow, job_id)
            if row is None or row.lease_token != token:
                raise LeaseLost(job_id)
            return _lease(row, token)

    def cancel_requested(self, lease: Lease) -> bool:
        """Whether someone asked for the job to stop; the lease's end stays where it is."""
        with self._database.read() as session:
            row = session.get(JobRow, lease.job_id)
            if row is None or row.lease_token != lease.token:
                raise LeaseLost(lease.job_id)
            return row.cancel_requested

    def renew(self, lease: Lease, progress: Callable[[], JobProgress | None] = lambda: None) -> bool:
        """Keeps the lease for its full length from now; returns whether someone asked for the job to stop.

        progress: asked once nobody else can write to the job, so that a renewal which had to wait does not replace what
        was written meanwhile by what was true before.
        """
        with self._database.session() as session:
            row = self._held(session, lease)
            row.lease_expires_at = database_now(session) + self._length
            if (told := progress()) is not None:
                row.progress = dict(told)
            cancelled = row.cancel_requested
        reached(Failpoint.LEASE_RENEWED)
        return cancelled

    @contextmanager
    def holding(self, lease: Lease) -> Iterator[Session]:
        """A transaction of whoever holds the job, which nobody else can claim until it ends. Renews as well.

        A holder that was cut off, and thought dead, raises LeaseLost here and does not enter.
        """
        with self._database.session() as session:
            row = self._held(session, lease)
            row.lease_expires_at = database_now(session) + self._length
            session.flush()
            yield session

    def checkpoint(self, lease: Lease, state: dict[str, Any], progress: JobProgress | None = None) -> None:
        """Keeps what the next attempt needs in order to resume; small, and JSON. Renews as well."""
        with self._database.session() as session:
            row = self._held(session, lease)
            row.lease_expires_at = database_now(session) + self._length
            row.checkpoint = state
            if progress is not None:
                row.progress = dict(progress)
        reached(Failpoint.CHECKPOINT_KEPT)

    def finish(self, lease: Lease, apply: Callable[[Session], None]) -> None:
        """Applies the step's results and the job's success in one transaction: both, or neither.

        Raises LeaseLost, or CancelRequested.
        """
        if self.cancel_requested(lease):
            raise CancelRequested(lease.job_id)
        with self._database.session() as session:
            apply(session)
            row = self._held(session, lease)
            if row.cancel_requested:
                raise CancelRequested(lease.job_id)
            _end(row, JobState.SUCCEEDED, database_now(session))
            row.error = None
            reached(Failpoint.JOB_FINISHING)
        reached(Failpoint.JOB_FINISHED)

    def fail(self, lease: Lease, reason: str) -> JobState:
        """Ends the job for good and tells its subject; one that was to be cancelled ends as cancelled."""
        cancelled = self.cancel_requested(lease)
        with self._database.session() as session:
            if not cancelled:
                self._failed(session, lease.subject, reason)
            row = self._held(session, lease)
            _end(row, JobState.CANCELLED if cancelled else JobState.FAILED, database_now(session))
            row.error = None if cancelled else reason
            log.info("job ended", job=row.id, step=row.step, subject=row.subject, state=row.state, reason=row.error)
            state = JobState(row.state)
        reached(Failpoint.JOB_FAILED)
        return state

    def release(self, lease: Lease, reason: str, *, most_attempts: int | None = None, after: float = 0.0) -> JobState:
        """Lets a job go that its process could not finish: tried again after a while, of `after` seconds at least, or
        failed with `reason`.

        `most_attempts`: how often it is worth trying at most, where that is less than the settings allow.
        """
        attempts = self._attempts if most_attempts is None else min(most_attempts, self._attempts)
        if lease.attempt >= attempts or self.cancel_requested(lease):
            return self.fail(lease, f"{reason} (attempt {lease.attempt} of {max(attempts, lease.attempt)})")
        with self._database.session() as session:
            row = self._held(session, lease)
            back_off = min(self._back_off * 2 ** (lease.attempt - 1), _LONGEST_BACK_OFF)
            _requeue(row, database_now(session) + max(back_off, timedelta(seconds=after)))
            row.error = reason
        reached(Failpoint.LEASE_RELEASED)
        return JobState.QUEUED

    def hand_back(self, lease: Lease, *, after: float = 0.0, reason: str | None = None) -> None:
        """Lets a job go for a cause that is no fault of its own, so that it costs no attempt: its worker is stopping,
        or there is no space on a disk. It may be claimed again `after` seconds; `reason` tells why it waits."""
        with self._database.session() as session:
            row = self._held(session, lease)
            if row.cancel_requested:
                _end(row, JobState.CANCELLED, database_now(session))
            else:
                row.attempts -= 1
                row.error = reason or row.error
                _requeue(row, database_now(session) + timedelta(seconds=after))

    def bury(self) -> None:
        """Ends jobs whose holder vanished and that must not be tried again: cancelled, or out of attempts."""
        with self._database.read() as session:
            rows = session.scalars(select(JobRow).where(self._hopeless(database_now(session)))).all()
            expired = [(_lease(row, row.lease_token), row.error) for row in rows if row.lease_token]
        for lease, error in expired:
            reason = f"The worker vanished during {lease.step!r}, attempt {lease.attempt} of {self._attempts}."
            try:
                self.fail(lease, f"{reason} Before that: {error}" if error else reason)
            except LeaseLost:
                continue
            except Exception:  # Whatever is wrong with this one's subject must not keep the others unburied.
                log.exception("job could not be given up on", job=lease.job_id, subject=lease.subject)

    def _any_due(self, steps: Collection[str]) -> bool:
        """Whether a job may be claimed, by reading alone: idle workers must not hold up SQLite's one writer."""
        with self._database.read() as session:
            due = select(JobRow.id).where(JobRow.step.in_(steps), self._due(database_now(session))).limit(1)
            return session.scalars(due).first() is not None

    def _due(self, now: datetime) -> ColumnElement[bool]:
        queued = and_(JobRow.state == JobState.QUEUED, JobRow.available_at <= now)
        return or_(queued, and_(_expired(now), ~JobRow.cancel_requested, JobRow.attempts < self._attempts))

    def _hopeless(self, now: datetime) -> ColumnElement[bool]:
        return and_(_expired(now), or_(JobRow.cancel_requested, JobRow.attempts >= self._attempts))

    def _held(self, session: Session, lease: Lease) -> JobRow:
        """The job's row, locked until the transaction ends: nobody else can claim it meanwhile."""
        row = session.get(JobRow, lease.job_id, with_for_update=True, populate_existing=True)
        if row is None or row.lease_token != lease.token:
            raise LeaseLost(lease.job_id)
        return row


def is_leased(token: SQLColumnExpression[str | None], now: datetime) -> ColumnElement[bool]:
    """Whether a token is of a lease that lasts."""
    lasts = and_(JobRow.state == JobState.RUNNING, JobRow.lease_expires_at > now)
    return exists().where(JobRow.lease_token == token, lasts)


def _expired(now: datetime) -> ColumnElement[bool]:
    return and_(JobRow.state == JobState.RUNNING, JobRow.lease_expires_at <= now)


def _requeue(row: JobRow, available_at: datetime) -> None:
    row.state = JobState.QUEUED
    row.available_at = available_at
    row.lease_token = row.lease_expires_at = None


def _end(row: JobRow, state: JobState, now: datetime) -> None:
    row.state = state
    row.finished_at = now
    row.lease_token = row.lease_expires_at = None


def _lease(row: JobRow, token: str) -> Lease:
    return Lease(
        job_id=row.id,
        token=token,
        step=row.step,
        subject=row.subject,
        arguments=row.arguments,
        attempt=row.attempts,
        checkpoint=row.checkpoint,
    )
