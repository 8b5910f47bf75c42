"""Transformed vectors written to a column of their own, of the rows whose old vector is still what was read."""

from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa
from psycopg import Connection, errors, sql

from app.stores.batches import vectors_of
from app.stores.pgvector.layout import Layout
from app.stores.pgvector.reading import mark_sql
from app.stores.pgvector.wire import copied_rows
from app.stores.protocol import StoreAway, Target, WrongPlace

_PATIENCE = "400ms"
"""How long a row's lock is waited for. Less than the second after which PostgreSQL looks for deadlocks (its default),
so that it is never somebody else's transaction that is ended for our sake."""
_BY_INDEX = "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off"
"""Rows are looked up one by one: the planner, who knows nothing of a temporary table, would read the whole of the
user's for each batch."""
_STAGED_IN_MEMORY = "SET temp_buffers = '32MB'"
"""A batch of 12 MiB does not fit into PostgreSQL's 8, and would go through temporary files."""
_INLINE_BYTES = 7500  # what a page of 8 kB holds beside a row's key

_TRIGGERS = """
SELECT tgname, tgenabled = 'A' FROM pg_trigger
WHERE tgrelid = $1 AND NOT tgisinternal AND tgenabled IN ('O', 'A') AND tgtype & 16 <> 0 AND tgattr = ''::int2vector
"""


class Writer:
    """Writes batches to one target over one connection, by way of a temporary table."""

    def __init__(self, connection: Connection[Any], layout: Layout, source: Layout, target: Target) -> None:
        """source: the table that the target is in. Raises WrongPlace where writing would fire the user's triggers and
        the role may not keep them from it."""
        self._connection, self._layout, self._source, self._target = connection, layout, source, target
        self._staged = sql.Identifier("pg_temp", f"crosswalk_staged_{target.dimension}")
        self._quiet = sql.SQL(_quiet(connection, source))
        self._make_staged()

    def write(self, items: pa.RecordBatch) -> list[str]:
        """Returns the ids of those that were not written."""
        ids = items.column("id").to_pylist()
        rows = self._rows(ids, items)
        try:
            done = self._written(rows, self._update())
        except errors.LockNotAvailable:
            if self._source.oid != self._layout.oid:  # no row of the user's is locked by us: it is the whole table
                raise
            done = self._written(rows, self._update_unlocked())
        return ids if done is None else [ids[row] for row in sorted(set(range(len(ids))).difference(done))]

    def _rows(self, ids: list[str], items: pa.RecordBatch) -> bytes:
        key = self._layout.key
        texts = key.columns_of(ids)
        if len(texts[0]) != len(ids):
            raise WrongPlace(f"an id is none of {self._layout.table!r}, whose key has {len(key.columns)} columns")
        vectors, _ = vectors_of(items)
        marks = items.column("mark").to_numpy(zero_copy_only=False).astype(np.uint64, copy=False)
        return copied_rows(texts, marks, vectors, self._layout.vector_type)

    def _written(self, rows: bytes, update: sql.Composed) -> list[int] | None:
        """The numbers of the rows that were written; None for none."""
        with self._connection.transaction():
            self._connection.execute(self._quiet)
            cursor = self._connection.cursor(binary=True)
            with cursor.copy(sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(self._staged)) as copy:
                copy.write(rows)
            (done,) = cursor.execute(update).fetchone() or (None,)
        return done

    def _update(self) -> sql.Composed:
        if self._source.oid != self._layout.oid:
            return self._insert()
        return sql.SQL(
            "WITH done AS (UPDATE {table} AS t SET {column} = s.vector FROM {staged} AS s WHERE {same} RETURNING s.n) "
            "SELECT array_agg(n) FROM done"
        ).format(**self._parts())

    def _insert(self) -> sql.Composed:
        """The same for a table of the target's own."""
        key = self._layout.key
        names = sql.SQL(", ").join(sql.Identifier(column.name) for column in key.columns)
        return sql.SQL(
            "WITH same AS MATERIALIZED (SELECT s.n, s.vector, {keys} FROM {staged} AS s JOIN {table} AS t ON {same}), "
            "done AS (INSERT INTO {target} ({names}, {vector}) SELECT {names}, vector FROM same "
            "ON CONFLICT ({names}) DO UPDATE SET {vector} = excluded.{vector}) SELECT array_agg(n) FROM same"
        ).format(
            **self._parts(),
            keys=key.order,
            names=names,
            target=self._source.name,
            vector=sql.Identifier(self._source.vector.name),
        )

    def _update_unlocked(self) -> sql.Composed:
        """The same for the rows that nobody else is changing."""
        return sql.SQL(
            "WITH free AS MATERIALIZED (SELECT s.n, s.vector, t.ctid AS place FROM {staged} AS s JOIN {table} AS t "
            "ON {same} FOR NO KEY UPDATE OF t SKIP LOCKED), "
            "done AS (UPDATE {table} AS t SET {column} = f.vector FROM free AS f WHERE t.ctid = f.place RETURNING f.n) "
            "SELECT array_agg(n) FROM done"
        ).format(**self._parts())

    def _parts(self) -> dict[str, sql.Composable]:
        old = sql.Identifier("t", self._layout.vector.name)
        same = sql.SQL("{} AND {} = s.mark").format(self._layout.key.equals("s"), mark_sql(self._layout, old))
        return {
            "table": self._layout.name,
            "column": sql.Identifier(self._target.name),
            "staged": self._staged,
            "same": same,
        }

    def _make_staged(self) -> None:
        keys = sql.SQL(", ").join(sql.SQL(f"k{n} text") for n in range(1, len(self._layout.key.columns) + 1))
        type_ = sql.Identifier(self._layout.extension, self._layout.vector_type)
        with suppress(errors.InvalidParameterValue):  # of a pooled session, fixed by its first temporary table
            self._connection.execute(_STAGED_IN_MEMORY)
        inline = self._target.dimension * (2 if self._layout.vector_type == "halfvec" else 4) < _INLINE_BYTES
        self._connection.execute(
            sql.SQL(
                "CREATE TEMPORARY TABLE IF NOT EXISTS {} ({}, n int, mark bigint, vector {}({}) STORAGE {}) "
                "ON COMMIT DELETE ROWS"
            ).format(
                self._staged,
                keys,
                type_,
                sql.Literal(self._target.dimension),
                sql.SQL("PLAIN" if inline else "EXTERNAL"),
            )
        )


