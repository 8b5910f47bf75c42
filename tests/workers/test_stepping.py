"""The worker inside the test's process: whatever ends it is told to whoever waits for its work, at once."""

import pytest
from sqlalchemy import text

from app.composition import compose
from app.jobs.leases import Leases
from app.jobs.service import Jobs
from app.settings import Settings
from app.storage.database import Database
from tests.waiting import wait_until
from tests.workers.stepping import WorkerInside


def test_waits_fail_at_once_when_the_worker_died_and_no_more_once_it_is_gone(
    settings: Settings, database: Database
) -> None:
    with WorkerInside(settings):
        with database.session() as session:
            session.execute(text("DROP TABLE jobs"))
        with pytest.raises(AssertionError, match="has died"):
            wait_until(lambda: False, "what nobody does")
    with pytest.raises(AssertionError, match="in vain"):
        wait_until(lambda: False, "what nobody does", seconds=0.1)


def test_a_step_that_fails_after_its_lease_was_lost_does_not_end_the_worker(
    settings: Settings, database: Database
) -> None:
    crosswalk = compose(settings)
    leases = Leases(database, settings, crosswalk.step_failed)
    with database.session() as session:
        Jobs(lambda: None).enqueue(session, "train", "an upgrade that is not there")
    lease = leases.claim(["train"])
    assert lease is not None
    leases.hand_back(lease)
    WorkerInside(settings).attempt(lease)
    crosswalk.close()
    assert leases.claim(["train"]) is not None
