"""Brings a database to the newest schema. Any number of processes may try at once: one does it, the others wait."""

from functools import cache
from importlib import resources

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from app.failpoints import Failpoint, reached
from app.storage.database import Database

_LOCK = 0x43726F737377616C
"""PostgreSQL's advisory locks are numbers; this one is `Crosswal` in ASCII."""


def migrate(database: Database) -> None:
    """Applies the migrations that are missing, in one transaction: all of them, or none."""
    with database.engine.begin() as connection:
        # SQLite's transaction is the lock: it begins IMMEDIATE.
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        if _heads_of(connection) != heads():
            config = configuration()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        reached(Failpoint.SCHEMA_MIGRATED)


def pending(database: Database) -> bool:
    """Whether the database lacks a migration that this version of the code needs, or has one that it does not know."""
    with database.read() as session:
        return _heads_of(session.connection()) != heads()


@cache
def heads() -> frozenset[str]:
    """The newest revisions of this version of the code. Kept: to read them, Alembic runs the file of every revision."""
    return frozenset(ScriptDirectory.from_config(configuration()).get_heads())


def configuration() -> Config:
    """Where the revisions lie; `attributes["connection"]` must be given a connection in a transaction."""
    config = Config()
    config.set_main_option("script_location", str(resources.files("migrations")).replace("%", "%%"))
    return config


def _heads_of(connection: Connection) -> frozenset[str]:
    """The revisions that a database is at; none, where it has never been migrated."""
    return frozenset(MigrationContext.configure(connection).get_current_heads())
