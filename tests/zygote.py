"""Processes of the service, forked from one that has imported everything: they start in moments, and die for real.

The forking process is a module of the tests that `python -m` runs, and whose `main` takes orders (`take_orders`). It
reads one in JSON from each line of its standard input, and answers each with a line:
{"command": […], "environment": {…}, "log": path, "errors": path} → {"pid": …}
{"poll": pid} → {"status": null while it runs, or its exit status, negative for the signal that killed it}
"""

from __future__ import annotations

import ctypes
import gc
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

import psutil

from app.routes import ROUTES
from app.storage.migrate import heads
from tests.waiting import PATIENCE_SECONDS

_PR_SET_PDEATHSIG = 1
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # threads do not outlive a fork

Become = Callable[[list[str]], int]
"""What a forked process does with its command, and the exit status that it ends with."""


class Zygote:
    """The forking process, for whoever gives it orders; many threads may. module: what `python -m` runs."""

    def __init__(self, module: str) -> None:
        self._asking = threading.Lock()
        ours = {name: value for name, value in os.environ.items() if not name.startswith("CROSSWALK_")}
        command, pipe = [sys.executable, "-m", module], subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, env={**ours, **_ONE_THREAD}, text=True)

    def start(
        self, command: Sequence[str], environment: Mapping[str, str], log: Path, errors: Path | None = None
    ) -> int:
        """The pid of a new process of the service. errors: where it writes its errors, if not to its log too."""
        order = {
            "command": list(command),
            "environment": dict(environment),
            "log": str(log),
            "errors": str(errors or log),
        }
        return int(self._ask(order)["pid"])

    def status(self, pid: int) -> int | None:
        """The exit status of a process that was started, None while it runs. It is told once."""
        status: int | None = self._ask({"poll": pid})["status"]
        return status

    def stopped(self) -> int | None:
        """The pid of a process of the service that has stopped itself, None where none has."""
        for process in psutil.Process(self._process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if process.status() == psutil.STATUS_STOPPED:
                    return int(process.pid)
        return None

    def close(self) -> None:
        """Ends it, and with it (on Linux) every process that it started."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE_SECONDS)

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._asking:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            return dict(json.loads(self._process.stdout.readline()))


@cache
def crosswalk_zygote() -> Zygote:
    """What processes of the `crosswalk` command are forked from; it ends with the process of the tests."""
    return Zygote("tests.chaos.programs")


def know_the_gateway() -> None:
    """Works out what a gateway otherwise would when its first request comes: its routes, and the newest schema."""
    heads()
    for route in ROUTES:
        route.matches({"type": "http", "method": "GET", "path": "/", "root_path": ""})


def take_orders(become: Become) -> None:
    """Forks what it is told to until standard input ends. To be called when everything is imported."""
    ended: dict[int, int] = {}
    gc.freeze()  # what is here already is not looked through for garbage, and so not copied, by what is forked
    signal.signal(signal.SIGCHLD, lambda *_: _reap(ended))  # the dead leave nothing behind but how they died
    while line := sys.stdin.readline():
        order = json.loads(line)
        answer: dict[str, int | None]
        if "poll" in order:
            answer = {"status": ended.pop(order["poll"], None)}  # told once: the pid may be given again
        else:
            answer = {"pid": forked(partial(_begin, become, **order))}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def forked(do: Callable[[], int]) -> int:
    """The pid of a child that ends with the status that `do` returns, and at the latest with its parent (on Linux).
    Where `do` raises SystemExit the child ends as any program of Python does."""
    parent = os.getpid()
    if pid := os.fork():
        return pid
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if sys.platform == "linux":  # however the tests end, nothing of them stays
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:
            status = do()
    except SystemExit:
        raise
    except BaseException:
        logging.exception("ended by an error")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _reap(ended: dict[int, int]) -> None:
    """Notes how every child ended that has ended by now."""
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            ended[found[0]] = os.waitstatus_to_exitcode(found[1])


def _begin(become: Become, command: list[str], environment: dict[str, str], log: str, errors: str) -> int:
    output, error = (os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644) for path in (log, errors))
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (error, 2)):
        os.dup2(source, target)
    os.environ.update(environment)
    return become(command)
