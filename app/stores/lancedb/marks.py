"""Marks of items whose targets hold copies of all their columns: another one whenever any of these is."""

import hashlib

import numpy as np
import pyarrow as pa

from app.stores.arrow_items import float_vectors, texts_of_ids
from app.stores.batches import vector_marks, vectors_of


def item_marks(batch: pa.RecordBatch, vector: str, dimension: int, key: str) -> pa.UInt64Array:
    """batch: all columns of some rows."""
    ids = texts_of_ids(batch.column(key), key)
    vectors = float_vectors(batch.column(vector), dimension, ids)
    of_vectors = vector_marks(*vectors_of(pa.RecordBatch.from_arrays([vectors], ["vector"]))).to_pylist()
    others = batch.select([name for name in batch.schema.names if name not in (vector, key)])
    cells = (repr(tuple(row.values())).encode() for row in others.to_pylist())
    digests = (
        hashlib.blake2b(mark.to_bytes(8, "little") + cell, digest_size=8).digest()
        for mark, cell in zip(of_vectors, cells, strict=True)
    )
    return pa.array(np.frombuffer(b"".join(digests), "<u8").astype(np.uint64))
