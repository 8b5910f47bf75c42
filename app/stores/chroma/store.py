"""Galleries in Chroma (https://www.trychroma.com): a server, or the folder of a client that persists by itself.

A collection has one vector an item, so that transformed vectors go to a collection of their own, with copies of the
items' documents, metadata and URIs. Items are read in the order of their ids, which Chroma cannot sort by: a scan first
lists all ids, some 100 bytes of memory each. Each batch is as of the moment it was read.
"""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pyarrow as pa
from chromadb import HttpClient, PersistentClient
from chromadb.config import Settings
from pydantic import Field, SecretStr, model_validator

from app.connections.options import ConnectionOptions
from app.stores.batches import item_batch, vectors_of
from app.stores.chroma.calls import ChromaCalls, NoSuchCollection
from app.stores.items import Document, document_batch, held_batch, rows_at_once
from app.stores.protocol import (
    Abilities,
    CannotSwitch,
    Column,
    Place,
    Store,
    StoreAway,
    StoreDescription,
    Switched,
    Target,
    WrongPlace,
)
from models.portable import Distance

DOCUMENT = "#document"
"""What `text` calls an item's document, as Chroma's own queries do; all else is a key of its metadata."""

_MADE_FROM = "crosswalk:made_from"
"""In a target's metadata: the id of the collection that it holds copies from."""

_COPIED = ("documents", "metadatas", "uris")
_METRICS: dict[str, Distance] = {"cosine": "cosine", "l2": "l2", "ip": "ip"}
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{1,510}[a-zA-Z0-9]")

Got = dict[str, dict[str, Any]]
"""Items by their ids: the vector as `embedding`, and `document`, `metadata`, `uri`."""


class ChromaOptions(ConnectionOptions):
    """A server by `url` and, where it asks for one, a `token`; or a folder by `path`."""

    url: str | None = None
    token: SecretStr | None = None
    token_header: str = "X-Chroma-Token"
    path: Path | None = None
    tenant: str = "default_tenant"
    database: str = "default_database"
    timeout_s: float = Field(60, gt=0)

    @model_validator(mode="after")
    def _one_place(self) -> "ChromaOptions":
        if (self.url is None) == (self.path is None):
            raise ValueError("either url or path has to be given")
        if self.url is not None and urlsplit(self.url).scheme not in ("http", "https"):
            raise ValueError("url has to be like http://host:8000")
        return self


