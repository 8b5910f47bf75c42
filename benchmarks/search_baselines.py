"""What `GET /search` is set beside: a bare endpoint, one that a user would write around FAISS, and pgvector."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg
from psycopg.adapt import Buffer, Dumper
from psycopg.pq import Format
from psycopg.types import TypeInfo

from app.faiss_library import faiss
from app.index import RowIds, Vectors
from benchmarks.http_load import Load
from tests.services import postgres_server

BARE = """
import sys, uvicorn
from fastapi import FastAPI
from app.http.listener import listen
from app.http.server import server_config
app = FastAPI()
@app.get("/")
async def nothing() -> dict[str, str]:
    return {}
uvicorn.Server(server_config(app)).run([listen("127.0.0.1", int(sys.argv[1]))])
"""
HAND_WRITTEN = """
import base64, sys, faiss, numpy, uvicorn
from fastapi import FastAPI
from app.http.listener import listen
from app.http.server import server_config
faiss.omp_set_num_threads(1)
index = faiss.read_index(sys.argv[2])
app = FastAPI()
@app.get("/search")
async def search(vector: str, k: int = 10) -> dict[str, list[dict[str, float | str]]]:
    query = numpy.frombuffer(base64.urlsafe_b64decode(vector), "<f4")[None, :]
    scores, rows = index.search(query, k)
    hits = zip(rows[0].tolist(), scores[0].tolist())
    return {"results": [{"id": f"item-{row}", "score": score} for row, score in hits]}
uvicorn.Server(server_config(app)).run([listen("127.0.0.1", int(sys.argv[1]))])
"""
NEIGHBOURS, BUILD_EFFORT = 16, 128  # of either graph: pgvector's m and ef_construction, FAISS's M and efConstruction
_EFFORTS = (20, 40, 60, 80, 120, 160, 240, 320, 480, 640, 1_000)


def nearest_rows(rows: Vectors, queries: Vectors, k: int) -> RowIds:
    """The k rows (m, k) with the largest inner products with each of the queries (m, d)."""
    index = faiss.IndexFlatIP(rows.shape[1])
    index.add(rows)
    return np.asarray(index.search(queries, k)[1])


def recall(found: RowIds, nearest: RowIds) -> float:
    """The share of the nearest rows (m, k) that are among those found (m, k)."""
    return float(np.mean([np.isin(right, got).mean() for right, got in zip(nearest, found, strict=True)]))


def faiss_graph(rows: Vectors, queries: Vectors, nearest: RowIds, wanted: float) -> tuple[faiss.Index, float]:
    """FAISS's HNSW over the rows, with the least effort that reaches the recall; and the recall."""
    index = faiss.IndexHNSWFlat(rows.shape[1], NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = BUILD_EFFORT
    index.add(rows)
    for effort in _EFFORTS:
        index.hnsw.efSearch = effort
        if (reached := recall(index.search(queries, nearest.shape[1])[1], nearest)) >= wanted:
            break
    return index, reached


class _Binary(Dumper):
    """A vector as pgvector takes it in binary: how many numbers, a reserved word, and big-endian float32."""

    format = Format.BINARY

    def dump(self, obj: Any) -> Buffer:
        return np.array([len(obj), 0], ">i2").tobytes() + np.asarray(obj, ">f4").tobytes()


@dataclass(frozen=True)
class Pgvector:
    """A table with an HNSW index. effort: the `ef_search` by which it reaches `recall`."""

    uri: str
    effort: int
    recall: float

    def load(self, queries: Sequence[np.ndarray], k: int, connections: int, seconds: float) -> Load:
        """A closed loop, each connection in a thread: the driver waits without the interpreter's lock."""
        waits: list[float] = []
        ready, over = threading.Barrier(connections + 1), threading.Event()

        def ask(place: int) -> None:
            with _connected(self.uri, self.effort) as connection:
                cursor, asked = connection.cursor(binary=True), place
                ready.wait()
                while not over.is_set():
                    before = time.perf_counter()
                    _ask(cursor, queries[asked % len(queries)], k)
                    waits.append(time.perf_counter() - before)
                    asked += connections

        threads = [threading.Thread(target=ask, args=(place,)) for place in range(connections)]
        for thread in threads:
            thread.start()
        ready.wait()
        began = time.perf_counter()
        time.sleep(seconds)
        over.set()
        for thread in threads:
            thread.join()
        return Load.of(waits, time.perf_counter() - began)


@contextmanager
def pgvector(rows: Vectors, queries: Vectors, nearest: RowIds, wanted: float) -> Iterator[Pgvector]:
    """pgvector over the rows, in a PostgreSQL of its own, tuned to a recall on these queries."""
    k = nearest.shape[1]
    with postgres_server() as uri:
        with psycopg.connect(uri, autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")
            connection.execute(f"CREATE TABLE items (id integer, embedding vector({rows.shape[1]}))".encode())
            _know(connection)
            with connection.cursor().copy("COPY items (id, embedding) FROM STDIN WITH (FORMAT BINARY)") as copy:
                copy.set_types(["int4", "vector"])
                for row, vector in enumerate(rows):
                    copy.write_row((row, vector))
            connection.execute("SET maintenance_work_mem = '2GB'")
            connection.execute("SET max_parallel_maintenance_workers = 0")  # whose shared memory may be short
            connection.execute(
                f"CREATE INDEX ON items USING hnsw (embedding vector_ip_ops) "
                f"WITH (m = {NEIGHBOURS}, ef_construction = {BUILD_EFFORT})".encode()
            )
            connection.execute("ANALYZE items")
        for effort in _EFFORTS:
            with _connected(uri, effort) as connection:
                cursor = connection.cursor(binary=True)
                found = np.array([_ask(cursor, query, k) for query in queries])
            if (reached := recall(found, nearest)) >= wanted:
                break
        yield Pgvector(uri, effort, reached)


def _ask(cursor: psycopg.Cursor[Any], query: np.ndarray, k: int) -> list[int]:
    cursor.execute("SELECT id FROM items ORDER BY embedding <#> %b LIMIT %b", (query, k), prepare=True)
    return [row[0] for row in cursor.fetchall()]


@contextmanager
def _connected(uri: str, effort: int) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(uri, autocommit=True) as connection:
        _know(connection)
        connection.execute(f"SET hnsw.ef_search = {effort}".encode())
        connection.execute("SET enable_seqscan = off")
        yield connection


def _know(connection: psycopg.Connection[Any]) -> None:
    """Has the connection send numpy's arrays as pgvector's vectors, in binary."""
    info = TypeInfo.fetch(connection, "vector")
    if info is None:
        raise RuntimeError("this PostgreSQL has no pgvector")
    info.register(connection)
    connection.adapters.register_dumper(np.ndarray, type("_Vector", (_Binary,), {"oid": info.oid}))
