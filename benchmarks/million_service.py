"""The real service in a process tree of its own, started, stopped, and asked what memory it holds."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil


class RunningService:
    """`crosswalk serve` with several gateway processes on loopback, and its embedded worker in their parent."""

    def __init__(self, folder: Path, processes: int) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "service.log"
        self._command = [sys.executable, "-m", "app.cli", "serve", "--processes", str(processes)]
        self._command += ["--port", str(self.port), "--data-dir", str(folder / "data")]
        ours = ("CROSSWALK_", "PYTHONDONTWRITEBYTECODE")  # an installation has its bytecode
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """When it was started, by the monotonic clock. It does not answer yet."""
        began = time.monotonic()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command, env=self._environment, stdout=log, stderr=log)
        return began

    def stop(self) -> float:
        """SIGTERM; the seconds until its end."""
        began = time.monotonic()
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None
        return time.monotonic() - began

    def gateways(self) -> list[psutil.Process]:
        """The processes that take requests."""
        return [gateway for server in self._fork_servers() for gateway in server.children()]

    def _fork_servers(self) -> list[psutil.Process]:
        """The process that those are forked from."""
        if self._process is None:
            return []
        children = psutil.Process(self._process.pid).children()
        return [child for child in children if "multiprocessing.forkserver" in " ".join(child.cmdline())]

    def connections(self) -> list[int]:
        """How many connections each gateway process has with clients."""
        return [
            sum(
                one.laddr.port == self.port and one.status == psutil.CONN_ESTABLISHED
                for one in gateway.net_connections()
            )
            for gateway in self.gateways()
        ]

    def resident(self) -> int:
        """Bytes in memory of all gateway processes and of what they are forked from, what they share counted once."""
        return sum(_proportional(process.pid) for process in (*self._fork_servers(), *self.gateways()))


def _proportional(pid: int) -> int:
    """The kernel's proportional set size of a process, in bytes."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("Pss:")).split()[1])
