"""The view by which readers see one column of vectors or another: replaced in one transaction, whatever the dimensions.

The user's table keeps its columns and their names. The view has all of them but those that upgrades added, with the
vectors' column taken from wherever readers are to look.
"""

from typing import Any

from psycopg import Connection, errors, sql

from app.stores.pgvector.columns import LONGEST_NAME, briefly_locked
from app.stores.pgvector.layout import Layout, TableColumn, is_ours, name_for_readers
from app.stores.pgvector.rights import grant_like, grants_on, own_like
from app.stores.protocol import CannotSwitch, WrongPlace

_MADE_BY_US = "What readers see, kept by Crosswalk"
_INVOKER_SINCE = 150_000
_RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE")

_OBJECT = """
SELECT c.oid, coalesce(obj_description(c.oid, 'pg_class'), '') FROM pg_class c JOIN pg_namespace n
  ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2
"""

_READS = """
SELECT 1 FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND r.ev_class = $1
  AND d.refobjid = $2 AND d.refobjsubid = $3
LIMIT 1
"""


def view_of(layout: Layout) -> str:
    """The view's name, in the table's schema. Raises WrongPlace where PostgreSQL would cut it off."""
    name = f"{layout.table}_current"
    if len(name.encode()) > LONGEST_NAME:
        raise WrongPlace(
            f"the view that readers are switched by would be {name!r}, and a name has at most {LONGEST_NAME} bytes: "
            "give the table a shorter one"
        )
    return name


def view_is_there(connection: Connection[Any], layout: Layout) -> bool:
    """Raises WrongPlace where something else has its name."""
    return _view(connection, layout) is not None


def shows(connection: Connection[Any], layout: Layout, source: Layout, column: TableColumn) -> bool:
    """Whether the view takes its vectors from this column, of the user's table or of one beside it (source)."""
    there = _view(connection, layout)
    found = connection.execute(_READS, (there, source.oid, column.number)).fetchone() if there is not None else None
    return found is not None


def show(connection: Connection[Any], layout: Layout, source: Layout, column: TableColumn) -> str:
    """Has the view show a column as the vectors', in one step for whoever reads. Returns what names the view in SQL.

    source: the table that the column is of, the user's or one beside it: then the view has the rows that are in both.

    Who may read or write the table may do so through the view; what is granted on the view stays.
    """
    view = sql.Identifier(layout.schema, view_of(layout))
    there = _view(connection, layout)

    def replace() -> None:
        grants = grants_on(connection, layout.oid if there is None else there)
        connection.execute(sql.SQL("DROP VIEW IF EXISTS {}").format(view))
        connection.execute(_definition(connection, layout, source, column))
        connection.execute(sql.SQL("COMMENT ON VIEW {} IS {}").format(view, sql.Literal(_MADE_BY_US)))
        grant_like(connection, grants, view, _RIGHTS)
        own_like(connection, layout.oid, view)

    try:
        briefly_locked(connection, view_of(layout), replace)
    except errors.DependentObjectsStillExist:
        raise CannotSwitch(
            f"other views read {view_of(layout)!r}, and would have to be made anew: have them read the table, or drop "
            "them for the switch"
        ) from None
    return view.as_string(connection)


def _view(connection: Connection[Any], layout: Layout) -> int | None:
    found = connection.execute(_OBJECT, (layout.schema, view_of(layout))).fetchone()
    if found is None:
        return None
    oid, comment = found
    if comment != _MADE_BY_US:
        raise WrongPlace(
            f"the view that readers are switched by would be {view_of(layout)!r}, and there is something else of that "
            f"name in the schema {layout.schema!r}: rename it"
        )
    return int(oid)


def _definition(connection: Connection[Any], layout: Layout, source: Layout, column: TableColumn) -> sql.Composed:
    apart = source.oid != layout.oid
    vector = sql.Identifier("v" if apart else "t", column.name)
    columns = sql.SQL(", ").join(
        sql.SQL("{} AS {}").format(
            vector if each.name == name_for_readers(layout) else sql.Identifier("t", each.name),
            sql.Identifier(each.name),
        )
        for each in layout.columns
        if not is_ours(each)
    )
    keys = sql.SQL(", ").join(sql.Identifier(each.name) for each in layout.key.columns)
    # Readers' own rights and policies count, not those of whoever made the view.
    invoker = connection.info.server_version >= _INVOKER_SINCE
    return sql.SQL("CREATE VIEW {}{} AS SELECT {} FROM {} AS t{}").format(
        sql.Identifier(layout.schema, view_of(layout)),
        sql.SQL(" WITH (security_invoker = true)" if invoker else ""),
        columns,
        layout.name,
        sql.SQL(" JOIN {} AS v USING ({})").format(source.name, keys) if apart else sql.SQL(""),
    )
