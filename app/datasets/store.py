"""The rows of one dataset: `id`, `label`?, `side_information`?, `text`?, `image`?, one embedding column a model.

Apart from them, in a table made when the first come, its queries: `id`, `relevant`?, one embedding column a model.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa

from app.galleries.lineage import SIDE_INFORMATION
from app.kept_cells import given_columns, keeps, kept_columns, with_kept
from app.storage.lance_table import StoredRows, Table, Written, embedding_column, embedding_model, vector_type
from app.storage.removal import remove_folder
from app.storage.shared_files import SharedFiles

RELEVANT = "relevant"
"""The column of a query's relevant items: a JSON object from item id to grade."""

_WIRE_PREFIX = "embedding."


class DatasetStore:
    """The files of one dataset. folder and shared: as a gallery's."""

    def __init__(self, folder: Path, shared: SharedFiles | None = None) -> None:
        self.folder = folder
        self._shared = shared or SharedFiles(folder, None)
        tables = self._shared.location(folder)
        self.rows = Table(tables / "rows.lance")
        self._queries = tables / "queries.lance"

    @classmethod
    def create(cls, folder: Path, side_dimension: int | None, shared: SharedFiles | None = None) -> "DatasetStore":
        """Lays out an empty dataset; one that is there already is opened."""
        columns = [
            pa.field("label", pa.string()),
            pa.field("text", pa.large_string()),
            pa.field("image", pa.large_binary()),
        ]
        if side_dimension is not None:
            columns.append(pa.field(SIDE_INFORMATION, vector_type(side_dimension)))
        where = folder if shared is None else shared.location(folder)
        Table.create(where / "rows.lance", columns)
        return cls(folder, shared)

    def destroy(self) -> None:
        self._shared.remove(self.folder)
        remove_folder(self.folder)

    def put(self, schema: pa.Schema, batches: Callable[[], Iterator[pa.RecordBatch]]) -> Written:
        """Upserts rows as they come from a bulk body (`embedding.<model>` columns), in one commit; rows may keep cells
        (`app.kept_cells`)."""
        return _put(self.rows, schema, batches)

    @property
    def queries(self) -> Table | None:
        """The queries that were put apart from the rows; None where none ever were."""
        return Table(self._queries) if Table.exists(self._queries) else None

    def put_queries(self, schema: pa.Schema, batches: Callable[[], Iterator[pa.RecordBatch]]) -> Written:
        """As `put`, of queries, with their relevant items."""
        return _put(Table.create(self._queries, [pa.field(RELEVANT, pa.large_string())]), schema, batches)

    def delete_queries(self) -> None:
        """Removes every query. Whoever reads an earlier version goes on reading it."""
        if (queries := self.queries) is not None:
            ids = [id for batch in queries.scan(["id"]) for id in batch.column("id").to_pylist()]
            if ids:
                queries.delete(ids)

    def models(self) -> list[str]:
        """The models that some row may have a vector of."""
        return models_of(self.rows)


def models_of(table: Table) -> list[str]:
    """The models that some row of a table may have a vector of."""
    return [model for name in table.schema.names if (model := embedding_model(name)) is not None]


def _put(table: Table, schema: pa.Schema, batches: Callable[[], Iterator[pa.RecordBatch]]) -> Written:
    columns = [field.with_name(stored_name(field.name)) for field in given_columns(schema)]
    for field in columns:
        if embedding_model(field.name) is not None or field.name == SIDE_INFORMATION:
            table.ensure_column(field)
    stored_schema = table.schema
    written = pa.schema([stored_schema.field(field.name) for field in columns])
    kept = [stored_name(name) for name in kept_columns(schema)]
    named = pa.schema([*written, *(pa.field(keeps(name), pa.bool_()) for name in kept)])
    if not kept:
        return table.upsert(written, (_named(batch, named) for batch in batches()))

    def rows(stored: StoredRows) -> pa.RecordBatchReader:
        given = (_named(batch, named) for batch in batches())
        whole = (with_kept(batch, stored.of(batch.column("id"), kept)) for batch in given)
        return pa.RecordBatchReader.from_batches(written, whole)

    return table.upsert_over(rows)


def _named(batch: pa.RecordBatch, named: pa.Schema) -> pa.RecordBatch:
    """The batch under the store's names and types."""
    return batch.rename_columns(named.names).cast(named)


def stored_name(column: str) -> str:
    """The store's name for a column of a bulk body."""
    model = column.removeprefix(_WIRE_PREFIX)
    return embedding_column(model) if column.startswith(_WIRE_PREFIX) else column


def columns_by_model(columns: list[str]) -> dict[str, str]:
    """The columns of a bulk body that hold vectors, by the model that made them."""
    return {name.removeprefix(_WIRE_PREFIX): name for name in columns if name.startswith(_WIRE_PREFIX)}
