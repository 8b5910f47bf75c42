"""The service as its users run it: processes of the `crosswalk` command, started, stopped and killed from outside.

They are forked from one that has imported what they import, but where the command starts processes itself (its
`options`), or where the loader is told something: an interpreter takes seconds to start.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import httpx
import psutil
from sqlalchemy import update

from app.failpoints import FAILPOINT, JOURNAL, Trigger
from app.jobs.tables import JobRow
from app.jobs.values import JobState
from app.storage.database import Database, utc_now
from tests.loopback import NO_TLS
from tests.services import free_port, runs
from tests.waiting import PATIENCE_SECONDS, PATIENT, wait_until
from tests.zygote import crosswalk_zygote

IMPATIENT = {
    "CROSSWALK_LEASE_SECONDS": "600",  # a step that is slow to start keeps its job
    "CROSSWALK_HEARTBEAT_SECONDS": "0.3",
    "CROSSWALK_SWEEP_SECONDS": "0.3",
    "CROSSWALK_STEP_NICENESS": "0",
    "CROSSWALK_DEVICE": "cpu",
    "OMP_NUM_THREADS": "1",
    **PATIENT,
}


class Service:
    """A gateway on a port of its own, and, where a broker is set, a worker beside it, both on one data folder.
    options: of `crosswalk serve`."""

    def __init__(self, folder: Path, variables: Mapping[str, str], options: Sequence[str] = ()) -> None:
        self.data = folder / "data"
        self._log = folder / "service.log"
        ours = {name: value for name, value in os.environ.items() if not name.startswith("CROSSWALK_")}
        self._environment = {**ours, **IMPATIENT, **variables, "CROSSWALK_DATA_DIR": str(self.data)}
        self._distributed = "CROSSWALK_BROKER_URL" in variables
        self._database_url = variables.get("CROSSWALK_DATABASE_URL") or f"sqlite:///{self.data / 'crosswalk.db'}"
        self._options = options
        self._killed = False
        self._interpreters = bool(options) or "LD_PRELOAD" in variables
        self._processes: list[psutil.Process] = []
        self._port = free_port()
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> Service:
        """Returns when requests are taken. After a kill, the leases of what was killed have expired."""
        if self._killed:
            self._expire_leases()
        self._run("serve", "--port", str(self._port), *self._options)
        wait_until(self._ready, "the service to be ready", last=self.last_log)
        if self._distributed:
            self._run("worker")
        return self

    def arm(self, trigger: Trigger) -> None:
        """From its next start on, a process that reaches this point dies or stops there."""
        self._environment |= {FAILPOINT: str(trigger), JOURNAL: str(self.data.parent / "journal")}

    def stop(self) -> None:
        """SIGTERM, as an operator would."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9 of gateway and worker."""
        self._end(signal.SIGKILL)
        self._killed = True

    def gateway(self) -> psutil.Process:
        """The process of `crosswalk serve`; where it was told to use several, the parent of those."""
        return self._processes[0]

    def step(self) -> psutil.Process | None:
        """The process of a running step, if there is one."""
        for process in self._processes:
            for child in process.children(recursive=True):
                try:
                    if "workers.runtime.step" in child.cmdline():
                        return child
                except psutil.NoSuchProcess:
                    continue
        return None

    def stopped_step(self) -> psutil.Process | None:
        """The process of a step that has stopped at its failpoint, if one has."""
        step = self.step()
        with suppress(psutil.NoSuchProcess):
            return step if step is not None and step.status() == psutil.STATUS_STOPPED else None
        return None

    def last_log(self) -> str:
        return self._log.read_text()[-2000:]

    def _run(self, *command: str) -> None:
        if not self._interpreters:
            pid = crosswalk_zygote().start(command, self._environment, self._log)
            self._processes.append(psutil.Process(pid))
            return
        with self._log.open("ab") as log:
            whole = [sys.executable, "-m", "app.cli", *command]
            self._processes.append(psutil.Popen(whole, stdout=log, stderr=log, env=self._environment))

    def _end(self, how: signal.Signals) -> None:
        for process in self._processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(how)
        for process in self._processes:
            process.wait(PATIENCE_SECONDS)
        self._processes.clear()

    def _expire_leases(self) -> None:
        """What time would do: nobody who held one is alive."""
        database = Database(self._database_url)
        with database.session() as session:
            running = update(JobRow).where(JobRow.state == JobState.RUNNING)
            session.execute(running.values(lease_expires_at=utc_now() - timedelta(hours=1)))
        database.close()
        self._killed = False

    def _ready(self) -> bool:
        assert runs(self._processes[0]), self.last_log()
        try:
            return httpx.get(f"{self.url}/readyz", timeout=PATIENCE_SECONDS, verify=NO_TLS).is_success
        except httpx.TransportError:
            return False
