"""How many rows a table has: PostgreSQL has to read all of them to tell exactly."""

from typing import Any

from psycopg import Connection, sql

from app.stores.pgvector.layout import Layout

MOST_COUNTED = 10_000
"""Rows that are counted where an estimate would do."""


def rows_counted(connection: Connection[Any], layout: Layout) -> tuple[int, bool]:
    """The rows, and that they are exact."""
    (rows,) = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(layout.name)).fetchone() or (0,)
    return rows, True


def rows_roughly(connection: Connection[Any], layout: Layout) -> tuple[int, bool]:
    """The rows, and whether they are exact: those of a large table are PostgreSQL's own estimate, from the table's size
    and what was counted of it last."""
    first = sql.SQL("SELECT count(*) FROM (SELECT FROM {} LIMIT {}) AS first_rows").format(
        layout.name, sql.Literal(MOST_COUNTED + 1)
    )
    (rows,) = connection.execute(first).fetchone() or (0,)
    if rows <= MOST_COUNTED:
        return rows, True
    planned = connection.execute(sql.SQL("EXPLAIN (FORMAT JSON) SELECT FROM {}").format(layout.name)).fetchone()
    assert planned is not None
    # Fewer than have just been seen there are not, whatever was counted last.
    return max(rows, int(planned[0][0]["Plan"]["Plan Rows"])), False
