"""Engine, session and declarative base. SQLite (embedded) and PostgreSQL run the same code."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import JSON, DateTime, Engine, MetaData, TypeDecorator, create_engine, event, make_url
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker

from app.failpoints import Failpoint, reached
from app.problems import DamagedFile, Problem
from app.settings import DATABASE_CONNECTIONS, DATABASE_SECONDS
from app.storage.commits import CommitWatch
from app.storage.disk import disk_problem, server_disk_problem
from app.storage.sqlite_errors import sqlite_error_kind
from app.storage.turns import ConnectionTurns

log = structlog.get_logger(__name__)

_NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime on every database (SQLite forgets the zone)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        return value.astimezone(UTC) if value is not None else None

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class Base(DeclarativeBase):
    """All tables; each resource's rows are private to its folder."""

    metadata = MetaData(naming_convention=_NAMING)
    type_annotation_map = {datetime: UtcDateTime, dict[str, Any]: JSON, list[Any]: JSON}  # noqa: RUF012


def utc_now() -> datetime:
    return datetime.now(UTC)


_SQLITE_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_KEPT_OPEN = 5  # connections that stay open while nobody needs them
_ONCE_COMMITTED = "once committed"

_PATIENCE: dict[str, int] = {  # a server that cannot be reached is given up on before clients are
    "connect_timeout": 10,  # seconds
    # One that went away without a word, with its machine or the way to it, is noticed on open connections too: else
    # whoever asks waits until the system gives up, a quarter of an hour and more.
    "tcp_user_timeout": 20_000,  # milliseconds
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
}
"""Parameters of libpq's connections, which the database's URL may set otherwise."""


class Database:
    """One engine and its sessions. `session()` commits once, at its end, or rolls back; `read()` only reads.

    A session holds one connection of a pool of `connections`, and waits `seconds` for one where all are taken, then
    raises SQLAlchemy's TimeoutError. So nothing opens a session while it holds another: as many callers as there are
    connections would all wait in vain. What reads inside a caller's transaction is given the caller's session instead.

    A few connections are for sessions that only read: those that write may all wait for one another.
    """

    def __init__(self, url: str, connections: int = DATABASE_CONNECTIONS, seconds: float = DATABASE_SECONDS) -> None:
        self.url = url
        self.engine = _engine(url, connections, seconds)
        self._seconds = seconds
        self._turns = ConnectionTurns(connections, seconds)
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)
        one_moment = {} if self.engine.dialect.name == "sqlite" else {"isolation_level": "REPEATABLE READ"}
        reads = self.engine.execution_options(sqlite_begin="DEFERRED", **one_moment)
        self._reads = sessionmaker(reads, expire_on_commit=False)

    @contextmanager
    def session(self) -> Iterator[Session]:
        with self._turns.held(writes=True), self._sessions.begin() as session:
            yield session
            reached(Failpoint.SQL_COMMITTING)
        reached(Failpoint.SQL_COMMITTED)
        for do in session.info.pop(_ONCE_COMMITTED, ()):
            try:
                do()
            except Exception:  # What was asked for is committed: nobody is to be told that it failed.
                log.exception("what was to follow a commit failed")

    @contextmanager
    def read(self, within: Session | None = None) -> Iterator[Session]:
        """A session that reads alone, all as of one moment, and never waits for SQLite's one writer; `within` itself
        where that is given."""
        if within is not None:
            yield within
            return
        with self._turns.held(writes=False), self._reads.begin() as session:
            yield session

    def watch_commits(self) -> CommitWatch:
        """What tells whether anything was committed since; over a connection beside those of the sessions, opened when
        it is first asked. The caller closes it."""
        return CommitWatch(_engine(self.url, 1, self._seconds))

    def apart(self) -> "Database":
        """The same database over two connections of its own, for what must go on however busy the others are: one of
        them is for reading alone. The caller closes it."""
        return Database(self.url, 2, self._seconds)

    def close(self) -> None:
        self.engine.dispose()


def once_committed(session: Session, do: Callable[[], object]) -> None:
    """Has something done when a session of `Database.session` is committed and has given its connection back: what may
    take its time keeps no other from the database. What it raises is logged. Nothing is done where the session is
    rolled back."""
    session.info.setdefault(_ONCE_COMMITTED, []).append(do)


def _engine(url: str, connections: int, seconds: float) -> Engine:
    kept = min(connections, _KEPT_OPEN)
    pool: dict[str, Any] = {"pool_size": kept, "max_overflow": connections - kept, "pool_timeout": seconds}
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        patience = {name: value for name, value in _PATIENCE.items() if name not in parsed.query}
        server = create_engine(url, pool_pre_ping=True, connect_args=patience, **pool)
        _raise_problems(server, server_disk_problem)
        return server
    if not parsed.database:
        raise ValueError("a database in memory is gone with its last connection; name a file: sqlite:///path")
    file = Path(parsed.database)
    file.parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": 30, "check_same_thread": False}, **pool)

    _raise_problems(engine, partial(_file_problem, file=file))

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        # sqlite3's own transaction handling begins late and reads outside transactions: take it over (SQLAlchemy docs).
        connection.isolation_level = None
        cursor = connection.cursor()
        try:
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
                cursor.execute(f"PRAGMA {pragma}")
        except sqlite3.Error as error:
            problem = _file_problem(error, file)
            if problem is None:
                raise
            raise problem from error
        finally:
            cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        # A deferred transaction that later writes can fail at once with SQLITE_BUSY whatever the timeout.
        mode = connection.get_execution_options().get("sqlite_begin", "IMMEDIATE")
        connection.exec_driver_sql(f"BEGIN {mode}")

    return engine


def _raise_problems(engine: Engine, problem_of: Callable[[BaseException], Problem | None]) -> None:
    """Has the problem that a driver's error comes of, if it comes of one, raised in that error's place."""

    @event.listens_for(engine, "handle_error")
    def _told(context: ExceptionContext) -> None:
        if (problem := problem_of(context.original_exception)) is not None:
            raise problem from context.original_exception


def _file_problem(error: BaseException, file: Path) -> Problem | None:
    """The problem where SQLite's error is about its disk or a damaged file; None for any other."""
    if sqlite_error_kind(error) in _SQLITE_DAMAGED:
        return DamagedFile(f"The database {file} is damaged: {error}.", file=str(file))
    return disk_problem(error, file.parent)
