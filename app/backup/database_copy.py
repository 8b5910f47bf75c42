"""The rows of one database into another, whichever kinds they are: SQLite, PostgreSQL."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Row, Table, func, insert, select

from app.storage.database import Database
from app.storage.migrate import migrate
from app.tables import metadata

_ROWS_AT_ONCE = 1000


def opened(file: Path) -> Database:
    """The database in a SQLite file, which is made where there is none."""
    return Database(URL.create("sqlite", database=str(file)).render_as_string())


class NotEmpty(ValueError):
    """The database that rows were to be copied into has rows of its own."""


def to_file(source: Database, file: Path) -> dict[str, int]:
    """Copies every row, as of one moment, into a new SQLite file, whose schema is the newest. Returns the number of
    rows of each table. The source must be at the newest schema."""
    copy = opened(file)
    try:
        migrate(copy)
        with source.read() as session:
            return _copied(session.connection(), copy)
    finally:
        copy.close()


def from_file(file: Path, target: Database) -> None:
    """Copies every row of a SQLite file into an empty database, in one transaction. The file, which may be of an older
    release, is brought to the newest schema first, as the target is. Raises NotEmpty."""
    source = opened(file)
    try:
        migrate(source)
        migrate(target)
        with source.read() as session:
            _copied(session.connection(), target)
    finally:
        source.close()


def _copied(source: Connection, target: Database) -> dict[str, int]:
    counts = {}
    with target.engine.begin() as into:
        for table in metadata.sorted_tables:
            if into.scalar(select(func.count()).select_from(table)):
                raise NotEmpty(f"table {table.name} has rows already")
        for table in metadata.sorted_tables:
            rows = _referenced_first(table, source.execute(select(table)).all())
            for part in _parts(rows):
                into.execute(insert(table), [dict(row._mapping) for row in part])
            counts[table.name] = len(rows)
    return counts


def _referenced_first(table: Table, rows: Sequence[Row[Any]]) -> list[Row[Any]]:
    """The rows in an order in which each comes after those of its own table that it refers to."""
    own = [(key.parent.name, key.column.name) for key in table.foreign_keys if key.column.table is table]
    ordered: list[Row[Any]] = []
    waiting, there = list(rows), {name: set[Any]() for _, name in own}
    while waiting:
        ready = [row for row in waiting if all(row._mapping[at] in {None, *there[to]} for at, to in own)]
        if not ready:
            raise ValueError(f"rows of table {table.name} refer to each other in a circle")
        ordered += ready
        for _, name in own:
            there[name] |= {row._mapping[name] for row in ready}
        waiting = [row for row in waiting if row not in set(ready)] if own else []
    return ordered


def _parts(rows: Sequence[Row[Any]]) -> Iterator[list[Row[Any]]]:
    rest = iter(rows)
    while part := list(islice(rest, _ROWS_AT_ONCE)):
        yield part
