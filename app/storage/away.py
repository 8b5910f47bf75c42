"""Whether an error of the database says that it is away for a while, or that the statement was wrong."""

import sqlite3

import psycopg
from sqlalchemy.exc import DBAPIError

_WAITED_IN_VAIN = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN}
_PRIMARY = 0xFF
"""The part of SQLite's extended error codes that is the kind of error."""


def is_away(error: DBAPIError) -> bool:
    """Whether the same statement may go through when the database is back: it is stopped, starting, full of
    connections, or locked by another."""
    cause = error.orig
    if isinstance(cause, sqlite3.Error):
        return getattr(cause, "sqlite_errorcode", 0) & _PRIMARY in _WAITED_IN_VAIN
    return isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError)
