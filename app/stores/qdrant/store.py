"""Galleries in Qdrant (https://qdrant.tech).

Points are read in the order of their ids, batch by batch, each as of the moment it was read. Qdrant scales the vectors
of a collection with cosine distance to unit length when they are written: those are the old vectors that are read.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field, SecretStr
from qdrant_client import QdrantClient, models

from app.connections.options import ConnectionOptions
from app.stores.batches import item_batch, vectors_of
from app.stores.items import Document, document_batch, fields_read, held_batch, rows_at_once
from app.stores.protocol import (
    Abilities,
    Column,
    Place,
    Store,
    StoreAway,
    StoreDescription,
    Switched,
    Target,
    WrongPlace,
)
from app.stores.qdrant.calls import NotThere, QdrantCalls
from app.stores.qdrant.source import METRICS, QdrantSource, dense_vector, find_points, is_point_id, point_id
from app.stores.qdrant.targets import NamedVector, NewCollection, QdrantTarget

_VECTORS_ADDED_FROM = (1, 18)
"""The version from which a collection can be given a further named vector."""


class QdrantOptions(ConnectionOptions):
    """A server. new_collection: write to a new collection even where a vector could be added, so that an alias is
    switched in one step."""

    url: str = Field(pattern="^https?://")
    api_key: SecretStr | None = None
    timeout_s: float = Field(60, gt=0)
    new_collection: bool = False


class QdrantStore:
    """Satisfies `Store`."""

    def __init__(self, calls: QdrantCalls, place: Place, source: QdrantSource, target: QdrantTarget) -> None:
        self._calls, self._client, self._place = calls, calls.client, place
        self._source, self._target = source, target
        self._rows = rows_at_once(source.params.size)

    @classmethod
    def open(cls, connection: str, options: QdrantOptions, place: Place) -> Store:
        store = f"Qdrant (connection {connection!r})"
        client = _client(options)
        try:
            calls = QdrantCalls(client, store, options.timeout_s)
            source = find_points(calls, place)
            made_of = NewCollection if options.new_collection or not _takes_vectors(calls, source) else NamedVector
            return cls(calls, place, source, made_of(calls, source))
        except BaseException:
            client.close()
            raise

    def describe(self, *, roughly: bool = False) -> StoreDescription:
        params = self._source.params
        rows = self._here(self._client.count, self._source.collection, exact=not roughly).count
        marks: Literal["vector", "item"] = "item" if self._target.whole_points else "vector"
        abilities = Abilities(snapshot="batch", switching=self._target.switching, conditional_write=False, marks=marks)
        return StoreDescription(rows, params.size, METRICS.get(params.distance), abilities, not roughly)

    def scan(self, columns: Sequence[Column], *, batch_rows: int, after: str | None = None) -> Iterator[pa.RecordBatch]:
        first = None if after is None else point_id(after)
        selection = self._selection(columns)
        rows = min(batch_rows, self._rows) if selection["with_vectors"] else batch_rows
        pages = self._pages(self._source.collection, rows, first, **selection)
        for records in pages:  # a page begins at the id that it is asked from
            behind = [record for record in records if record.id != first]
            if behind:
                yield self._batch(behind, columns)

    def by_id(self, ids: Sequence[str], columns: Sequence[Column]) -> pa.RecordBatch:
        known = [point_id(id) for id in ids if is_point_id(id)]
        records = self._retrieved(known, **self._selection(columns))
        return self._batch(records, columns)

    def make_target(self, target: Target) -> None:
        self._target.make(target)

    def write(self, target: Target, items: pa.RecordBatch) -> list[str]:
        rows = rows_at_once(target.dimension)
        left_out: list[str] = []
        for start in range(0, items.num_rows, rows):
            left_out += self._written(target, items.slice(start, rows))
        return left_out

    def written(self, target: Target, *, batch_rows: int, vectors: bool = False) -> Iterator[pa.RecordBatch]:
        collection, name, holds = self._target.place(target)
        wanted = [name] if vectors else False
        rows = min(batch_rows, rows_at_once(target.dimension)) if vectors else batch_rows
        for records in self._pages(collection, rows, None, holds, with_payload=False, with_vectors=wanted):
            if vectors:
                yield _held(records, name, target)
            else:
                yield item_batch(["id"], {"id": [str(record.id) for record in records]})

    def written_by_id(self, target: Target, ids: Sequence[str]) -> pa.RecordBatch:
        collection, name, _ = self._target.place(target)
        known = [point_id(id) for id in ids if is_point_id(id)]
        records = self._here(self._client.retrieve, collection, known, with_vectors=[name]) if known else []
        return _held(records, name, target)

    def erase(self, target: Target, ids: Sequence[str]) -> None:
        self._target.erase(target, [id for id in ids if is_point_id(id)])

    def build_index(self, target: Target) -> None:
        """Nothing to do: Qdrant indexes whatever is written, beside readers and writers, and searches what is not
        indexed yet one by one. Raises StoreAway where its indexing has failed."""
        collection, _, _ = self._target.place(target)
        if self._here(self._client.get_collection, collection).status == models.CollectionStatus.RED:
            raise StoreAway(f"{self._calls.store} has failed to index {collection!r}: its own log says why")

    def switch(self, target: Target) -> Switched:
        return self._target.switch(target)

    def switch_back(self, target: Target) -> Switched:
        return self._target.switch_back(target)

    def drop(self, target: Target) -> None:
        self._target.drop(target)

    def close(self) -> None:
        self._client.close()

    def _written(self, target: Target, items: pa.RecordBatch) -> list[str]:
        ids: list[str] = items.column("id").to_pylist()
        vectors, _ = vectors_of(items)
        new = dict(zip(map(point_id, ids), vectors.tolist(), strict=True))
        return [str(id) for id in self._target.write(target, new)]

    def _selection(self, columns: Sequence[Column]) -> dict[str, Any]:
        if self._target.whole_points and "mark" in columns:
            return {"with_payload": True, "with_vectors": True}
        fields = fields_read(self._place, columns)
        vectors = [self._source.vector] if {"vector", "mark"} & set(columns) else False
        return {"with_payload": fields or False, "with_vectors": vectors}

    def _batch(self, records: Sequence[models.Record], columns: Sequence[Column]) -> pa.RecordBatch:
        whole = self._target.whole_points and "mark" in columns
        documents = [
            Document(
                str(record.id),
                dense_vector(record, self._source.vector),
                record.payload or {},
                self._copied(record) if whole else b"",
            )
            for record in records
        ]
        return document_batch(documents, columns, self._place, self._source.params.size)

    def _copied(self, record: models.Record) -> bytes:
        """What a copy of the point has beside its old vector."""
        vectors: Any = record.vector if isinstance(record.vector, dict) else {}
        others = {name: repr(vector) for name, vector in vectors.items() if name != self._source.vector}
        return json.dumps([record.payload or {}, others], sort_keys=True, default=str).encode()

    def _pages(
        self,
        collection: str,
        rows: int,
        first: int | str | None,
        holds: models.Filter | None = None,
        *,
        with_payload: bool | list[str],
        with_vectors: bool | list[str],
    ) -> Iterator[list[models.Record]]:
        """The points from the id `first` on, as many at a time as `rows`."""
        following: Any = first
        while True:
            records, following = self._here(
                self._client.scroll,
                collection,
                scroll_filter=holds,
                limit=rows,
                offset=following,
                with_payload=with_payload,
                with_vectors=with_vectors,
            )
            if records:
                yield records
            if following is None:
                return

    def _retrieved(self, ids: list[int | str], **selection: Any) -> list[models.Record]:
        records: list[models.Record] = []
        for begin in range(0, len(ids), self._rows):
            some = ids[begin : begin + self._rows]
            records += self._here(self._client.retrieve, self._source.collection, some, **selection)
        return records

    def _here(self, method: Callable[..., Any], collection: str, *arguments: Any, **named: Any) -> Any:
        """The answer of a method for a collection. Raises WrongPlace where it is gone."""
        try:
            return self._calls.ask(method, collection, *arguments, **named)
        except NotThere:
            raise WrongPlace(f"Qdrant has no collection {collection!r} any more") from None


def _client(options: QdrantOptions) -> QdrantClient:
    seconds = max(1, round(options.timeout_s))
    api_key = None if options.api_key is None else options.api_key.get_secret_value()
    return QdrantClient(url=options.url, api_key=api_key, timeout=seconds, check_compatibility=False)


def _held(records: Sequence[models.Record], name: str, target: Target) -> pa.RecordBatch:
    return held_batch({str(record.id): dense_vector(record, name) for record in records}, target.dimension)


def _takes_vectors(calls: QdrantCalls, source: QdrantSource) -> bool:
    """Whether the collection may be given a further named vector."""
    if not isinstance(source.info.config.params.vectors, dict):
        return False
    version = re.match(r"(\d+)\.(\d+)", calls.ask(calls.client.info).version)
    return version is not None and (int(version[1]), int(version[2])) >= _VECTORS_ADDED_FROM
