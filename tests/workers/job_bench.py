"""A place where sample jobs are put, worked on by real processes, and looked at."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import psutil
from sqlalchemy import select, update

from app.jobs.service import Jobs
from app.jobs.tables import JobRow
from app.jobs.values import Job, JobState
from app.settings import Settings
from app.storage.database import Database, utc_now
from tests.waiting import PATIENCE_SECONDS, wait_until
from tests.workers import sample
from workers.runtime.child_process import environment


@dataclass
class JobBench:
    settings: Settings
    database: Database
    jobs: Jobs

    @classmethod
    def on(cls, settings: Settings, database: Database, ring: Callable[[], None] = lambda: None) -> "JobBench":
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        sample.create_tables(database.engine)
        return cls(settings, database, Jobs(ring))

    def enqueue(self, step: str, **arguments: object) -> Job:
        with self.database.session() as session:
            return self.jobs.enqueue(session, step, "s", arguments)

    def cancel(self) -> None:
        with self.database.session() as session:
            self.jobs.request_cancel(session, "s")

    def give_lease_to_another(self) -> None:
        """What happens to a step that was cut off for too long."""
        with self.database.session() as session:
            session.execute(
                update(JobRow).values(lease_token="another", lease_expires_at=utc_now() + timedelta(hours=1))
            )

    def leases_expire(self) -> None:
        """What time would do where nobody who holds one is alive."""
        with self.database.session() as session:
            held = update(JobRow).where(JobRow.lease_expires_at.is_not(None))
            session.execute(held.values(lease_expires_at=utc_now() - timedelta(hours=1)))

    def lease_ends(self) -> datetime | None:
        """When the lease of the one job runs out; None while nobody has claimed it."""
        with self.database.read() as session:
            return session.scalars(select(JobRow.lease_expires_at)).one()

    def available_at(self) -> datetime:
        """Before when nobody claims the one job."""
        with self.database.read() as session:
            return session.scalars(select(JobRow.available_at)).one()

    def all_jobs(self) -> list[Job]:
        with self.database.read() as session:
            return self.jobs.of(session, "s")

    def job(self) -> Job:
        (job,) = self.all_jobs()
        return job

    def results(self) -> list[tuple[int, int]]:
        """Total and attempt of every result."""
        with self.database.read() as session:
            rows = session.execute(select(sample.RESULTS).order_by(sample.RESULTS.c.number))
            return [(row.total, row.attempt) for row in rows]

    def reasons(self) -> list[str]:
        with self.database.read() as session:
            return list(session.scalars(select(sample.FAILURES.c.reason)))

    def diary(self) -> list[str]:
        path = sample.diary(self.settings)
        return path.read_text().splitlines() if path.exists() else []

    def open_gate(self, name: str) -> None:
        sample.gate(self.settings, name).touch()

    def reaches(self, state: JobState) -> None:
        wait_until(lambda: self.job().state == state, f"the job to be {state}", last=self.job)

    def reaches_number(self, number: int) -> None:
        wait_until(lambda: self.job().checkpoint.get("number") == number, f"the count to reach {number}", last=self.job)

    def all_end(self, count: int) -> None:
        def ended() -> bool:
            return [job.state for job in self.all_jobs()] == [JobState.SUCCEEDED] * count

        wait_until(ended, f"{count} jobs to succeed", last=self.all_jobs)

    @contextmanager
    def worker_process(self) -> Iterator["WorkerProcess"]:
        """A worker as `crosswalk worker` starts one."""
        command = [sys.executable, "-m", "tests.workers.sample", "worker"]
        process = WorkerProcess(subprocess.Popen(command, env=environment(self.settings)))
        try:
            yield process
        finally:
            process.kill()


class WorkerProcess:
    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def kill(self) -> None:
        """kill -9."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(PATIENCE_SECONDS)

    def ask_to_stop(self) -> int:
        self._process.terminate()
        return self._process.wait(timeout=PATIENCE_SECONDS)

    def steps(self) -> list[int]:
        """The pids of its running steps."""
        return steps_below(self._process.pid)


def steps_below(pid: int) -> list[int]:
    """The pids of the running steps among a process's children, and theirs."""
    with suppress(psutil.NoSuchProcess):
        below = psutil.Process(pid).children(recursive=True)
        return [child.pid for child in below if b"tests.workers.sample" in command_line(child.pid)]
    return []


def alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and waits to be noticed does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # before it was opened, or after
        return False


def only_step(worker: WorkerProcess | None = None) -> int:
    """The pid of the one step that runs, of this process's worker or of another."""
    pids: list[int] = []

    def one_runs() -> bool:
        pids[:] = worker.steps() if worker is not None else steps_below(os.getpid())
        return len(pids) == 1

    wait_until(one_runs, "one step to run")
    return pids[0]


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
