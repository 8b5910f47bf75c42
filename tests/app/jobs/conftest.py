"""Leases whose clock the tests turn, and a record of who was told what."""

from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from sqlalchemy.orm import Session

from app.jobs.leases import Leases
from app.jobs.service import Jobs
from app.jobs.tables import JobRow
from app.jobs.values import Job
from app.settings import Settings
from app.storage.database import Database

STEPS = ("work",)


@dataclass
class JobsWorld:
    """Gateway's side and workers' side on one database."""

    database: Database
    jobs: Jobs
    leases: Leases
    rings: list[str] = field(default_factory=list)
    told: list[tuple[str, str]] = field(default_factory=list)

    def enqueue(self, subject: str = "s", **arguments: object) -> Job:
        with self.database.session() as session:
            return self.jobs.enqueue(session, "work", subject, arguments)

    def job(self, subject: str = "s") -> Job:
        with self.database.read() as session:
            (job,) = self.jobs.of(session, subject)
            return job

    def an_hour_passes(self) -> None:
        """Every back-off is over and every lease has expired."""
        hour = timedelta(hours=1)
        with self.database.session() as session:
            for row in session.query(JobRow):
                row.available_at -= hour
                if row.lease_expires_at is not None:
                    row.lease_expires_at -= hour


@pytest.fixture
def world(each_database: Database, each_settings: Settings) -> JobsWorld:
    rings: list[str] = []
    told: list[tuple[str, str]] = []

    def failed(session: Session, subject: str, reason: str) -> None:
        told.append((subject, reason))

    jobs = Jobs(lambda: rings.append("ring"))
    settings = each_settings.model_copy(update={"job_attempts": 3})
    return JobsWorld(each_database, jobs, Leases(each_database, settings, failed), rings, told)
