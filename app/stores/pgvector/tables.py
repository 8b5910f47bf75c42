"""A target's table of its own: the key of the user's table, and a vector; the user's rows are not touched."""

from typing import Any

from psycopg import Connection, errors, sql

from app.stores.pgvector.columns import LONGEST_NAME, briefly_locked
from app.stores.pgvector.layout import Layout, read_layout
from app.stores.pgvector.rights import grant_like, grants_on, own_like
from app.stores.protocol import CannotSwitch, Place, Target, WrongPlace

_MADE_BY_US = "Written by Crosswalk, beside: "

_COMMENT = """
SELECT coalesce(obj_description(c.oid, 'pg_class'), '') FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2
"""
_READERS = """
SELECT DISTINCT r.ev_class::regclass::text FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = $1
"""


def add_table(connection: Connection[Any], layout: Layout, target: Target) -> None:
    """Makes the target's table, empty, beside the user's; nothing where it is there. Who may read one may read the
    other. Raises WrongPlace where who may read which of the user's rows is decided row by row."""
    if len(target.name.encode()) > LONGEST_NAME:
        raise WrongPlace(f"a table's name has at most {LONGEST_NAME} bytes, and {target.name!r} has more")
    if _comment(connection, layout, target) is not None:
        target_table(connection, layout, target)
        return
    _refuse_row_security(connection, layout)
    name = sql.Identifier(layout.schema, target.name)
    keys = sql.SQL(", ").join(sql.Identifier(column.name) for column in layout.key.columns)
    type_ = sql.Identifier(layout.extension, layout.vector_type)
    try:
        with connection.transaction():
            connection.execute(
                sql.SQL("CREATE TABLE {} AS SELECT {} FROM {} WITH NO DATA").format(name, keys, layout.name)
            )
            connection.execute(
                sql.SQL("ALTER TABLE {} ADD {} {}({}) NOT NULL, ADD PRIMARY KEY ({})").format(
                    name, sql.Identifier(layout.vector.name), type_, sql.Literal(target.dimension), keys
                )
            )
            connection.execute(
                sql.SQL("COMMENT ON TABLE {} IS {}").format(name, sql.Literal(_MADE_BY_US + layout.table))
            )
            grant_like(connection, grants_on(connection, layout.oid), name, ("SELECT",))
            own_like(connection, layout.oid, name)
    except (errors.ProgramLimitExceeded, errors.InvalidParameterValue) as error:
        raise WrongPlace(
            f"{layout.vector_type} takes no {target.dimension} dimensions: {error.diag.message_primary}"
        ) from None


def _refuse_row_security(connection: Connection[Any], layout: Layout) -> None:
    (secured,) = connection.execute("SELECT relrowsecurity FROM pg_class WHERE oid = $1", (layout.oid,)).fetchone() or (
        False,
    )
    if secured:
        raise WrongPlace(
            f"{layout.table!r} has row security, whose policies a table beside it would not have: leave out "
            'beside = "table" for this connection, so that a column of the table itself is written'
        )


def target_table(connection: Connection[Any], layout: Layout, target: Target) -> Layout:
    """Raises WrongPlace where the target's name is that of something of the user's, or of another dimension, or of
    nothing."""
    comment = _comment(connection, layout, target)
    if comment is None:
        raise WrongPlace(f"there is no table {target.name!r} for transformed vectors beside {layout.table!r} yet")
    if comment != _MADE_BY_US + layout.table:
        raise WrongPlace(f"there is something of its own named {target.name!r} in the schema of {layout.table!r}")
    name = sql.Identifier(layout.schema, target.name).as_string(connection)
    found = read_layout(connection, Place(name))
    if found.vector.dimension != target.dimension:
        raise WrongPlace(
            f"table {target.name!r} is for vectors of {found.vector.dimension} dimensions, not {target.dimension}"
        )
    return found


def drop_table(connection: Connection[Any], layout: Layout, target: Target) -> None:
    """Removes the table. Raises CannotSwitch where a view reads it."""
    if _comment(connection, layout, target) != _MADE_BY_US + layout.table:
        return
    table = target_table(connection, layout, target)
    readers = [name for (name,) in connection.execute(_READERS, (table.oid,))]
    refusal = CannotSwitch(f"table {target.name!r} is read by {', '.join(readers) or 'something'}: switch back first")
    if readers:
        raise refusal
    try:
        briefly_locked(connection, target.name, lambda: connection.execute(sql.SQL("DROP TABLE {}").format(table.name)))
    except errors.DependentObjectsStillExist:
        raise refusal from None


def _comment(connection: Connection[Any], layout: Layout, target: Target) -> str | None:
    """That of whatever has the target's name; None where nothing has."""
    found = connection.execute(_COMMENT, (layout.schema, target.name)).fetchone()
    return None if found is None else str(found[0])
