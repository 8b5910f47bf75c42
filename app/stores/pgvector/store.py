"""A table with vectors as a `Store`."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import Connection, IsolationLevel, sql

from app.stores.pgvector.columns import add_column, drop_column, target_column
from app.stores.pgvector.connecting import PgvectorOptions, connected, told_plainly
from app.stores.pgvector.counting import rows_counted, rows_roughly
from app.stores.pgvector.indexing import build_like_the_old, vector_indexes
from app.stores.pgvector.layout import Layout, TableColumn, read_layout
from app.stores.pgvector.reading import Reading, found_by_id, in_order
from app.stores.pgvector.switching import show, shows, view_is_there
from app.stores.pgvector.tables import add_table, drop_table, target_table
from app.stores.pgvector.writing import Writer, erase_rows
from app.stores.protocol import (
    Abilities,
    Column,
    Place,
    StoreDescription,
    Switched,
    Target,
    WrongPlace,
)

_ABILITIES = Abilities(snapshot="all", switching="atomic", conditional_write=True)


class PgvectorStore:
    """One table over a connection that is opened when it is first needed, and again after it broke; a scan has one of
    its own, with a transaction that sees all as of its beginning."""

    def __init__(self, name: str, options: PgvectorOptions, place: Place) -> None:
        self._name, self._options, self._place = name, options, place
        self._kept: Connection[Any] | None = None
        self._writers: dict[Target, Writer] = {}

    def describe(self, *, roughly: bool = False) -> StoreDescription:
        with told_plainly(self._name):
            connection, layout = self._laid_out()
            rows, exact = (rows_roughly if roughly else rows_counted)(connection, layout)
            indexes = vector_indexes(connection, layout, layout.vector.number)
            metric = next((index.metric for index in indexes if index.metric is not None), None)
            return StoreDescription(rows, _dimension(connection, layout, layout.vector), metric, _ABILITIES, exact)

    def scan(self, columns: Sequence[Column], *, batch_rows: int, after: str | None = None) -> Iterator[pa.RecordBatch]:
        return self._read(columns, batch_rows, after, None)

    def by_id(self, ids: Sequence[str], columns: Sequence[Column]) -> pa.RecordBatch:
        with told_plainly(self._name):
            connection, layout = self._laid_out()
            return found_by_id(connection, self._reading(connection, layout, columns, None), ids).select(list(columns))

    def make_target(self, target: Target) -> None:
        with told_plainly(self._name):
            (add_table if self._apart else add_column)(*self._laid_out(), target)

    def write(self, target: Target, items: pa.RecordBatch) -> list[str]:
        with told_plainly(self._name):
            return self._writer(target).write(items)

    def written(self, target: Target, *, batch_rows: int, vectors: bool = False) -> Iterator[pa.RecordBatch]:
        return self._read(["id", "vector"] if vectors else ["id"], batch_rows, None, target)

    def written_by_id(self, target: Target, ids: Sequence[str]) -> pa.RecordBatch:
        with told_plainly(self._name):
            connection, layout = self._laid_out()
            found = found_by_id(connection, self._reading(connection, layout, ["id", "vector"], target), ids)
            return found.filter(found.column("vector").is_valid())

    def erase(self, target: Target, ids: Sequence[str]) -> None:
        with told_plainly(self._name):
            connection, layout = self._laid_out()
            source, _ = self._where(connection, layout, target)
            erase_rows(connection, layout, source, target, list(ids))

    def build_index(self, target: Target) -> None:
        with told_plainly(self._name):
            connection, layout = self._laid_out()
            build_like_the_old(connection, layout, *self._where(connection, layout, target), target)

    def switch(self, target: Target) -> Switched:
        with told_plainly(self._name):
            connection, layout = self._laid_out()
            source, column = self._where(connection, layout, target)
            first = not view_is_there(connection, layout)
            view = show(connection, layout, source, column)
        return Switched(f"-- From now on, read the vectors from here:\nSELECT * FROM {view};" if first else None)

    def switch_back(self, target: Target) -> Switched:
        with told_plainly(self._name):
            connection, layout = self._laid_out()
            where = self._where_if_there(connection, layout, target)
            if where is not None and shows(connection, layout, *where):
                show(connection, layout, layout, layout.vector)
        return Switched(None)

    def drop(self, target: Target) -> None:
        with told_plainly(self._name):
            self._writers.pop(target, None)
            (drop_table if self._apart else drop_column)(*self._laid_out(), target)

    def close(self) -> None:
        if self._kept is not None:
            with suppress(psycopg.Error):
                self._kept.close()
        self._kept = None
        self._writers.clear()

    def _read(
        self, columns: Sequence[Column], batch_rows: int, after: str | None, target: Target | None
    ) -> Iterator[pa.RecordBatch]:
        with told_plainly(self._name), connected(self._options) as connection:
            connection.isolation_level, connection.read_only = IsolationLevel.REPEATABLE_READ, True
            layout = read_layout(connection, self._place)
            reading = self._reading(connection, layout, columns, target)
            yield from in_order(connection, reading, columns, batch_rows, after)

    def _reading(
        self, connection: Connection[Any], layout: Layout, columns: Sequence[Column], target: Target | None
    ) -> Reading:
        with_id: tuple[Column, ...] = ("id", *(name for name in columns if name != "id"))
        if target is None:
            dimension = _dimension(connection, layout, layout.vector)
            return Reading(layout, self._place, with_id, layout.vector, dimension)
        source, column = self._where(connection, layout, target)
        return Reading(source, self._place, with_id, column, target.dimension)

    def _writer(self, target: Target) -> Writer:
        connection = self._connection()
        if target not in self._writers:
            layout = read_layout(connection, self._place)
            source, _ = self._where(connection, layout, target)
            self._writers[target] = Writer(connection, layout, source, target)
        return self._writers[target]

    @property
    def _apart(self) -> bool:
        return self._options.beside == "table"

    def _where(self, connection: Connection[Any], layout: Layout, target: Target) -> tuple[Layout, TableColumn]:
        """The table and the column that a target is in."""
        if self._apart:
            table = target_table(connection, layout, target)
            return table, table.vector
        return layout, target_column(layout, target)

    def _where_if_there(
        self, connection: Connection[Any], layout: Layout, target: Target
    ) -> tuple[Layout, TableColumn] | None:
        try:
            return self._where(connection, layout, target)
        except WrongPlace:
            return None

    def _laid_out(self) -> tuple[Connection[Any], Layout]:
        """The place as it is now."""
        connection = self._connection()
        return connection, read_layout(connection, self._place)

    def _connection(self) -> Connection[Any]:
        if self._kept is None or self._kept.closed or self._kept.broken:
            self.close()
            self._kept = connected(self._options)
        return self._kept


def _dimension(connection: Connection[Any], layout: Layout, column: TableColumn) -> int:
    """That of the column's type; where it has none, that of any vector."""
    if column.dimension is not None:
        return column.dimension
    found = connection.execute(
        sql.SQL("SELECT {}({}) FROM {} WHERE {} IS NOT NULL LIMIT 1").format(
            sql.Identifier(layout.extension, "vector_dims"),
            sql.Identifier(column.name),
            layout.name,
            sql.Identifier(column.name),
        )
    ).fetchone()
    if found is None:
        raise WrongPlace(f"column {column.name!r} of {layout.table!r} has no vector, and tells no dimension")
    return int(found[0])
