"""Whether an error of the database says that it is away for a while, or that the statement was wrong."""

import sqlite3

import psycopg
from sqlalchemy.exc import DBAPIError

from app.storage.sqlite_errors import sqlite_error_kind

_WAITED_IN_VAIN = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN}


def is_away(error: DBAPIError) -> bool:
    """Whether the same statement may go through when the database is back: it is stopped, starting, full of
    connections, or locked by another."""
    cause = error.orig
    if isinstance(cause, sqlite3.Error):
        return sqlite_error_kind(cause) in _WAITED_IN_VAIN
    return isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError)