def erase_rows(connection: Connection[Any], layout: Layout, source: Layout, target: Target, ids: list[str]) -> None:
    """Takes out what the target has of these rows. source: the table that the target is in. Raises StoreAway where
    somebody else keeps one locked."""
    if source.oid != layout.oid:
        form = "DELETE FROM {table} AS t USING {keys} WHERE {same}"
    else:
        form = "UPDATE {table} AS t SET {column} = NULL FROM {keys} WHERE {same} AND t.{column} IS NOT NULL"
    statement = sql.SQL(form).format(
        table=source.name,
        column=sql.Identifier(target.name),
        keys=layout.key.unnested("u"),
        same=layout.key.equals("u"),
    )
    try:
        with connection.transaction():
            connection.execute(sql.SQL(_quiet(connection, source)))
            connection.execute(statement, layout.key.columns_of(ids))
    except errors.LockNotAvailable:
        raise StoreAway(f"rows of {layout.table!r} are locked by another transaction; try again later") from None


def _quiet(connection: Connection[Any], layout: Layout) -> str:
    """What begins a transaction that writes: how locks are waited for and rows are found, and no trigger is fired."""
    begin = f"SET LOCAL lock_timeout = '{_PATIENCE}'; {_BY_INDEX}"
    triggers = list(connection.execute(_TRIGGERS, (layout.oid,)))
    if not triggers:
        return begin
    names = ", ".join(repr(name) for name, _ in triggers)
    refusal = WrongPlace(
        f"writing to {layout.table!r} would fire its triggers ({names}) as if its user had changed each row: let the "
        "connection's role set session_replication_role (GRANT SET ON PARAMETER), have them fire on UPDATE OF the "
        "columns that they are about, or disable them for the time of the upgrade"
    )
    if any(always for _, always in triggers):
        raise refusal
    try:
        with connection.transaction(force_rollback=True):
            connection.execute("SET LOCAL session_replication_role = replica")
    except errors.InsufficientPrivilege:
        raise refusal from None
    return f"{begin}; SET LOCAL session_replication_role = replica"
