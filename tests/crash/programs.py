"""A gateway and a worker's slot, as `tests.zygote` forks them: `python -m tests.crash.programs`."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from functools import partial

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
from tests.zygote import forked, know_the_gateway, take_orders
from workers.runtime import step
from workers.runtime.death import explain
from workers.runtime.program import CROSSWALK

DATABASE_AWAY = 75
"""The exit status of a worker that could not go on."""

_LOOK_SECONDS = 0.01


def main() -> None:
    know_the_gateway()
    take_orders(_program)


def _program(command: list[str]) -> int:
    """command: `gateway` and its port, or `worker` and its steps."""
    settings, (name, *arguments) = Settings(), command
    return _gateway(settings, int(arguments[0])) if name == "gateway" else _worker(settings, arguments)


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
        child = forked(partial(_step, database, arguments))
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
