"""A small program for real workers: steps that count, crash, fail, hang and linger, and subjects that learn their end.

`python -m tests.workers.sample <lease>` is the process of one step; `… worker` a whole worker.
"""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Engine, Integer, MetaData, String, Table, Text, insert
from sqlalchemy.orm import Session

from app.jobs.leases import Failed
from app.jobs.service import Jobs
from app.problems import EmbedderAway
from app.settings import Settings
from workers.context import StepContext, StepFailed
from workers.runtime import step
from workers.runtime.celery import run_worker
from workers.runtime.program import Program

_TABLES = MetaData()
RESULTS = Table(
    "sample_results",
    _TABLES,
    Column("number", Integer, primary_key=True),
    Column("subject", String(64)),
    Column("total", Integer),
    Column("attempt", Integer),
)
FAILURES = Table(
    "sample_failures",
    _TABLES,
    Column("number", Integer, primary_key=True),
    Column("subject", String(64)),
    Column("reason", Text),
)


def create_tables(engine: Engine) -> None:
    _TABLES.create_all(engine)


def gate(settings: Settings, name: str) -> Path:
    """A file that a step waits for."""
    return settings.data_dir / f"{name}.gate"


def diary(settings: Settings) -> Path:
    """A line for whatever a step did outside the database: `<attempt> <what>`."""
    return settings.data_dir / "diary"


def run(context: StepContext) -> None:
    _STEPS[context.lease.step](context)


def _count(context: StepContext) -> None:
    """Adds up 1 … n with a checkpoint after each; waits at `wait_at` for the gate. Then enqueues `then`."""
    wanted: dict[str, Any] = context.lease.arguments
    state = context.lease.checkpoint or {"number": 0, "total": 0}
    while state["number"] < wanted["n"]:
        if state["number"] == wanted.get("wait_at"):
            _wait(context, "count")
        number = state["number"] + 1
        state = {"number": number, "total": state["total"] + number}
        _note(context, str(number))
        context.progress(number, wanted["n"])
        context.checkpoint(state)

    def apply(session: Session) -> None:
        row = {"subject": context.lease.subject, "total": state["total"], "attempt": context.lease.attempt}
        session.execute(insert(RESULTS).values(row))
        for arguments in wanted.get("then", []):
            Jobs(lambda: None).enqueue(session, "count", context.lease.subject, arguments)

    context.finish(apply)


def _crash(context: StepContext) -> None:
    """Dies in the way asked for: an exception, a return without having finished, or a signal by its name."""
    match context.lease.arguments["how"]:
        case "exception":
            raise RuntimeError("these are its last words")
        case "connection":
            raise ConnectionError("these are its last words")
        case "data":
            raise ZeroDivisionError("division by zero")
        case "return":
            return
        case "embedder asks":
            raise EmbedderAway("Embedder 'e5' answered 429.", after=3600.0)
        case "embedder in vain":
            raise EmbedderAway("Embedder 'e5' answered 500.", after=3600.0, maybe_paid=True)
        case name:
            os.kill(os.getpid(), signal.Signals[name])
            time.sleep(60)  # A signal may take a moment.


def _fail(context: StepContext) -> None:
    raise StepFailed("the dataset has no pairs; add some")


def _hang(context: StepContext) -> None:
    """Deaf to SIGTERM, and never done."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _note(context, f"pid {os.getpid()}")
    while True:
        time.sleep(1)


def _linger(context: StepContext) -> None:
    """Waits for the gate, deaf to what becomes of its lease, then tries to write."""
    _note(context, f"pid {os.getpid()}")
    _wait(context, "linger")

    def apply(session: Session) -> None:
        session.execute(insert(RESULTS).values(subject=context.lease.subject))

    context.finish(apply)


def _wait(context: StepContext, name: str) -> None:
    while not gate(context.settings, name).exists():
        time.sleep(0.01)


def _note(context: StepContext, what: str) -> None:
    with diary(context.settings).open("a") as lines:
        lines.write(f"{context.lease.attempt} {what}\n")


def _failed(settings: Settings) -> Failed:
    def failed(session: Session, subject: str, reason: str) -> None:
        session.execute(insert(FAILURES).values(subject=subject, reason=reason))

    return failed


_STEPS = {"count": _count, "crash": _crash, "fail": _fail, "hang": _hang, "linger": _linger}
SAMPLE = Program("tests.workers.sample", dict.fromkeys(_STEPS, "tests.workers.sample"), _failed)

if __name__ == "__main__":
    if sys.argv[1:] == ["worker"]:
        run_worker(Settings(), SAMPLE)
    else:
        sys.exit(step.main(SAMPLE, sys.argv[1:]))
