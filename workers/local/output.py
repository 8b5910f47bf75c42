"""Writes the old file anew, with transformed vectors in the place of the old ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from app.artifacts.crossings import Crossing
from app.galleries.lineage import SIDE_INFORMATION
from app.storage.lance_table import vector_type
from models.portable import Array, replacing
from workers.local.files import VECTOR, VectorFile


def write_transformed(old: VectorFile, crossing: Crossing, path: Path) -> None:
    """Writes every row of the old file, in its order and with all its columns, with its vector as the crossing
    transforms it: float32, of the new dimension. The file is there once it is whole. Raises OSError."""
    type_ = vector_type(crossing.chosen.card.target.dimension)
    with pq.ParquetFile(old.path) as file, replacing(path) as partial:
        place = file.schema_arrow.get_field_index(VECTOR)
        schema = file.schema_arrow.set(place, pa.field(VECTOR, type_)).remove_metadata()
        with pq.ParquetWriter(partial, schema) as writer:
            for batch in file.iter_batches(old.rows_at_once):
                rows = pa.RecordBatch.from_arrays(batch.columns, schema=file.schema_arrow)
                flat = pa.array(_transformed(rows, crossing).ravel())
                columns = [*rows.columns]
                columns[place] = pa.FixedSizeListArray.from_arrays(flat, type=type_)
                writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))


def _transformed(rows: pa.RecordBatch, crossing: Crossing) -> Array:
    """Each row's vector in the new space: (n, d_new) float32."""
    vectors = _as_vectors(rows.column(VECTOR))
    has, side = np.zeros(len(vectors), bool), None
    if SIDE_INFORMATION in rows.schema.names:
        column = rows.column(SIDE_INFORMATION)
        has = column.is_valid().to_numpy(zero_copy_only=False)
        known = _as_vectors(column.drop_null())
        if has.any():
            side = np.zeros((len(vectors), known.shape[1]), np.float32)
            side[has] = known
    return crossing.apply(vectors, side, has)


def _as_vectors(column: pa.Array) -> Array:
    """(n, d) float32; a column of lists that are all as long, none of them absent."""
    numbers = np.asarray(column.flatten().to_numpy(zero_copy_only=False), np.float32)
    return numbers.reshape(len(column), -1) if len(column) else np.empty((0, 0), np.float32)
