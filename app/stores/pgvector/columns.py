"""A target's column: added to the user's table, told from what is not ours, and removed."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

from psycopg import Connection, errors, sql

from app.stores.pgvector.layout import Layout, TableColumn, comment_of_ours, is_ours
from app.stores.protocol import CannotSwitch, StoreAway, Target, WrongPlace

LONGEST_NAME = 63  # bytes, of what PostgreSQL keeps of a name
_LOCK_TIMEOUT, _TRIES, _PAUSE_SECONDS = "500ms", 60, 0.5

_READERS = """
SELECT DISTINCT r.ev_class::regclass::text FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = $1
  AND d.refobjsubid = $2
"""

Done = TypeVar("Done")


def briefly_locked(connection: Connection[Any], table: str, do: Callable[[], Done]) -> Done:
    """Does something in a transaction that needs a table for itself, for a moment.

    Whoever comes later waits behind one that waits for a lock, so it is waited for only shortly, and again and again.
    Raises StoreAway where the table is never free.
    """
    for _ in range(_TRIES):
        try:
            with connection.transaction():
                connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'".encode())
                return do()
        except errors.LockNotAvailable:
            time.sleep(_PAUSE_SECONDS)
    raise StoreAway(f"{table!r} is locked by other transactions all the time; end the longest of them, and try again")


def add_column(connection: Connection[Any], layout: Layout, target: Target) -> None:
    """Adds the target's column, empty; nothing where it is there."""
    if len(target.name.encode()) > LONGEST_NAME:
        raise WrongPlace(f"a column's name has at most {LONGEST_NAME} bytes, and {target.name!r} has more")
    if layout.column(target.name) is not None:
        target_column(layout, target)
        return
    type_ = sql.Identifier(layout.extension, layout.vector_type)
    column = sql.Identifier(target.name)

    def add() -> None:
        connection.execute(
            sql.SQL("ALTER TABLE {} ADD COLUMN {} {}({})").format(
                layout.name, column, type_, sql.Literal(target.dimension)
            )
        )
        connection.execute(
            sql.SQL("COMMENT ON COLUMN {}.{} IS {}").format(layout.name, column, sql.Literal(comment_of_ours(layout)))
        )

    try:
        briefly_locked(connection, layout.table, add)
    except (errors.ProgramLimitExceeded, errors.InvalidParameterValue) as error:
        raise WrongPlace(
            f"{layout.vector_type} takes no {target.dimension} dimensions: {error.diag.message_primary}"
        ) from None


def target_column(layout: Layout, target: Target) -> TableColumn:
    """Raises WrongPlace where the target's name is that of a column of the user's, or of another dimension, or of
    none."""
    column = layout.column(target.name)
    if column is None:
        raise WrongPlace(f"{layout.table!r} has no column {target.name!r} for transformed vectors yet")
    if not is_ours(column):
        raise WrongPlace(f"{layout.table!r} has a column {target.name!r} of its own, which is not written to")
    if column.dimension != target.dimension:
        raise WrongPlace(
            f"column {target.name!r} of {layout.table!r} is for {column.dimension} dimensions, not {target.dimension}"
        )
    return column


def drop_column(connection: Connection[Any], layout: Layout, target: Target) -> None:
    """Removes the column and the indexes on it. Raises CannotSwitch where a view reads it."""
    column = layout.column(target.name)
    if column is None or not is_ours(column):
        return
    readers = [name for (name,) in connection.execute(_READERS, (layout.oid, column.number))]
    refusal = CannotSwitch(
        f"column {target.name!r} of {layout.table!r} is read by {', '.join(readers) or 'something'}: switch back first"
    )
    if readers:
        raise refusal

    def drop() -> None:
        connection.execute(
            sql.SQL("ALTER TABLE {} DROP COLUMN IF EXISTS {}").format(layout.name, sql.Identifier(target.name))
        )

    try:
        briefly_locked(connection, layout.table, drop)
    except errors.DependentObjectsStillExist:
        raise refusal from None