class ChromaStore:
    """Satisfies `Store`."""

    def __init__(self, calls: ChromaCalls, client: Any, place: Place) -> None:
        self._calls, self._client, self._place = calls, client, place
        if place.id is not None or place.vector is not None:
            raise WrongPlace("a collection of Chroma has one id and one vector an item: leave out `id` and `vector`")
        if place.text in ("document", "documents"):
            raise WrongPlace(f"the documents of Chroma's items are called {DOCUMENT!r}; all else is of their metadata")
        self._source = self._collection(place.collection)
        self._most = calls.ask(client.get_max_batch_size)
        self._dimension = self._found_dimension()
        self._rows = min(self._most, rows_at_once(self._dimension))

    @classmethod
    def open(cls, connection: str, options: ChromaOptions, place: Place) -> Store:
        calls = ChromaCalls(f"Chroma (connection {connection!r})", options.timeout_s)
        client = _client(calls, options)
        try:
            return cls(calls, client, place)
        except BaseException:
            client.close()
            raise

    def describe(self, *, roughly: bool = False) -> StoreDescription:
        rows = self._here(self._source.count)
        abilities = Abilities(snapshot="batch", switching="statement", conditional_write=False, marks="item")
        return StoreDescription(rows, self._dimension, _METRICS.get(_index(self._source)[1]["space"]), abilities)

    def scan(self, columns: Sequence[Column], *, batch_rows: int, after: str | None = None) -> Iterator[pa.RecordBatch]:
        ids = [id for id in self._ids(self._source) if after is None or id > after]
        rows = batch_rows if {"vector", "mark"}.isdisjoint(columns) else min(batch_rows, self._rows)
        for some in self._parts(ids, rows):
            batch = self._batch(some, columns)
            if batch.num_rows:
                yield batch

    def by_id(self, ids: Sequence[str], columns: Sequence[Column]) -> pa.RecordBatch:
        parts = [self._batch(some, columns) for some in self._parts(list(ids), self._rows)]
        return pa.concat_batches(parts) if parts else document_batch([], columns, self._place, self._dimension)

    def make_target(self, target: Target) -> None:
        if (there := self._target(target)) is not None:
            _, settings = _index(there)
            if (_METRICS.get(settings["space"]), there.metadata.get("crosswalk:dimension")) != (
                target.metric,
                target.dimension,
            ):
                raise WrongPlace(f"the collection {target.name!r} is there already, which is another one")
            return
        kind, settings = _index(self._source)
        metadata = {key: value for key, value in (self._source.metadata or {}).items() if not key.startswith("hnsw:")}
        self._calls.ask(
            self._client.create_collection,
            target.name,
            configuration={kind: {**settings, "space": target.metric}},
            metadata={**metadata, _MADE_FROM: str(self._source.id), "crosswalk:dimension": target.dimension},
            embedding_function=None,
        )

    def write(self, target: Target, items: pa.RecordBatch) -> list[str]:
        made = self._made(target)
        rows = min(self._most, rows_at_once(target.dimension))
        left_out: list[str] = []
        for start in range(0, items.num_rows, rows):
            left_out += self._written(made, items.slice(start, rows))
        return left_out

    def written(self, target: Target, *, batch_rows: int, vectors: bool = False) -> Iterator[pa.RecordBatch]:
        made = self._made(target)
        rows = min(batch_rows, rows_at_once(target.dimension)) if vectors else batch_rows
        for some in self._parts(self._ids(made), rows):
            yield self._held(made, some, target) if vectors else item_batch(["id"], {"id": some})

    def written_by_id(self, target: Target, ids: Sequence[str]) -> pa.RecordBatch:
        made = self._made(target)
        parts = [self._held(made, some, target) for some in self._parts(list(ids), rows_at_once(target.dimension))]
        return pa.concat_batches(parts) if parts else held_batch({}, target.dimension)

    def erase(self, target: Target, ids: Sequence[str]) -> None:
        made = self._made(target)
        for some in self._parts(list(ids), self._most):
            self._here(made.delete, ids=some)

    def build_index(self, target: Target) -> None:
        """Nothing to do: Chroma indexes a collection as it is written."""
        self._made(target)

    def switch(self, target: Target) -> Switched:
        self._made(target)
        return Switched(f"client.get_collection({target.name!r})")

    def switch_back(self, target: Target) -> Switched:
        return Switched(f"client.get_collection({self._place.collection!r})")

    def drop(self, target: Target) -> None:
        if target.name == self._place.collection:
            raise CannotSwitch(f"{target.name!r} is the collection that the gallery is read from")
        with suppress(WrongPlace, NoSuchCollection):
            if self._target(target) is not None:
                self._calls.ask(self._client.delete_collection, target.name)

    def close(self) -> None:
        self._client.close()

    def _written(self, made: Any, items: pa.RecordBatch) -> list[str]:
        ids = items.column("id").to_pylist()
        vectors = dict(zip(ids, vectors_of(items)[0], strict=True))
        sources = self._got(self._source, ids, list(_COPIED))
        there = self._got(made, ids, list(_COPIED))
        # What is written over keeps the metadata's keys and the document that its source has no more: it goes first.
        changed = [id for id, item in there.items() if item != sources.get(id, item)]
        if changed:
            self._here(made.delete, ids=changed)
        if sources:
            self._here(
                made.upsert,
                ids=list(sources),
                embeddings=[vectors[id] for id in sources],
                documents=_given([item["document"] for item in sources.values()]),
                metadatas=_given([item["metadata"] for item in sources.values()]),
                uris=_given([item["uri"] for item in sources.values()]),
            )
        return [id for id in ids if id not in sources]

    def _batch(self, ids: Sequence[str], columns: Sequence[Column]) -> pa.RecordBatch:
        marked = "mark" in columns
        include = ["embeddings"] if marked or "vector" in columns else []
        fields = {"text", "image", "label", "payload"} & set(columns)
        include += _COPIED if marked else ["documents", "metadatas"] if fields else []
        documents = [
            Document(
                id,
                item.get("embedding"),
                {**(item.get("metadata") or {}), DOCUMENT: item.get("document")},
                _copied(item) if marked else b"",
            )
            for id, item in self._got(self._source, ids, include).items()
        ]
        return document_batch(documents, columns, self._place, self._dimension)

    def _ids(self, collection: Any) -> list[str]:
        """All at once, as those that go while pages of them are read would have others left out."""
        return sorted(self._here(collection.get, include=[])["ids"])

    def _got(self, collection: Any, ids: Sequence[str], include: Sequence[str]) -> Got:
        if not ids:
            return {}
        answer = self._here(collection.get, ids=list(ids), include=list(include))
        names = [(name, name.removesuffix("s")) for name in include]
        rows = {id: row for row, id in enumerate(answer["ids"])}
        return {id: {one: answer[many][rows[id]] for many, one in names} for id in ids if id in rows}

    def _held(self, made: Any, ids: Sequence[str], target: Target) -> pa.RecordBatch:
        found = self._got(made, ids, ["embeddings"])
        return held_batch({id: item["embedding"] for id, item in found.items()}, target.dimension)

    def _parts(self, ids: list[str], rows: int) -> Iterator[list[str]]:
        rows = min(rows, self._most)
        return (ids[start : start + rows] for start in range(0, len(ids), rows))

    def _found_dimension(self) -> int:
        first = self._here(self._source.get, limit=1, include=["embeddings"])["embeddings"]
        if not len(first):
            raise WrongPlace(f"the collection {self._place.collection!r} is empty: its dimension is not known yet")
        return len(first[0])

    def _collection(self, name: str) -> Any:
        """Raises WrongPlace where there is none of this name."""
        with suppress(NoSuchCollection):
            if _NAME.fullmatch(name) and ".." not in name:
                return self._calls.ask(self._client.get_collection, name, embedding_function=None)
        there = sorted(collection.name for collection in self._calls.ask(self._client.list_collections, limit=20))
        raise WrongPlace(f"Chroma has no collection {name!r}; there are {', '.join(there) or 'none'}")

    def _target(self, target: Target) -> Any:
        """None where there is none. Raises WrongPlace where the name is another collection's."""
        try:
            found = self._calls.ask(self._client.get_collection, target.name, embedding_function=None)
        except NoSuchCollection:
            return None
        if (found.metadata or {}).get(_MADE_FROM) != str(self._source.id):
            raise WrongPlace(f"a collection {target.name!r} is there already, which is another one")
        return found

    def _made(self, target: Target) -> Any:
        if (made := self._target(target)) is None:
            raise WrongPlace(f"Chroma has no collection {target.name!r}: make it again")
        return made

    def _here(self, method: Any, **named: Any) -> Any:
        try:
            return self._calls.ask(method, **named)
        except NoSuchCollection:
            raise WrongPlace("the collection is not in Chroma any more") from None


