"""The rows of one dataset: `id`, `label`?, `side_information`?, `text`?, `image`?, one embedding column a model."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa

from app.galleries.lineage import SIDE_INFORMATION
from app.kept_cells import given_columns, keeps, kept_columns, with_kept
from app.storage.lance_table import StoredRows, Table, Written, embedding_column, embedding_model, vector_type

_WIRE_PREFIX = "embedding."


class DatasetStore:
    """The files of one dataset."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows = Table(folder / "rows.lance")

    @classmethod
    def create(cls, folder: Path, side_dimension: int | None) -> "DatasetStore":
        """Lays out an empty dataset; one that is there already is opened."""
        columns = [
            pa.field("label", pa.string()),
            pa.field("text", pa.large_string()),
            pa.field("image", pa.large_binary()),
        ]
        if side_dimension is not None:
            columns.append(pa.field(SIDE_INFORMATION, vector_type(side_dimension)))
        Table.create(folder / "rows.lance", columns)
        return cls(folder)

    def destroy(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def put(self, schema: pa.Schema, batches: Callable[[], Iterator[pa.RecordBatch]]) -> Written:
        """Upserts rows as they come from a bulk body (`embedding.<model>` columns), in one commit; rows may keep cells
        (`app.kept_cells`)."""
        columns = [field.with_name(stored_name(field.name)) for field in given_columns(schema)]
        for field in columns:
            if embedding_model(field.name) is not None or field.name == SIDE_INFORMATION:
                self.rows.ensure_column(field)
        written = pa.schema([self._as_stored(field) for field in columns])
        kept = [stored_name(name) for name in kept_columns(schema)]
        named = pa.schema([*written, *(pa.field(keeps(name), pa.bool_()) for name in kept)])
        if not kept:
            return self.rows.upsert(written, (_named(batch, named) for batch in batches()))

        def rows(stored: StoredRows) -> pa.RecordBatchReader:
            given = (_named(batch, named) for batch in batches())
            whole = (with_kept(batch, stored.of(batch.column("id"), kept)) for batch in given)
            return pa.RecordBatchReader.from_batches(written, whole)

        return self.rows.upsert_over(rows)

    def models(self) -> list[str]:
        """The models that some row may have a vector of."""
        return [model for name in self.rows.schema.names if (model := embedding_model(name)) is not None]

    def _as_stored(self, field: pa.Field) -> pa.Field:
        return self.rows.schema.field(field.name)


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
