"""What a step says of how far it is."""

import os

import pytest

from app.jobs.leases import Leases
from app.jobs.values import Lease
from app.settings import Settings
from app.storage.database import Database
from workers.context import StepContext
from workers.heartbeat import Heartbeat


def test_the_time_left_is_that_of_the_phase_at_its_own_pace(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(settings.sqlalchemy_url)
    leases = Leases(database, settings, lambda *_: None)
    lease = Lease("job", "token", "work", "subject", {}, 1, {})
    heartbeat = Heartbeat(leases, lease, settings, os.getppid())
    context = StepContext(settings, database, leases, lease, heartbeat)

    def left(second: float, done: int, total: int, step: str | None = None) -> float | None:
        monkeypatch.setattr("workers.context.time.monotonic", lambda: second)
        context.progress(done, total, step=step)
        assert heartbeat.progress is not None
        return heartbeat.progress["eta_seconds"]

    assert [left(0, 0, 10), left(5, 5, 10), left(10, 10, 10)] == [None, 5, 0]
    assert [left(10, 0, 4, "serve"), left(30, 2, 4, "serve")] == [None, 20], "another name"
    assert [left(30, 0, 100, "serve"), left(40, 10, 100, "serve")] == [None, 90], "another total"
    assert [left(40, 1, 100, "serve"), left(41, 2, 100, "serve")] == [None, 98], "done anew"
    database.close()
