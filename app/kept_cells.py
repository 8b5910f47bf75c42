"""Cells that a written row leaves as they are: a bool column beside a column says in which rows its cells are kept.

A JSON row may leave out what another row of the same body has. Arrow's columns cannot tell "left out" from "null", so
the rows that leave column `label` out are those where the column `keeps:label` is true.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_PREFIX = "keeps:"


def keeps(column: str) -> str:
    """The name of the bool column that says which rows keep their cells of a column."""
    return _PREFIX + column


def kept_columns(schema: pa.Schema) -> list[str]:
    """The columns of which some rows keep their cells."""
    return [name.removeprefix(_PREFIX) for name in schema.names if name.startswith(_PREFIX)]


def given_columns(schema: pa.Schema) -> pa.Schema:
    """The schema without the columns that only say what is kept."""
    return pa.schema([field for field in schema if not field.name.startswith(_PREFIX)])


def with_kept(batch: pa.RecordBatch, stored: pa.Table) -> pa.RecordBatch:
    """The rows to be written, without the columns that only say what is kept.

    batch: rows as they came; stored: the rows of the same ids in the same order, at least the columns of which cells
    are kept.
    """
    kept = kept_columns(batch.schema)
    schema = given_columns(batch.schema)
    arrays = [
        either(np.asarray(batch.column(keeps(name))), stored.column(name), batch.column(name))
        if name in kept
        else batch.column(name)
        for name in schema.names
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def either(kept: np.ndarray, stored: pa.ChunkedArray, given: pa.Array) -> pa.Array:
    """The stored cells where `kept` (n,) bool, the given ones elsewhere: n cells of the given type."""
    return pc.if_else(pa.array(kept.astype(bool)), stored.combine_chunks().cast(given.type), given)
