"""Qdrant, Elasticsearch and Chroma, filled for `benchmarks.stores`, and copied within by their clients alone.

Qdrant is its engine behind the interface of `tests.qdrant_server`, which is in Python and takes most of the time;
Elasticsearch is noida-db; Chroma is its own server.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import chromadb
from chromadb.config import Settings
from elasticsearch import Elasticsearch
from qdrant_client import models

from app.connections.file import ConfiguredConnection
from app.stores.protocol import Place
from benchmarks.filled_store import FilledStore, chunks
from tests.chroma_server import chroma_server
from tests.noida_server import noida_server
from tests.qdrant_server import API_KEY, qdrant_server, user_client

ROWS = 1000
"""In one request of a bare client."""


@contextmanager
def qdrant(rows: int, dimension: int, folder: Path) -> Iterator[FilledStore]:
    """A collection of one named vector."""
    with qdrant_server() as url:
        client = user_client(url)
        params = models.VectorParams(size=dimension, distance=models.Distance.COSINE)
        client.create_collection("items", vectors_config={"old": params})
        for begin, vectors in chunks(rows, dimension, ROWS):
            numbered = enumerate(vectors.tolist(), begin)
            points = [models.PointStruct(id=id, vector={"old": vector}) for id, vector in numbered]
            client.upsert("items", points)
        options = {"url": url, "api_key": API_KEY}
        connection = ConfiguredConnection("bench", "qdrant", options)
        yield FilledStore(connection, Place("items", vector="old"), partial(bare_qdrant, url, dimension))
        client.close()


def bare_qdrant(url: str, dimension: int) -> None:
    """Scrolled, and written to another named vector."""
    client = user_client(url)
    dense = models.DenseVectorConfig(size=dimension, distance=models.Distance.COSINE)
    client.create_vector_name("items", "bare", models.DenseVectorNameConfig(dense=dense))
    following, more = None, True
    while more:
        records, following = client.scroll(
            "items", limit=ROWS, offset=following, with_vectors=["old"], with_payload=False
        )
        points = [
            models.PointVectors(id=record.id, vector={"bare": record.vector["old"]})
            for record in records
            if isinstance(record.vector, dict)
        ]
        client.update_vectors("items", points)
        more = following is not None
    client.close()


@contextmanager
def elasticsearch(rows: int, dimension: int, folder: Path) -> Iterator[FilledStore]:
    """An index of one dense_vector."""
    with noida_server() as url, Elasticsearch(url, request_timeout=120) as client:
        field = {"type": "dense_vector", "dims": dimension, "similarity": "cosine"}
        client.indices.create(index="items", mappings={"properties": {"old": field, "bare": field}})
        for begin, vectors in chunks(rows, dimension, ROWS):
            lines = [
                line
                for row, vector in enumerate(vectors.tolist())
                for line in ({"index": {"_id": f"{begin + row:08d}"}}, {"old": vector})
            ]
            client.bulk(index="items", operations=lines)
        client.indices.refresh(index="items")
        connection = ConfiguredConnection("bench", "elasticsearch", {"url": url, "timeout_s": 120})
        yield FilledStore(connection, Place("items", vector="old"), partial(bare_elasticsearch, url))


def bare_elasticsearch(url: str) -> None:
    """Read in a point in time, and written to another field."""
    with Elasticsearch(url, request_timeout=120) as client:
        pit = {"id": client.open_point_in_time(index="items", keep_alive="10m")["id"]}
        after = None
        while True:
            asked: dict[str, Any] = {"search_after": after} if after is not None else {}
            hits = client.search(pit=pit, size=ROWS, sort=[{"_shard_doc": "asc"}], track_total_hits=False, **asked)[
                "hits"
            ]
            if not hits["hits"]:
                return
            lines = [
                line
                for hit in hits["hits"]
                for line in ({"update": {"_id": hit["_id"]}}, {"doc": {"bare": hit["_source"]["old"]}})
            ]
            client.bulk(index="items", operations=lines)
            after = hits["hits"][-1]["sort"]


@contextmanager
def chroma(rows: int, dimension: int, folder: Path) -> Iterator[FilledStore]:
    """A collection in Chroma's own server."""
    with chroma_server() as url:
        client = chromadb.HttpClient(
            "127.0.0.1", int(url.rpartition(":")[2]), settings=Settings(anonymized_telemetry=False)
        )
        items = client.create_collection("items", configuration={"hnsw": {"space": "cosine"}}, embedding_function=None)
        for begin, vectors in chunks(rows, dimension, ROWS):
            items.add(ids=[f"{begin + row:08d}" for row in range(len(vectors))], embeddings=vectors)
        connection = ConfiguredConnection("bench", "chroma", {"url": url, "timeout_s": 120})
        yield FilledStore(connection, Place("items"), partial(bare_chroma, client, rows))
        client.close()


def bare_chroma(client: chromadb.ClientAPI, rows: int) -> None:
    """Read by pages, and added to another collection."""
    items = client.get_collection("items", embedding_function=None)
    bare = client.create_collection("bare", configuration={"hnsw": {"space": "cosine"}}, embedding_function=None)
    for begin in range(0, rows, ROWS):
        found = items.get(limit=ROWS, offset=begin, include=["embeddings"])
        bare.add(ids=found["ids"], embeddings=found["embeddings"])
    client.delete_collection("bare")
