"""What a place is in the database: its table, key and vector, looked up in the catalogue and told where it is wrong."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from psycopg import Connection, errors, sql

from app.stores.pgvector.keys import KeyColumn, PrimaryKey
from app.stores.protocol import Place, WrongPlace

VectorType = Literal["vector", "halfvec"]

_COLUMNS = """
SELECT a.attname, t.typname, format_type(a.atttypid, a.atttypmod), a.atttypmod, a.attnum, a.attnotnull,
       coalesce(t.typname IN ('vector', 'halfvec') AND t.typnamespace = e.extnamespace, false),
       coalesce(col_description(a.attrelid, a.attnum), '')
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_extension e ON e.extname = 'vector'
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""
_KEYS = """
SELECT i.indisprimary, array(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, place)
       JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum WHERE k.place <= i.indnkeyatts
       ORDER BY k.place)
FROM pg_index i
WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL
  AND i.indexprs IS NULL
ORDER BY i.indisprimary DESC
"""


@dataclass(frozen=True)
class TableColumn:
    """One column. sql_type: as SQL writes it. dimension: of a vector; None where it is none, or says none."""

    name: str
    type: str
    sql_type: str
    number: int
    not_null: bool
    is_vector: bool
    comment: str
    dimension: int | None


@dataclass(frozen=True)
class Layout:
    """A place of a table. extension: the schema that pgvector's functions are in."""

    oid: int
    schema: str
    table: str
    columns: tuple[TableColumn, ...]
    key: PrimaryKey
    vector: TableColumn
    extension: str

    @property
    def name(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.table)

    @property
    def vector_type(self) -> VectorType:
        return "halfvec" if self.vector.type == "halfvec" else "vector"

    def column(self, name: str) -> TableColumn | None:
        return next((column for column in self.columns if column.name == name), None)


def read_layout(connection: Connection[Any], place: Place) -> Layout:
    """Raises WrongPlace, which names what there is."""
    oid, schema, table = _table(connection, place.collection)
    columns = _columns(connection, oid)
    found = connection.execute(
        "SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector'"
    ).fetchone()
    if found is None:
        raise WrongPlace("the database has no pgvector: CREATE EXTENSION vector")
    vector = _vector(table, columns, place.vector)
    for name in (place.text, place.image, place.label, *place.payload):
        if name is not None:
            _named(table, columns, name)
    if place.image is not None and _named(table, columns, place.image).type != "bytea":
        raise WrongPlace(f"column {place.image!r} of {table!r} is no bytea, and holds no encoded images")
    return Layout(oid, schema, table, columns, _key(connection, oid, table, columns, place.id), vector, found[0])


def _table(connection: Connection[Any], name: str) -> tuple[int, str, str]:
    try:
        found = connection.execute(
            "SELECT c.oid, n.nspname, c.relname, c.relkind FROM pg_class c JOIN pg_namespace n "
            "ON n.oid = c.relnamespace WHERE c.oid = to_regclass($1)",
            (name,),
        ).fetchone()
    except (errors.InvalidName, errors.SyntaxError, errors.FeatureNotSupported, errors.InvalidParameterValue):
        found = None
    if found is None:
        raise WrongPlace(
            f"there is no table {name!r} (write it as in SQL, with double quotes where SQL needs them); tables with "
            f"vectors: {_listed(_tables_with_vectors(connection))}"
        )
    oid, schema, table, kind = found
    if kind not in ("r", b"r"):
        raise WrongPlace(f"{name!r} is no ordinary table, to which columns could be added")
    return oid, schema, table


def _tables_with_vectors(connection: Connection[Any]) -> list[str]:
    found = connection.execute(
        "SELECT DISTINCT c.oid::regclass::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid "
        "JOIN pg_type t ON t.oid = a.atttypid JOIN pg_extension e ON e.extname = 'vector' "
        "WHERE c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped AND t.typname IN ('vector', 'halfvec') "
        "AND t.typnamespace = e.extnamespace AND has_table_privilege(c.oid, 'SELECT') ORDER BY 1 LIMIT 20"
    )
    return [name for (name,) in found]


def _columns(connection: Connection[Any], oid: int) -> tuple[TableColumn, ...]:
    return tuple(
        TableColumn(
            name,
            type_,
            sql_type,
            number,
            not_null,
            is_vector,
            comment,
            dimension if is_vector and dimension > 0 else None,
        )
        for name, type_, sql_type, dimension, number, not_null, is_vector, comment in connection.execute(
            _COLUMNS, (oid,)
        )
    )


def _vector(table: str, columns: Sequence[TableColumn], name: str | None) -> TableColumn:
    # A column that an upgrade has added is none of the user's, until the user names it as one to go on from.
    vectors = [column for column in columns if column.is_vector and (column.name == name or not is_ours(column))]
    there = _listed(column.name for column in vectors)
    if name is None:
        if len(vectors) != 1:
            raise WrongPlace(f"say which column of {table!r} holds the vectors; there are: {there}")
        return vectors[0]
    for column in vectors:
        if column.name == name:
            return column
    raise WrongPlace(f"{table!r} has no column {name!r} of type vector or halfvec; there are: {there}")


def _key(
    connection: Connection[Any], oid: int, table: str, columns: Sequence[TableColumn], name: str | None
) -> PrimaryKey:
    keys = [(primary, tuple(names)) for primary, names in connection.execute(_KEYS, (oid,))]
    if name is not None:
        column = _named(table, columns, name)
        if (name,) not in [names for _, names in keys] or not column.not_null:
            raise WrongPlace(f"column {name!r} of {table!r} is no key: it needs a unique index and NOT NULL")
        return PrimaryKey((KeyColumn(name, column.sql_type),))
    for primary, names in keys:
        if primary:
            return PrimaryKey(tuple(KeyColumn(name, _named(table, columns, name).sql_type) for name in names))
    raise WrongPlace(f"table {table!r} has no primary key; say by `id` which unique column is its key")


def _named(table: str, columns: Sequence[TableColumn], name: str) -> TableColumn:
    for column in columns:
        if column.name == name:
            return column
    raise WrongPlace(f"{table!r} has no column {name!r}; there are: {_listed(column.name for column in columns)}")


_MADE_BY_US = "Written by Crosswalk, in place of: "


def is_ours(column: TableColumn) -> bool:
    """Whether an upgrade has added the column."""
    return column.comment.startswith(_MADE_BY_US)


def comment_of_ours(layout: Layout) -> str:
    """The comment of a column that an upgrade adds for a place: what it is known by, and the user's column."""
    return _MADE_BY_US + name_for_readers(layout)


def name_for_readers(layout: Layout) -> str:
    """The name by which readers know the vectors: that of the user's column from which the upgrades began."""
    return layout.vector.comment.removeprefix(_MADE_BY_US) if is_ours(layout.vector) else layout.vector.name


def _listed(names: Any) -> str:
    return ", ".join(map(repr, names)) or "none"