def _client(calls: ChromaCalls, options: ChromaOptions) -> Any:
    settings = Settings(anonymized_telemetry=False)
    if options.path is not None:
        path = str(options.path)
        return calls.connected(lambda: PersistentClient(path, settings, options.tenant, options.database))
    url = urlsplit(str(options.url))
    headers = {} if options.token is None else {options.token_header: options.token.get_secret_value()}
    secure = url.scheme == "https"
    port = url.port or (443 if secure else 80)
    try:
        client: Any = calls.connected(
            lambda: HttpClient(
                f"{url.scheme}://{url.hostname}:{port}{url.path}",
                port,
                secure,
                headers,
                settings.model_copy(),
                options.tenant,
                options.database,
            )
        )
    except NoSuchCollection:
        raise StoreAway(f"{calls.store} has no such tenant or database") from None
    # The client waits for ever otherwise, and has no setting for it.
    client._server._session.timeout = httpx.Timeout(options.timeout_s)
    return client


def _index(collection: Any) -> tuple[str, dict[str, Any]]:
    """Which kind of index a collection has, and its settings."""
    configuration = collection.configuration
    kind = "spann" if configuration.get("spann") else "hnsw"
    return kind, dict(configuration.get(kind) or {"space": "l2"})


def _given(values: list[Any]) -> list[Any] | None:
    """None where no item has any."""
    return None if all(value is None for value in values) else values


def _copied(item: dict[str, Any]) -> bytes:
    return json.dumps([item["document"], item["metadata"], item["uri"]], sort_keys=True, default=str).encode()
