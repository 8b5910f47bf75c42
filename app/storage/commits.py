"""Whether anything was committed to the database since: by which what was read once may be used again."""

import threading
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import Connection, Engine

from app.short_calls import leave_event_loop

_ASKS = {"sqlite": "PRAGMA data_version", "postgresql": "SELECT pg_current_snapshot()::text"}

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Moment:
    """What the database said when it was asked, over which connection. Two equal ones, of one process: nothing was
    committed between them, by nobody."""

    connection: int
    said: object


class CommitWatch:
    """Asks the database for the `Moment` that it is at: microseconds on SQLite, one round trip on PostgreSQL.

    SQLite's `data_version` is another, as one connection sees it, after each commit of any other connection, in
    whichever process (sqlite.org/pragma.html). PostgreSQL's `pg_current_snapshot()` is the set of transactions whose
    effects are seen: each commit that writes adds to it, and nothing is ever taken out. Either moves with any commit at
    all, of other tables too: what is kept may be thrown away needlessly, and is never used once it is old.

    It has one connection of its own, opened when first asked and opened anew after an error. Callers that come while it
    asks wait, and are then answered by one question together, which is put after they came.
    """

    def __init__(self, engine: Engine) -> None:
        """engine: where the connection comes from, and that of nobody else; closed by `close`."""
        self._engine = engine
        self._ask = _ASKS[engine.dialect.name]
        self._asking = threading.Lock()
        self._asked = 0
        self._last: Moment | None = None
        self._connection: Connection | None = None
        self._connections = 0

    @property
    def soon(self) -> bool:
        """Whether `now` takes microseconds, for which an event loop need not be left."""
        return self._engine.dialect.name == "sqlite"

    def now(self) -> Moment | None:
        """The moment of some time between this call and its return; None where the connection was lost meanwhile.

        What is read after an earlier moment that equals this one is what would be read now. Raises as a session does
        where the database cannot be reached.
        """
        if not self.soon:
            leave_event_loop()
        before = self._asked
        with self._asking:
            if self._asked == before:
                self._asked += 1
                self._last = None  # of those that waited, none is told of a moment before it came
                self._last = self._answer()
            return self._last

    def close(self) -> None:
        with self._asking:
            self._let_go()
            self._engine.dispose()

    def _answer(self) -> Moment | None:
        if self._connection is None:
            self._connection = self._opened()
            self._connections += 1
        try:
            return Moment(self._connections, self._said(_driver(self._connection).cursor()))
        except self._engine.dialect.dbapi.Error as error:  # type: ignore[union-attr]
            # Whoever asked reads the database itself then, and tells its client what is wrong with it.
            log.warning("the database does not tell whether anything was committed", error=repr(error))
            self._let_go()
            return None

    def _opened(self) -> Connection:
        connection = self._engine.connect()
        if self._engine.dialect.name != "sqlite":  # which is in this mode already
            # Else each answer might be that of the beginning of a transaction.
            _driver(connection).autocommit = True
        return connection

    def _said(self, cursor: Any) -> object:
        try:
            cursor.execute(self._ask)
            ((said,),) = cursor.fetchall()  # to its end, with which SQLite's read ends too
        finally:
            cursor.close()
        return said

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()
            connection.close()


def _driver(connection: Connection) -> Any:
    """The driver's own connection: by way of SQLAlchemy's, asking would take ten times as long."""
    return connection.connection.driver_connection
