"""Databases of the newest schema, copied from one that a process of tests makes once.

To make one takes most of a service's start. That a service makes its own is what tests of migrations and of the command
say.
"""

import atexit
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import psycopg
from sqlalchemy import make_url

from app.settings import Settings
from app.storage.database import Database
from app.storage.migrate import migrate
from tests.services import postgres_database
from tests.waiting import wait_until


def put_sqlite(settings: Settings) -> None:
    """An empty database where a service with these settings keeps its own on SQLite, unless one is there."""
    if not settings.database_file.exists():
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_sqlite(), settings.database_file)


@contextmanager
def migrated_postgres(server: str) -> Iterator[str]:
    """The name of an empty database that others can be made from while the context is open. server: a libpq URI."""
    with postgres_database(server) as url:
        _migrate(url)
        name = make_url(url).database
        assert name is not None
        with psycopg.connect(server, autocommit=True) as connection:
            others = "SELECT 1 FROM pg_stat_activity WHERE datname = %s"
            wait_until(lambda: not connection.execute(others, [name]).fetchall(), "the last connection to end")
        yield name


@cache
def _sqlite() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="crosswalk-empty-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    settings = Settings(data_dir=folder, database_url=None)
    _migrate(settings.sqlalchemy_url)
    return settings.database_file


def _migrate(url: str) -> None:
    database = Database(url)
    migrate(database)
    database.close()
