"""Processes of the `crosswalk` command, forked from one that has imported everything: they start in moments.

`python -m tests.chaos.forking` reads an order in JSON from each line of its standard input, and answers the pid of a
process that does it: {"command": ["serve", …], "environment": {…}, "log": path}.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

from tests.waiting import PATIENCE_SECONDS

_PR_SET_PDEATHSIG = 1
_IMPORTED = (
    "app.cli.command",
    "app.cli.service",
    "app.main",
    "app.index",
    "workers.runtime.celery",
    "psycopg",
    "redis",
)


class Forking:
    """The forking process, for whoever gives it orders; many threads may."""

    def __init__(self) -> None:
        self._asking = threading.Lock()
        ours = {name: value for name, value in os.environ.items() if not name.startswith("CROSSWALK_")}
        command, pipe = [sys.executable, "-m", "tests.chaos.forking"], subprocess.PIPE
        environment = {**ours, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # threads do not outlive a fork
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment, text=True)

    def start(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> int:
        """The pid of a new process."""
        order = {"command": list(command), "environment": dict(environment), "log": str(log)}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._asking:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            return int(self._process.stdout.readline())

    def close(self) -> None:
        """Ends the forking process, and (on Linux) what it started."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE_SECONDS)


def main() -> None:
    for module in _IMPORTED:
        import_module(module)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead leave nothing behind to be waited for
    while line := sys.stdin.readline():
        order = json.loads(line)
        pid = os.fork()
        if not pid:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            if sys.platform == "linux":  # however the run ends, nothing of it stays
                ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            _become(**order)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


def _become(command: list[str], environment: dict[str, str], log: str) -> None:
    """Never returns."""
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for source, target in ((os.open(os.devnull, os.O_RDONLY), 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.environ.update(environment)
    sys.argv = ["crosswalk", *command]
    import_module("app.cli").main()
    sys.exit(0)


if __name__ == "__main__":
    main()
