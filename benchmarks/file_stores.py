"""Parquet files, LanceDB, a FAISS index file and Milvus, filled for `benchmarks.stores`, and copied within by their own
libraries alone. Milvus is milvus-lite's server, which is written in Python and takes most of the time."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pymilvus import CollectionSchema, DataType, FieldSchema, MilvusClient

from app.connections.file import ConfiguredConnection
from app.faiss_library import faiss
from app.stores.protocol import Place
from benchmarks.filled_store import FilledStore, chunks
from tests.services import MilvusProcess

ROWS = 10_000
"""Read and written at once."""
MILVUS_ROWS = 1000


def table_of(begin: int, vectors: npt.NDArray[np.float32]) -> pa.Table:
    cells = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
    return pa.table({"id": [f"{begin + row:08d}" for row in range(len(vectors))], "vector": cells})


@contextmanager
def files(rows: int, dimension: int, folder: Path) -> Iterator[FilledStore]:
    """One Parquet file."""
    shelf = folder / "shelf"
    shelf.mkdir()
    with pq.ParquetWriter(shelf / "items.parquet", table_of(0, np.zeros((1, dimension), np.float32)).schema) as writer:
        for begin, vectors in chunks(rows, dimension, ROWS):
            writer.write_table(table_of(begin, vectors))
    connection = ConfiguredConnection("bench", "files", {"folder": str(shelf)})
    yield FilledStore(connection, Place("items.parquet", "id", "vector"), partial(bare_files, shelf))


def bare_files(shelf: Path) -> None:
    """From one Parquet file to another."""
    file = pq.ParquetFile(shelf / "items.parquet")
    with pq.ParquetWriter(
        shelf / "bare.parquet", file.schema_arrow, compression="none", use_dictionary=False
    ) as writer:
        for batch in file.iter_batches(ROWS):
            writer.write_batch(batch)
    (shelf / "bare.parquet").unlink()


@contextmanager
def lance(rows: int, dimension: int, folder: Path) -> Iterator[FilledStore]:
    """A table of ids and vectors."""
    database = lancedb.connect(str(folder / "lance"))
    table = database.create_table("items", schema=table_of(0, np.zeros((1, dimension), np.float32)).schema)
    for begin, vectors in chunks(rows, dimension, ROWS):
        table.add(table_of(begin, vectors))
    connection = ConfiguredConnection("bench", "lancedb", {"uri": str(folder / "lance")})
    yield FilledStore(connection, Place("items", "id", "vector"), partial(bare_lance, database))


def bare_lance(database: Any) -> None:
    """From one table to another."""
    items = database.open_table("items")
    bare = database.create_table("bare", schema=items.schema)
    for batch in items.search().select(["id", "vector"]).to_batches(ROWS):
        bare.add(pa.Table.from_batches([batch]))
    database.drop_table("bare")


@contextmanager
def faiss_file(rows: int, dimension: int, folder: Path) -> Iterator[FilledStore]:
    """A flat index with ids."""
    shelf = folder / "shelf"
    shelf.mkdir()
    index = faiss.IndexIDMap2(faiss.IndexFlatIP(dimension))
    for begin, vectors in chunks(rows, dimension, ROWS):
        index.add_with_ids(vectors, np.arange(begin, begin + len(vectors)))
    faiss.write_index(index, str(shelf / "items.faiss"))
    del index
    connection = ConfiguredConnection("bench", "faiss", {"folder": str(shelf)})
    yield FilledStore(connection, Place("items.faiss"), partial(bare_faiss, shelf))


def bare_faiss(shelf: Path) -> None:
    """From one index file to another."""
    index = faiss.read_index(str(shelf / "items.faiss"))
    inner = faiss.downcast_index(index.index)
    bare = faiss.IndexIDMap2(faiss.IndexFlatIP(index.d))
    vectors = faiss.rev_swig_ptr(inner.get_xb(), index.ntotal * index.d).reshape(-1, index.d)
    bare.add_with_ids(vectors, faiss.vector_to_array(index.id_map))
    faiss.write_index(bare, str(shelf / "bare.faiss"))
    (shelf / "bare.faiss").unlink()


@contextmanager
def milvus(rows: int, dimension: int, folder: Path) -> Iterator[FilledStore]:
    """A collection of keys and vectors."""
    server = MilvusProcess(folder / "milvus")
    server.start()
    client = MilvusClient(server.uri)
    make_collection(client, "items", dimension)
    for begin, vectors in chunks(rows, dimension, MILVUS_ROWS):
        client.insert("items", [{"id": begin + row, "vector": vector} for row, vector in enumerate(vectors)])
    connection = ConfiguredConnection("bench", "milvus", {"uri": server.uri, "timeout_s": 120})
    yield FilledStore(connection, Place("items"), partial(bare_milvus, client, dimension))
    client.close()
    server.kill()


def make_collection(client: MilvusClient, name: str, dimension: int) -> None:
    fields = [
        FieldSchema("id", DataType.INT64, is_primary=True),
        FieldSchema("vector", DataType.FLOAT_VECTOR, dim=dimension),
    ]
    index = MilvusClient.prepare_index_params()
    index.add_index("vector", index_type="FLAT", metric_type="COSINE")
    client.create_collection(name, schema=CollectionSchema(fields), index_params=index)
    client.load_collection(name)


def bare_milvus(client: MilvusClient, dimension: int) -> None:
    """From one collection to another."""
    make_collection(client, "bare", dimension)
    rows = client.query_iterator("items", batch_size=MILVUS_ROWS, output_fields=["id", "vector"])
    while page := rows.next():
        client.upsert("bare", list(page))
    rows.close()
    client.drop_collection("bare")
