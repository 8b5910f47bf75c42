"""Whatever is committed, in whichever process and by however many at once, is told to who asks afterwards."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError

from app.registry.tables import ModelRow
from app.storage.away import is_away
from app.storage.commits import CommitWatch
from app.storage.database import Database
from tests.services import free_port
from tests.waiting import PATIENCE_SECONDS, wait_until

_INSERT = """
import sys
from app.registry.tables import ModelRow
from app.storage.database import Database
with Database(sys.argv[1]).session() as session:
    session.add(ModelRow(id="elsewhere", dimension=3, metric="l2"))
"""


@pytest.fixture
def watch(each_database: Database) -> Iterator[CommitWatch]:
    watch = each_database.watch_commits()
    yield watch
    watch.close()


def _insert(database: Database, model: str) -> None:
    with database.session() as session:
        session.add(ModelRow(id=model, dimension=3, metric="l2"))


def test_while_nothing_is_committed_the_moment_is_the_same(each_database: Database, watch: CommitWatch) -> None:
    def stands() -> bool:
        before = watch.now()
        with each_database.read() as session:
            session.scalars(select(ModelRow.id)).all()
        return before is not None and before == watch.now()

    wait_until(stands, "PostgreSQL's own work to pause")


def test_a_commit_of_another_process_is_told(each_database: Database, watch: CommitWatch) -> None:
    before = watch.now()
    command = [sys.executable, "-c", _INSERT, each_database.url]
    subprocess.run(command, check=True, timeout=PATIENCE_SECONDS)
    assert watch.now() not in (None, before)


def test_what_was_told_in_the_middle_of_a_transaction_is_old_once_that_commits(
    each_database: Database, watch: CommitWatch
) -> None:
    with each_database.session() as session:
        session.add(ModelRow(id="m", dimension=3, metric="l2"))
        session.flush()
        during = watch.now()
    assert watch.now() not in (None, during)


def test_each_of_many_that_commit_at_once_is_told_of_its_own(each_database: Database, watch: CommitWatch) -> None:
    def told(number: int) -> bool:
        before = watch.now()
        _insert(each_database, f"m{number}")
        return watch.now() not in (None, before)

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(told, range(64)))


def test_after_its_connection_was_lost_nothing_told_before_is_taken_for_now(postgres_url: str) -> None:
    database = Database(postgres_url)
    watch = database.watch_commits()
    before = watch.now()
    others = "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = current_database() "
    with database.read() as session:
        session.execute(text(others + "AND pid <> pg_backend_pid()"))
    assert watch.now() is None
    again = watch.now()
    assert again not in (None, before)
    watch.close()
    database.close()


def test_a_database_that_cannot_be_reached_is_told_as_to_a_session() -> None:
    database = Database(f"postgresql+psycopg://nobody@127.0.0.1:{free_port()}/nothing")
    watch = database.watch_commits()
    for _ in range(2):
        with pytest.raises(OperationalError) as raised:
            watch.now()
        assert is_away(raised.value)
    watch.close()
    database.close()
