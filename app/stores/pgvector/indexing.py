"""The target's index: as the old vectors are indexed, built while the table is read and written."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
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
    """Builds what the old column has; where it has none, HNSW for the target's metric as far as pgvector has it.

    source, column: where the target is, in the user's table or in one beside it, where no condition of a partial index
    can be kept.

    The table is read and written meanwhile. Half an index, left by a build that was killed, is built anew.
    """
    name = _index_name(layout, target)
    for index in vector_indexes(connection, source, column.number):
        if index.valid:
            return
        connection.execute(
            sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(layout.schema, index.name))
        )
    like = next((index for index in vector_indexes(connection, layout, layout.vector.number) if index.valid), None)
    most = _MOST_DIMENSIONS[layout.vector_type]
    if target.dimension > most:
        if like is None:
            return
        raise WrongPlace(
            f"pgvector indexes at most {most} dimensions of {layout.vector_type}, and {target.name!r} has "
            f"{target.dimension}: index it by an expression of your own, such as {target.name}::halfvec"
        )
    operators = like.operators if like is not None else f"{layout.vector_type}_{_CLASS_OF[target.metric]}"
    connection.execute(
        sql.SQL("CREATE INDEX CONCURRENTLY {} ON {} USING {} ({} {}){}{}").format(
            sql.Identifier(name),
            source.name,
            sql.Identifier(like.method if like is not None else "hnsw"),
            sql.Identifier(column.name),
            sql.Identifier(layout.extension, operators),
            sql.SQL(f" WITH ({', '.join(like.options)})" if like is not None and like.options else ""),
            sql.SQL(
                f" WHERE {like.condition}" if like is not None and like.condition and source.oid == layout.oid else ""
            ),
        )
    )


def _index_name(layout: Layout, target: Target) -> str:
    """One of its own in the schema, of at most 63 bytes."""
    digest = hashlib.sha256(f"{layout.table}\0{target.name}".encode()).hexdigest()[:12]
    return f"crosswalk_{digest}_idx"
