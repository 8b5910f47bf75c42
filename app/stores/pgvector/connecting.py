"""How the database is reached, and how its errors are told: what a server says of itself shows no address here."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import SecretStr, field_validator

from app.connections.options import ConnectionOptions
from app.stores.protocol import StoreAway, WrongPlace

_DEFAULTS = {
    "application_name": "crosswalk",
    "connect_timeout": "10",  # seconds
    # One that went away without a word, with its machine or the way to it, is noticed on open connections too.
    "tcp_user_timeout": "20000",  # milliseconds
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "2",
}

_SESSION = (
    # Keys travel as text, which these settings have the same for every role and database.
    "SET datestyle = 'ISO'; SET timezone = 'UTC'; SET intervalstyle = 'postgres'; SET extra_float_digits = 1;"
    "SET bytea_output = 'hex'; SET client_encoding = 'UTF8';"
    # A policy that would hide rows is an error, not a smaller gallery.
    "SET row_security = off;"
    # A long upgrade is no forgotten session; what is held while we wait for others is bounded where it is held.
    "SET idle_in_transaction_session_timeout = 0; SET statement_timeout = 0;"
    "SET temp_buffers = '64MB'; SET work_mem = '64MB'; SET jit = off"  # a batch in memory
)

_NOTICES_THAT_WE_ARE_GONE = """
SELECT set_config(name, '10000', false) FROM pg_settings WHERE name = 'client_connection_check_interval'
"""
"""From PostgreSQL 14 on: a statement of a process that was killed, such as the build of an index, ends within ten
seconds, and its locks with it."""


class PgvectorOptions(ConnectionOptions):
    """url: libpq's URI or its keywords, as psql takes them. beside: where transformed vectors go, to a column of the
    user's table or to a table of their own, which leaves the user's rows and their indexes alone."""

    url: SecretStr
    beside: Literal["column", "table"] = "column"

    @field_validator("url")
    @classmethod
    def _is_conninfo(cls, url: SecretStr) -> SecretStr:
        try:
            conninfo_to_dict(url.get_secret_value())
        except psycopg.ProgrammingError:  # its own words may quote the password
            raise ValueError("is no URI of PostgreSQL: postgresql://user:password@host:5432/database") from None
        return url


def connected(options: PgvectorOptions) -> psycopg.Connection[Any]:
    """A session of our own, in which each statement is a transaction unless one is begun.

    Parameters are $1, $2, ...: a `%` in somebody's column name has no meaning.
    """
    given = conninfo_to_dict(options.url.get_secret_value())
    conninfo = make_conninfo("", **{**_DEFAULTS, **given})
    connection = psycopg.connect(conninfo, autocommit=True, cursor_factory=psycopg.RawCursor)
    connection.execute(_SESSION.encode())
    with suppress(errors.InvalidParameterValue):  # not on every system that a server runs on
        connection.execute(_NOTICES_THAT_WE_ARE_GONE)
    return connection


@contextmanager
def told_plainly(name: str) -> Iterator[None]:
    """Raises StoreAway or WrongPlace for an error of the database. name: the connection's."""
    try:
        yield
    except psycopg.Error as error:
        raise _plain(name, error) from None


def _plain(name: str, error: psycopg.Error) -> StoreAway | WrongPlace:
    said = (error.diag.message_primary or "").rstrip(".")
    if isinstance(error, errors.UndefinedTable | errors.UndefinedColumn | errors.InvalidSchemaName):
        return WrongPlace(f"connection {name!r}: {said}")
    if error.sqlstate is None or error.sqlstate.startswith("08"):
        return StoreAway(f"the database of the connection {name!r} does not answer, or refuses to be connected to")
    if error.sqlstate.startswith("28") or isinstance(error, errors.InvalidCatalogName):
        return StoreAway(f"the database of the connection {name!r} refuses its role, password or database's name")
    if isinstance(error, errors.InsufficientPrivilege):
        return StoreAway(f"the role of the connection {name!r} lacks a right: {said}")
    return StoreAway(f"the database of the connection {name!r} could not do it: {said} (SQLSTATE {error.sqlstate})")
