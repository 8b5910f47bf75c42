"""The gateway's side of work: put it in the caller's transaction, ask for it to stop, see how far it is."""

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import delete, event, select
from sqlalchemy.orm import Session

from app.failpoints import Failpoint, reached
from app.jobs.clock import database_now
from app.jobs.tables import JobRow
from app.jobs.values import Job, JobProgress, JobState

UNFINISHED = (JobState.QUEUED, JobState.RUNNING)


class Jobs:
    """Enqueues and cancels inside the caller's transaction; `ring` is called once that has committed."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring

    def enqueue(self, session: Session, step: str, subject: str, arguments: Mapping[str, Any] | None = None) -> Job:
        """Adds a job that becomes visible, and is rung, when the caller's transaction commits.

        `arguments` must be JSON. A rollback takes the job away with everything else.
        """
        now = database_now(session)
        row = JobRow(step=step, subject=subject, arguments=dict(arguments or {}), available_at=now, created_at=now)
        session.add(row)
        session.flush()
        reached(Failpoint.JOB_ENQUEUED)
        self._ring_after_commit(session)
        return row.to_job()

    def request_cancel(self, session: Session, subject: str) -> bool:
        """Stops a subject's work: what waits is cancelled at once, what runs is killed by its supervisor soon after.

        Returns whether something is running still. Either way no result of it will be applied after this commits.
        The caller has locked the subject's row, and writes there, in the same transaction, what becomes of it.
        """
        now = database_now(session)
        unfinished = select(JobRow).where(JobRow.subject == subject, JobRow.state.in_(UNFINISHED)).with_for_update()
        running = False
        for row in session.scalars(unfinished):
            row.cancel_requested = True
            if row.state == JobState.QUEUED:
                row.state = JobState.CANCELLED
                row.finished_at = now
            else:
                running = True
        return running

    def forget(self, session: Session, subject: str) -> None:
        """Removes every job of a subject that is no more; a process that still works at one finds its lease lost."""
        session.execute(delete(JobRow).where(JobRow.subject == subject))

    def forget_waiting(self, session: Session, subject: str) -> None:
        """Removes the jobs of a subject that nobody has claimed."""
        session.execute(delete(JobRow).where(JobRow.subject == subject, JobRow.state == JobState.QUEUED))

    def waits(self, session: Session, *, other_than: str) -> bool:
        """Whether a job of another step could be claimed now."""
        due = select(JobRow.id).where(
            JobRow.step != other_than, JobRow.state == JobState.QUEUED, JobRow.available_at <= database_now(session)
        )
        return session.scalars(due.limit(1)).first() is not None

    def waiting(self, session: Session, subject: str) -> bool:
        """Whether a job of a subject is still to be begun."""
        queued = select(JobRow.id).where(JobRow.subject == subject, JobRow.state == JobState.QUEUED)
        return session.scalars(queued.limit(1)).first() is not None

    def unended(self, session: Session) -> set[str]:
        """The ids of all jobs that wait or run."""
        return set(session.scalars(select(JobRow.id).where(JobRow.state.in_(UNFINISHED))))

    def progress(self, session: Session, subject: str) -> JobProgress | None:
        """How far the subject's unfinished step has come; None where nothing is waiting or running."""
        unfinished = select(JobRow).where(JobRow.subject == subject, JobRow.state.in_(UNFINISHED))
        row = session.scalars(unfinished.order_by(JobRow.id).limit(1)).first()
        return row.current_progress() if row is not None else None

    def of(self, session: Session, subject: str) -> list[Job]:
        """Every job of a subject, oldest first."""
        rows = session.scalars(select(JobRow).where(JobRow.subject == subject).order_by(JobRow.id))
        return [row.to_job() for row in rows]

    def _ring_after_commit(self, session: Session) -> None:
        def ring(committed: Session) -> None:
            # A savepoint's release calls this too; the job is not visible to others before the outermost commit.
            if not committed.in_nested_transaction():
                self._ring()

        event.listen(session, "after_commit", ring)
