"""Forks the processes of the service from one that has imported everything: they start in moments, and die for real.

`python -m tests.crash.zygote` reads an order in JSON from each line of its standard input, and answers with a line:
{"start": "gateway" or "worker", "environment": {…}, "log": path, "arguments": […]} → {"pid": …}
{"poll": pid} → {"status": null while it runs, or its exit status, negative for the signal that killed it}
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import psycopg  # noqa: F401
import uvicorn
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

import app.tables  # noqa: F401  # what is imported here need not be by every process that is forked
import workers.steps.evaluate
import workers.steps.index
import workers.steps.reindex
import workers.steps.sample
import workers.steps.train
import workers.steps.transform  # noqa: F401
from app import failpoints
from app.http.listener import listen
from app.jobs.leases import LeaseLost, Leases
from app.jobs.service import UNFINISHED
from app.jobs.tables import JobRow
from app.main import create_app
from app.settings import Settings
from app.storage.database import Database
from tests.waiting import PATIENCE_SECONDS
from workers.runtime import step
from workers.runtime.death import explain
from workers.runtime.program import CROSSWALK

DATABASE_AWAY = 75
"""The exit status of a worker that could not go on."""

_LOOK_SECONDS = 0.01
_PR_SET_PDEATHSIG = 1


class Zygote:
    """The forking process, as the test that gives it orders sees it."""

    def __init__(self) -> None:
        self._asking = threading.Lock()
        ours = {name: value for name, value in os.environ.items() if not name.startswith("CROSSWALK_")}
        command = [sys.executable, "-m", "tests.crash.zygote"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**ours, "OMP_NUM_THREADS": "1"}, text=True
        )

    def start(self, kind: str, environment: Mapping[str, str], log: Path, arguments: Sequence[str] = ()) -> int:
        """The pid of a new process of the service."""
        order = {"start": kind, "environment": dict(environment), "log": str(log), "arguments": list(arguments)}
        return int(self._ask(order)["pid"])

    def status(self, pid: int) -> int | None:
        """The exit status of a process that was started, None while it runs."""
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
        """Ends it, and with it every process that it started."""
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


def main() -> None:
    """Takes orders until standard input ends."""
    ended: dict[int, int] = {}
    while line := sys.stdin.readline():
        order = json.loads(line)
        answer: dict[str, int | None]
        if "start" in order:
            answer = {"pid": _forked(partial(_become, **order))}
        else:
            answer = {"status": _ended(order["poll"], ended)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _ended(pid: int, ended: dict[int, int]) -> int | None:
    if pid not in ended:
        found, status = os.waitpid(pid, os.WNOHANG)
        if not found:
            return None
        ended[pid] = os.waitstatus_to_exitcode(status)
    return ended[pid]


def _forked(become: Callable[[], int]) -> int:
    """The pid of a child that does what it is to become, and never returns."""
    parent = os.getpid()
    if pid := os.fork():
        return pid
    status = 1
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:
            status = become()
    except BaseException:
        logging.exception("ended by an error")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _become(start: str, environment: dict[str, str], log: str, arguments: list[str]) -> int:
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (handle, 1), (handle, 2)):
        os.dup2(source, target)
    os.environ.update(environment)
    settings = Settings()
    if start == "gateway":
        return _gateway(settings, int(arguments[0]))
    return _worker(settings, arguments)


def _gateway(settings: Settings, port: int) -> int:
    """The gateway alone, also on SQLite: which steps are worked on when, is the test's to say."""
    failpoints.arm("gateway")
    with listen("127.0.0.1", port) as listener:
        config = uvicorn.Config(create_app(settings), log_config=None, access_log=False, lifespan="on")
        uvicorn.Server(config).run(sockets=[listener])
    return 0


def _worker(settings: Settings, steps: Sequence[str]) -> int:
    """Works on some steps until a job of one was there and none is unfinished, as a worker's slot would."""
    failpoints.arm("worker")
    database = Database(settings.sqlalchemy_url)
    leases = Leases(database, settings, CROSSWALK.failed(settings))
    try:
        _work_off(database, leases, steps)
    except SQLAlchemyError:
        logging.exception("the database is away")
        return DATABASE_AWAY
    return 0


def _work_off(database: Database, leases: Leases, steps: Sequence[str]) -> None:
    while True:
        leases.bury()
        if (lease := leases.claim(steps)) is None:
            if _all_done(database, steps):
                return
            time.sleep(_LOOK_SECONDS)
            continue
        arguments = [lease.job_id, lease.token, str(os.getpid())]
        child = _forked(partial(_step, database, arguments))
        death = explain(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        try:
            leases.release(lease, f"Step {lease.step!r} {death.how}.", most_attempts=death.attempts)
        except LeaseLost:  # It finished its job, or failed it for good.
            continue


def _step(database: Database, arguments: list[str]) -> int:
    database.engine.dispose(close=False)  # The connections are the parent's.
    return step.main(CROSSWALK, arguments)


def _all_done(database: Database, steps: Sequence[str]) -> bool:
    with database.read() as session:
        states = session.scalars(select(JobRow.state).where(JobRow.step.in_(steps))).all()
    return bool(states) and not set(states).intersection(UNFINISHED)


if __name__ == "__main__":
    main()
