"""Rows of the jobs: what is to be done, who holds it until when, and how far it has come."""

from datetime import datetime
from typing import Any, cast

from sqlalchemy import JSON, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.jobs.values import Job, JobProgress, JobState, sortable_id
from app.storage.database import Base


class JobRow(Base):
    """One step to be done for a subject. `lease_token` and `lease_expires_at` are set exactly while it is running."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=sortable_id)
    step: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(String(128), index=True)
    arguments: Mapped[dict[str, Any]]

    state: Mapped[str] = mapped_column(String(16), default=JobState.QUEUED)
    attempts: Mapped[int] = mapped_column(default=0)
    available_at: Mapped[datetime]
    lease_token: Mapped[str | None] = mapped_column(String(32))
    lease_expires_at: Mapped[datetime | None]
    cancel_requested: Mapped[bool] = mapped_column(default=False)

    progress: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    checkpoint: Mapped[dict[str, Any]] = mapped_column(default=dict)
    error: Mapped[str | None] = mapped_column(Text)

    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_jobs_state_available_at", "state", "available_at"),
        Index("ix_jobs_state_lease_expires_at", "state", "lease_expires_at"),
    )

    def current_progress(self) -> JobProgress:
        """Before the first report, nothing done of nobody knows how much."""
        if self.progress is not None:
            return cast(JobProgress, self.progress)
        return JobProgress(step=self.step, done=0, total=0, eta_seconds=None)

    def to_job(self) -> Job:
        return Job(
            id=self.id,
            step=self.step,
            subject=self.subject,
            arguments=self.arguments,
            state=JobState(self.state),
            attempts=self.attempts,
            progress=self.current_progress(),
            checkpoint=self.checkpoint,
            error=self.error,
            created_at=self.created_at,
            started_at=self.started_at,
            finished_at=self.finished_at,
        )
