"""The service as its users run it: processes of the `crosswalk` command, started, stopped and killed from outside."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import httpx
import psutil

from tests.services import eventually

_START_SECONDS = 60.0

IMPATIENT = {
    "CROSSWALK_LEASE_SECONDS": "10",
    "CROSSWALK_HEARTBEAT_SECONDS": "0.3",
    "CROSSWALK_SWEEP_SECONDS": "0.3",
    "CROSSWALK_DEVICE": "cpu",
    "OMP_NUM_THREADS": "1",
}


class Service:
    """A gateway on a port of its own, and, where a broker is set, a worker beside it, both on one data folder."""

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self.data = folder / "data"
        self._log = folder / "service.log"
        ours = {name: value for name, value in os.environ.items() if not name.startswith("CROSSWALK_")}
        self._environment = {**ours, **IMPATIENT, **variables, "CROSSWALK_DATA_DIR": str(self.data)}
        self._distributed = "CROSSWALK_BROKER_URL" in variables
        self._processes: list[subprocess.Popen[bytes]] = []
        self._port = _free_port()
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> Service:
        """Returns when requests are taken."""
        self._run("serve", "--port", str(self._port))
        eventually(self._ready, f"the service to be ready; its log is {self._log}", _START_SECONDS)
        if self._distributed:
            self._run("worker")
        return self

    def stop(self) -> None:
        """SIGTERM, as an operator would."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9 of gateway and worker."""
        self._end(signal.SIGKILL)

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
            process.wait(timeout=60)
        self._processes.clear()

    def _ready(self) -> bool:
        assert self._processes[0].poll() is None, self._log.read_text()[-2000:]
        try:
            return httpx.get(f"{self.url}/readyz").is_success
        except httpx.TransportError:
            return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
