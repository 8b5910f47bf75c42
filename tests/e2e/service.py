"""The service as its users run it: processes of the `crosswalk` command, started, stopped and killed from outside."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import httpx
import psutil
from sqlalchemy import update

from app.jobs.tables import JobRow
from app.jobs.values import JobState
from app.storage.database import Database, utc_now
from tests.waiting import PATIENCE_SECONDS, wait_until

IMPATIENT = {
    "CROSSWALK_LEASE_SECONDS": "600",  # a step that is slow to start keeps its job
    "CROSSWALK_HEARTBEAT_SECONDS": "0.3",
    "CROSSWALK_SWEEP_SECONDS": "0.3",
    "CROSSWALK_DEVICE": "cpu",
    "OMP_NUM_THREADS": "1",
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
        self._processes: list[subprocess.Popen[bytes]] = []
        self._port = _free_port()
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> Service:
        """Returns when requests are taken. After a kill, the leases of what was killed have expired."""
        if self._killed:
            self._expire_leases()
        self._run("serve", "--port", str(self._port), *self._options)
        wait_until(self._ready, "the service to be ready", last=self._last_log)
        if self._distributed:
            self._run("worker")
        return self

    def stop(self) -> None:
        """SIGTERM, as an operator would."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9 of gateway and worker."""
        self._end(signal.SIGKILL)
        self._killed = True

    def gateway(self) -> psutil.Process:
        """The process of `crosswalk serve`; where it was told to use several, the parent of those."""
        return psutil.Process(self._processes[0].pid)

    def step(self) -> psutil.Process | None:
        """The process of a running step, if there is one."""
        for process in self._processes:
            for child in psutil.Process(process.pid).children(recursive=True):
                try:
                    if "workers.runtime.step" in child.cmdline():
                        return child
                except psutil.NoSuchProcess:
                    continue
        return None

    def _run(self, *command: str) -> None:
        with self._log.open("ab") as log:
            whole = [sys.executable, "-m", "app.cli", *command]
            self._processes.append(subprocess.Popen(whole, stdout=log, stderr=log, env=self._environment))

    def _end(self, how: signal.Signals) -> None:
        for process in self._processes:
            process.send_signal(how)
        for process in self._processes:
            process.wait(timeout=PATIENCE_SECONDS)
        self._processes.clear()

    def _last_log(self) -> str:
        return self._log.read_text()[-2000:]

    def _expire_leases(self) -> None:
        """What time would do: nobody who held one is alive."""
        database = Database(self._database_url)
        with database.session() as session:
            running = update(JobRow).where(JobRow.state == JobState.RUNNING)
            session.execute(running.values(lease_expires_at=utc_now() - timedelta(hours=1)))
        database.close()
        self._killed = False

    def _ready(self) -> bool:
        assert self._processes[0].poll() is None, self._last_log()
        try:
            return httpx.get(f"{self.url}/readyz", timeout=PATIENCE_SECONDS).is_success
        except httpx.TransportError:
            return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
