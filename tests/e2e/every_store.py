"""Every kind of store with a user's items in it, and an application that goes on writing there."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa

from app.connections.file import ConfiguredConnection
from app.stores.protocol import Store, StoreAway, Target, WrongPlace
from tests.app.stores.chroma_world import ChromaWorld
from tests.app.stores.contract import vectors_by_id
from tests.app.stores.elasticsearch_world import ElasticsearchWorld
from tests.app.stores.pgvector_world import SORTS, PgvectorWorld
from tests.app.stores.qdrant_world import QdrantWorld
from tests.app.stores.test_faiss_file import FaissWorld
from tests.app.stores.test_files import FilesWorld
from tests.app.stores.test_lancedb import LanceWorld
from tests.app.stores.test_milvus_store import MilvusWorld
from tests.app.stores.world import StoreWorld, UserItem, opened
from tests.chroma_server import chroma_server
from tests.noida_server import noida_server
from tests.qdrant_server import qdrant_server
from tests.services import MilvusProcess, postgres_database
from tests.worlds import Floats, World, world

ITEMS, SPARE = 100, 30
"""Items at first; and how many more ids there are, for those that come later."""
_SECONDS = 0.3
"""Between two things that the application does."""
_BATCH_ROWS = 1_000

Vectors = dict[str, Floats]


@contextmanager
def _served(server: Callable[[], AbstractContextManager[str]], made: Callable[[str], Any]) -> Iterator[StoreWorld]:
    with server() as url:
        yield made(url)


@contextmanager
def _postgres(server: str, sort: str) -> Iterator[StoreWorld]:
    with postgres_database(server) as url:
        uri = url.replace("+psycopg", "")
        with psycopg.connect(uri, autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")
        yield PgvectorWorld(uri, SORTS[sort])


@contextmanager
def _milvus(folder: Path) -> Iterator[StoreWorld]:
    process = MilvusProcess(folder / "milvus")
    process.start()
    try:
        yield MilvusWorld(process, alias=True)
    finally:
        process.kill()


@contextmanager
def _files(made: StoreWorld) -> Iterator[StoreWorld]:
    yield made


KINDS: Mapping[str, Callable[[Path, Callable[[], str]], AbstractContextManager[StoreWorld]]] = MappingProxyType(
    {
        "pgvector, a column": lambda _, server: _postgres(server(), "vector, bigint"),
        "pgvector, a table beside": lambda _, server: _postgres(server(), "table beside, uuid"),
        "qdrant, named vectors": lambda *_: _served(qdrant_server, lambda url: QdrantWorld(url, named=True)),
        "qdrant, by an alias": lambda *_: _served(qdrant_server, lambda url: QdrantWorld(url, named=False)),
        "elasticsearch": lambda *_: _served(noida_server, ElasticsearchWorld),
        "chroma": lambda *_: _served(chroma_server, ChromaWorld),
        "milvus": lambda folder, _: _milvus(folder),
        "lancedb": lambda folder, _: _files(LanceWorld(folder)),
        "faiss": lambda folder, _: _files(FaissWorld(folder, "Flat", None, link=True)),
        "files": lambda folder, _: _files(FilesWorld(folder, "faq", ["faq/1.parquet", "faq/2.parquet"])),
    }
)
"""An empty place of each, given a folder and what starts PostgreSQL."""


class StoreUser:
    """Items of a made-up world in a store, and what their application does there."""

    def __init__(self, place: StoreWorld) -> None:
        self.place = place
        ids = place.ids(ITEMS + SPARE)
        seen = world(ITEMS, dimension=place.dimension)
        old = seen.gallery.old / np.linalg.norm(seen.gallery.old, axis=1, keepdims=True)
        self.world = World(replace(seen.gallery, id=ids[:ITEMS], old=old), seen.queries)
        self.items = {
            id: _item(id, vector, label)
            for id, vector, label in zip(ids[:ITEMS], old, self.world.gallery.label, strict=True)
        }
        place.insert(list(self.items.values()))
        self._at_first = place.everything()
        self._unused = ids[ITEMS:]
        self._touched: set[str] = set()
        self._draw = np.random.default_rng(1)
        self._last = 0.0
        self.done = 0

    def registration(self) -> dict[str, Any]:
        """`store` of the request that registers a gallery of these items."""
        return choice(self.place.connection, self.place.place)

    def goes_on(self) -> None:
        """Inserts, changes or deletes an item, in turn, unless it has just done so."""
        if time.monotonic() - self._last < _SECONDS:
            return
        known = list(self.items)
        some = known[int(self._draw.integers(len(known)))]
        vector = self._draw.normal(size=self.place.dimension).astype(np.float32)
        vector /= np.linalg.norm(vector)
        if self.done % 3 == 0:
            self.insert(self.unused(), vector)
        elif self.done % 3 == 1:
            self.change(some, vector)
        else:
            self._unused.append(some)
            self.delete(some)
        self.done += 1
        self._last = time.monotonic()

    def unused(self) -> str:
        """An id that no item has."""
        return self._unused.pop(0)

    def insert(self, id: str, vector: Floats) -> None:
        self._touched.add(id)
        self.items[id] = _item(id, vector, "class-00")
        self.place.insert([self.items[id]])

    def change(self, id: str, vector: Floats) -> None:
        self._touched.add(id)
        self.items[id] = replace(self.items[id], vector=vector)
        self.place.change(self.items[id])

    def delete(self, id: str) -> None:
        self._touched.add(id)
        del self.items[id]
        self.place.delete([id])

    def finds_all_as_it_wrote_it(self) -> bool:
        """Whether the items are those that it knows of, and what it has not changed is what it was bit for bit."""
        now = self.place.everything()
        assert now.keys() == self.items.keys()
        assert {id: now[id] for id in now if id not in self._touched} == {
            id: row for id, row in self._at_first.items() if id not in self._touched
        }
        for id, vector in self.old().items():
            written = self.items[id].vector
            assert written is not None
            np.testing.assert_allclose(vector, written, atol=max(1e-6, self.place.tolerance))
        return True

    def old(self) -> Vectors:
        """The old vectors by id, as the service reads them."""
        with self._opened() as store:
            return _by_id(store.scan(["id", "vector"], batch_rows=_BATCH_ROWS))

    def new(self, target: Target) -> Vectors:
        """What the target holds, by id; nothing where it is gone."""
        try:
            with self._opened() as store:
                return _by_id(store.written(target, batch_rows=_BATCH_ROWS, vectors=True))
        except WrongPlace:
            return {}

    @contextmanager
    def _opened(self) -> Iterator[Store]:
        store = opened(self.place.connection, self.place.place)
        try:
            yield store
        finally:
            store.close()


def choice(connection: ConfiguredConnection, place: Any) -> dict[str, Any]:
    """A place as a request that registers a gallery names it."""
    named = {name: getattr(place, name) for name in ("collection", "id", "vector", "text", "label")}
    chosen = {name: value for name, value in named.items() if value is not None}
    return {"connection": connection.name, **chosen, **({"payload": list(place.payload)} if place.payload else {})}


def configured(connection: ConfiguredConnection) -> str:
    """The table of the operator's file that makes this connection."""
    given = {"kind": connection.kind, **connection.options}
    return "\n".join([f"[{connection.name}]", *(f"{key} = {json.dumps(value)}" for key, value in given.items()), ""])


def directions(vectors: Vectors) -> Vectors:
    """Unit vectors, which is what stores may make of vectors where lengths do not count."""
    return {id: vector / np.linalg.norm(vector) for id, vector in vectors.items()}


def same(found: Vectors, wanted: Vectors) -> bool:
    """Whether two stores' vectors have the same directions, but for rounding, for the same items."""
    one, other = directions(found), directions(wanted)
    return one.keys() == other.keys() and all(np.allclose(one[id], other[id], rtol=0, atol=1e-4) for id in one)


def dropped(user: StoreUser, target: Target) -> bool:
    """Whether the target holds nothing any more. One whose files go while it is read is about to be."""
    try:
        return not user.new(target)
    except StoreAway:
        return False


def _by_id(batches: Iterator[pa.RecordBatch]) -> Vectors:
    vectors: Vectors = {}
    rows = 0
    for batch in batches:
        rows += batch.num_rows - batch.column("vector").null_count
        vectors |= vectors_by_id(batch)
    assert rows == len(vectors), "an item is there twice"
    return vectors


def _item(id: str, vector: Floats, label: str) -> UserItem:
    return UserItem(id, vector, f"text of {id}", label, {"shop": "Bäckerei", "tags": ["a", "b"]})
