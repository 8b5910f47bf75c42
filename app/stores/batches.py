"""Items as Arrow record batches: how the columns that `protocol` lists are made and read.

Vectors are (n, d) float32 arrays in memory, a row an item, with flags of the items that have one.
"""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from app.stores.protocol import Column

FloatRows = npt.NDArray[np.float32]
RowFlags = npt.NDArray[np.bool_]

_TYPES: Mapping[str, pa.DataType] = {
    "id": pa.string(),
    "mark": pa.uint64(),
    "text": pa.string(),
    "image": pa.binary(),
    "label": pa.string(),
    "payload": pa.string(),
}


def vector_array(vectors: FloatRows, there: RowFlags | None = None) -> pa.FixedSizeListArray:
    """The `vector` column. vectors: (n, d) float32, of which nothing is copied where it lies in one piece. there: (n,),
    False for items that have no vector; left out, all have one."""
    flat = pa.array(np.ascontiguousarray(vectors).reshape(-1))
    mask = None if there is None or there.all() else pa.array(~there)
    return pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1], mask=mask)


def item_batch(columns: Sequence[Column], values: Mapping[Column, pa.Array | Sequence[object]]) -> pa.RecordBatch:
    """A batch of these columns, in this order. values: an Arrow array, or what one of the column's type is made of."""
    arrays = [
        value if isinstance(value := values[name], pa.Array) else pa.array(value, _TYPES[name]) for name in columns
    ]
    return pa.RecordBatch.from_arrays(arrays, names=list(columns))


def vectors_of(items: pa.RecordBatch) -> tuple[FloatRows, RowFlags]:
    """The `vector` column as (n, d) float32, with (n,) whether each item has one; rows of those without are of no
    meaning. Nothing of the vectors is copied."""
    column = items.column("vector")
    width = column.type.list_size
    flat = column.values.slice(column.offset * width, len(column) * width)
    there = column.is_valid().to_numpy(zero_copy_only=False)
    return flat.to_numpy(zero_copy_only=False).reshape(len(column), width), there


def vector_marks(vectors: FloatRows, there: RowFlags | None = None) -> pa.UInt64Array:
    """The `mark` column for stores that have none of their own: (n,) uint64, a hash of each vector's bytes; 0 where
    there is none."""
    rows = np.ascontiguousarray(vectors).reshape(-1).view(np.uint8).data
    width = vectors.shape[1] * vectors.itemsize
    marks = np.fromiter(
        (
            int.from_bytes(hashlib.blake2b(rows[place : place + width], digest_size=8).digest(), "little")
            for place in range(0, len(vectors) * width, width)
        ),
        dtype=np.uint64,
        count=len(vectors),
    )
    if there is not None:
        marks[~there] = 0
    return pa.array(marks)
