"""The target's index: as the old vectors are indexed, built while the table is read and written."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from psycopg import Connection, sql

from app.stores.pgvector.layout import Layout, TableColumn
from app.stores.protocol import Target, WrongPlace
from models.portable import Distance

_CLASS_OF: Mapping[Distance, str] = {"cosine": "cosine_ops", "l2": "l2_ops", "ip": "ip_ops"}
_METRIC_OF: Mapping[str, Distance] = {name: metric for metric, name in _CLASS_OF.items()}
_MOST_DIMENSIONS = {"vector": 2000, "halfvec": 4000}  # of HNSW and IVFFlat

_INDEXES = """
SELECT c.relname, am.amname, o.opcname, coalesce(c.reloptions, '{}'), coalesce(pg_get_expr(i.indpred, i.indrelid), ''),
       i.indisvalid
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am am ON am.oid = c.relam
  JOIN pg_opclass o ON o.oid = i.indclass[0]
WHERE i.indrelid = $1 AND i.indnatts = 1 AND i.indkey[0] = $2 AND am.amname IN ('hnsw', 'ivfflat')
ORDER BY i.indexrelid
"""


@dataclass(frozen=True)
class ColumnIndex:
    """An index on one column. options: as `WITH` takes them. condition: of a partial index, in SQL; else empty."""

    name: str
    method: str
    operators: str
    options: tuple[str, ...]
    condition: str
    valid: bool

    @property
    def metric(self) -> Distance | None:
        """By which it ranks."""
        return _METRIC_OF.get(self.operators.partition("_")[2])


def vector_indexes(connection: Connection[Any], layout: Layout, column_number: int) -> list[ColumnIndex]:
    """The indexes by which nearest vectors of one column are found."""
    return [
        ColumnIndex(name, method, operators, tuple(options), condition, valid)
        for name, method, operators, options, condition, valid in connection.execute(
            _INDEXES, (layout.oid, column_number)
        )
    ]


def build_like_the_old(
    connection: Connection[Any], layout: Layout, source: Layout, column: TableColumn, target: Target
) -> None:
    """Builds all that the old column has; where it has none, HNSW for the target's metric as far as pgvector has it.

    source, column: where the target is, in the user's table or in one beside it, where no condition of a partial index
    can be kept.

    The table is read and written meanwhile. Half an index, left by a build that was killed, is built anew.
    """
    there: list[_Kind] = []
    for index in vector_indexes(connection, source, column.number):
        if index.valid:
            there.append(_kind(index))
            continue
        connection.execute(
            sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(layout.schema, index.name))
        )
    old = [_kind(index) for index in vector_indexes(connection, layout, layout.vector.number) if index.valid]
    if source.oid != layout.oid:
        old = [replace(kind, condition="") for kind in old]
    most = _MOST_DIMENSIONS[layout.vector_type]
    if target.dimension > most:
        if not old:
            return
        raise WrongPlace(
            f"pgvector indexes at most {most} dimensions of {layout.vector_type}, and {target.name!r} has "
            f"{target.dimension}: index it by an expression of your own, such as {target.name}::halfvec"
        )
    if not old and not there:
        old = [_Kind("hnsw", f"{layout.vector_type}_{_CLASS_OF[target.metric]}", (), "")]
    for number, kind in enumerate(dict.fromkeys(old)):
        if kind not in there:
            _build(connection, layout, source, column, _index_name(layout, target, number), kind)


@dataclass(frozen=True)
class _Kind:
    """What an index is, but for its name and column; as `ColumnIndex`."""

    method: str
    operators: str
    options: tuple[str, ...]
    condition: str


def _kind(index: ColumnIndex) -> _Kind:
    return _Kind(index.method, index.operators, index.options, index.condition)


def _build(
    connection: Connection[Any], layout: Layout, source: Layout, column: TableColumn, name: str, kind: _Kind
) -> None:
    connection.execute(
        sql.SQL("CREATE INDEX CONCURRENTLY {} ON {} USING {} ({} {}){}{}").format(
            sql.Identifier(name),
            source.name,
            sql.Identifier(kind.method),
            sql.Identifier(column.name),
            sql.Identifier(layout.extension, kind.operators),
            sql.SQL(f" WITH ({', '.join(kind.options)})" if kind.options else ""),
            sql.SQL(f" WHERE {kind.condition}" if kind.condition else ""),
        )
    )


def _index_name(layout: Layout, target: Target, number: int) -> str:
    """One of its own in the schema, of at most 63 bytes. number: of the target's indexes, from 0 on."""
    digest = hashlib.sha256(f"{layout.table}\0{target.name}".encode()).hexdigest()[:12]
    return f"crosswalk_{digest}_idx{number or ''}"
