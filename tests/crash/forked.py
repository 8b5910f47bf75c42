"""A gateway and a worker on one data folder, forked from a zygote. Nobody hears the doorbell: the worker looks."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import httpx
from sqlalchemy import update

from app.failpoints import FAILPOINT, JOURNAL, Trigger
from app.jobs.tables import JobRow
from app.jobs.values import JobState
from app.storage.database import Database, utc_now
from tests.crash.arrangements import Arrangement
from tests.crash.programs import DATABASE_AWAY
from tests.loopback import NO_TLS
from tests.services import free_port
from tests.waiting import PATIENCE_SECONDS, PATIENT, wait_until
from tests.zygote import Zygote

IMPATIENT = {
    "CROSSWALK_LEASE_SECONDS": "600",  # a step that is slow keeps its job
    "CROSSWALK_HEARTBEAT_SECONDS": "0.05",
    "CROSSWALK_SWEEP_SECONDS": "0.02",
    "CROSSWALK_JOB_ATTEMPTS": "3",
    "CROSSWALK_LEFTOVER_SECONDS": "0",
    "CROSSWALK_TRANSFORM_UNIT_ROWS": "20",
    "CROSSWALK_STEP_NICENESS": "0",
    "CROSSWALK_DEVICE": "cpu",
    **PATIENT,
}


class ForkedService:
    """A gateway, and a worker that is started to work on certain steps; whatever dies is started again."""

    def __init__(self, zygote: Zygote, folder: Path, arrangement: Arrangement, trigger: Trigger | None = None) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.journal = folder / "journal"
        self._log = folder / "service.log"
        self.deaths = self.deaths_of_gateway = 0
        self._zygote = zygote
        self._environment = {
            **IMPATIENT,
            "CROSSWALK_DATA_DIR": str(self.data),
            JOURNAL: str(self.journal),
            **({} if trigger is None else {FAILPOINT: str(trigger)}),
            **arrangement.environment(folder),
        }
        self._port = free_port()
        self._gateway: int | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def log(self) -> str:
        return self._log.read_text()[-3000:] if self._log.exists() else ""

    def start(self) -> ForkedService:
        """Returns when requests are taken, also where the gateway dies while it starts."""
        wait_until(self._ready, "the gateway to be ready", last=lambda: self.log)
        return self

    def revive(self) -> bool:
        """Starts the gateway again where it has died; whether it had."""
        if not self._dead():
            return False
        self.start()
        return True

    def work(self, *steps: str) -> None:
        """Has a worker do all there is to do of these steps; where it dies, another goes on once its lease is over."""
        while (status := self._worked(steps)) != 0:
            assert status in (-signal.SIGKILL, DATABASE_AWAY), self.log
            self.deaths += status == -signal.SIGKILL
            self._expire_leases()

    def stopped(self) -> int | None:
        """The pid of a process that has stopped at its failpoint, None where none has."""
        return self._zygote.stopped()

    def kill(self) -> None:
        """kill -9 of the gateway."""
        if self._gateway is not None:
            with suppress(ProcessLookupError):
                os.kill(self._gateway, signal.SIGKILL)
            self._wait(self._gateway)
            self._gateway = None

    def database(self) -> Database:
        return Database(self._environment.get("CROSSWALK_DATABASE_URL", f"sqlite:///{self.data / 'crosswalk.db'}"))

    def _worked(self, steps: Sequence[str]) -> int:
        return self._wait(self._zygote.start(["worker", *steps], self._environment, self._log))

    def _wait(self, pid: int) -> int:
        statuses: list[int] = []

        def ended() -> bool:
            status = self._zygote.status(pid)
            statuses.extend([] if status is None else [status])
            return status is not None

        wait_until(ended, "a process to end", last=lambda: self.log)
        return statuses[0]

    def _dead(self) -> bool:
        if self._gateway is None:
            return True
        status = self._zygote.status(self._gateway)
        if status is None:
            return False
        assert status == -signal.SIGKILL, self.log
        self.deaths += 1
        self.deaths_of_gateway += 1
        self._gateway = None
        return True

    def _ready(self) -> bool:
        if self._dead():
            self._gateway = self._zygote.start(["gateway", str(self._port)], self._environment, self._log)
        try:
            return httpx.get(f"{self.url}/readyz", timeout=PATIENCE_SECONDS, verify=NO_TLS).is_success
        except httpx.TransportError:
            return False

    def _expire_leases(self) -> None:
        """What time would do: nobody who held one is alive."""
        database = self.database()
        with database.session() as session:
            running = update(JobRow).where(JobRow.state == JobState.RUNNING)
            session.execute(running.values(lease_expires_at=utc_now() - timedelta(hours=1)))
        database.close()
