"""Galleries in Elasticsearch (https://www.elastic.co): transformed vectors are a further field of the same documents.

All of a scan is of one point in time. Documents are read in the order of their ids, which Elasticsearch cannot sort by:
a scan first lists all ids, some 40 bytes of memory each, and sorts them here.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from elasticsearch import Elasticsearch
from pydantic import Field, SecretStr, model_validator

from app.connections.options import ConnectionOptions
from app.stores.batches import item_batch, vector_marks, vectors_of
from app.stores.elasticsearch.calls import ElasticsearchCalls, NoSuchIndex, reason
from app.stores.elasticsearch.source import METRICS, SIMILARITIES, ElasticsearchSource, find_documents
from app.stores.items import Document, document_batch, field_at, fields_read, held_batch, rows_at_once, rows_of
from app.stores.outages import answered_with
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

_PAGE = 10_000
"""Documents that one answer may hold (index.max_result_window)."""

_KEPT = "10m"
"""How long a point in time is kept after each page of it."""

_ROUNDS = 5
"""How often a document that changes under a write is looked at again."""

_VECTORS_LEFT_OUT_FROM = (9, 2)
"""The version from which a document's source is answered without its vectors unless asked for."""

_OF_THE_SERVER = (401, 403, 429)
"""Statuses by which it refuses a write for what it is or who asks, not for what is to be written."""

_REMOVE = "if (ctx._source.remove(params.field) == null) { ctx.op = 'none' }"


class ElasticsearchOptions(ConnectionOptions):
    """A server by `url`, with `api_key`, or `user` and `password`, where it asks for them."""

    url: str
    api_key: SecretStr | None = None
    user: str | None = None
    password: SecretStr | None = None
    ca_certs: Path | None = None
    timeout_s: float = Field(60, gt=0)

    @model_validator(mode="after")
    def _one_way_in(self) -> "ElasticsearchOptions":
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password go together")
        if self.user is not None and self.api_key is not None:
            raise ValueError("either api_key, or user and password")
        return self


class ElasticsearchStore:
    """Satisfies `Store`."""

    def __init__(self, calls: ElasticsearchCalls, place: Place, source: ElasticsearchSource) -> None:
        self._calls, self._client, self._place, self._source = calls, calls.client, place, source
        version = self._calls.ask(self._client.info)["version"]["number"].split(".")
        left_out = tuple(map(int, version[:2])) >= _VECTORS_LEFT_OUT_FROM
        self._whole_source = {"source_exclude_vectors": False} if left_out else {}

    @classmethod
    def open(cls, connection: str, options: ElasticsearchOptions, place: Place) -> Store:
        client = _client(options)
        try:
            calls = ElasticsearchCalls(client, f"Elasticsearch (connection {connection!r})", options.timeout_s)
            return cls(calls, place, find_documents(calls, place))
        except BaseException:
            client.close()
            raise

    def describe(self, *, roughly: bool = False) -> StoreDescription:
        self._refresh()
        rows = self._here(self._client.count, index=self._source.index)["count"]
        abilities = Abilities(snapshot="all", switching="statement", conditional_write=True)
        return StoreDescription(rows, self._source.dimension, self._source.metric, abilities)

    def scan(self, columns: Sequence[Column], *, batch_rows: int, after: str | None = None) -> Iterator[pa.RecordBatch]:
        fields = self._fields(columns)
        with _PointInTime(self._calls, self._source.index) as moment:
            ids = self._sorted_ids(moment, after)
            rows = min(batch_rows, self._rows(fields))
            for start in range(0, len(ids), rows):
                wanted = ids.slice(start, rows).to_pylist()
                query = {"ids": {"values": wanted}}
                hits = moment.search(len(wanted), query=query, source=fields or False, **self._whole_source)
                found = {hit["_id"]: hit for hit in hits}
                yield self._batch([found[id] for id in wanted], columns)

    def by_id(self, ids: Sequence[str], columns: Sequence[Column]) -> pa.RecordBatch:
        return self._batch(self._found(ids, self._fields(columns)), columns)

    def make_target(self, target: Target) -> None:
        index, old = self._source.index, self._source.mapping
        held = self._here(self._client.indices.get_mapping, index=index)[index]["mappings"].get("properties", {})
        if (field := held.get(target.name)) is not None:
            there = (field.get("type"), field.get("dims"), METRICS.get(field.get("similarity", "")))
            if there != ("dense_vector", target.dimension, target.metric):
                raise WrongPlace(f"the index has a field {target.name!r} already, which is another one")
            return
        made = {
            "type": "dense_vector",
            "dims": target.dimension,
            "index": True,
            "similarity": SIMILARITIES[target.metric],
        }
        if "index_options" in old:
            made["index_options"] = old["index_options"]
        self._here(self._client.indices.put_mapping, index=index, properties={target.name: made})

    def write(self, target: Target, items: pa.RecordBatch) -> list[str]:
        rows = rows_at_once(max(target.dimension, self._source.dimension))
        left_out: list[str] = []
        for start in range(0, items.num_rows, rows):
            left_out += self._written(target, items.slice(start, rows))
        return left_out

    def written(self, target: Target, *, batch_rows: int, vectors: bool = False) -> Iterator[pa.RecordBatch]:
        holds = {"exists": {"field": target.name}}
        source: Any = [target.name] if vectors else False
        with _PointInTime(self._calls, self._source.index) as moment:
            rows = min(batch_rows, rows_at_once(target.dimension) if vectors else _PAGE)
            for hits in moment.pages(rows, query=holds, source=source, **self._whole_source):
                if vectors:
                    yield _held(hits, target)
                else:
                    yield item_batch(["id"], {"id": [hit["_id"] for hit in hits]})

    def written_by_id(self, target: Target, ids: Sequence[str]) -> pa.RecordBatch:
        return _held(self._found(ids, [target.name]), target)

    def erase(self, target: Target, ids: Sequence[str]) -> None:
        script = {"source": _REMOVE, "params": {"field": target.name}}
        wanted = iter(ids)
        while some := list(islice(wanted, _PAGE)):
            answers = self._bulk([({"_id": id, "retry_on_conflict": _ROUNDS}, {"script": script}) for id in some])
            self._refuse_failures(answers, but=(404, 409))
            changed = [id for id, answer in zip(some, answers, strict=True) if answer["status"] == 409]
            if changed:
                raise StoreAway(f"{self._calls.store} has had {len(changed)} documents changed under an erasure")

    def build_index(self, target: Target) -> None:
        """Nothing to do: Elasticsearch indexes each document as it is written."""
        self._refresh()

    def switch(self, target: Target) -> Switched:
        return Switched(f'search the index {self._place.collection!r} with "knn": {{"field": "{target.name}", …}}')

    def switch_back(self, target: Target) -> Switched:
        return Switched(
            f'search the index {self._place.collection!r} with "knn": {{"field": "{self._source.field}", …}}'
        )

    def drop(self, target: Target) -> None:
        """Empties the target. The field itself stays in the index's mapping, from which no field can be removed."""
        if target.name == self._source.field:
            raise CannotSwitch(f"{target.name!r} is the field that the gallery is read from")
        for batch in self.written(target, batch_rows=1000):
            self.erase(target, batch.column("id").to_pylist())

    def close(self) -> None:
        self._client.close()

    def _sorted_ids(self, moment: "_PointInTime", after: str | None) -> pa.StringArray:
        """All ids behind `after`, in the order of their characters' code points."""
        parts = []
        for hits in moment.pages(_PAGE, source=False):
            _refuse_routed(hits)
            parts.append(pa.array([hit["_id"] for hit in hits], pa.string()))
        ids = pa.concat_arrays(parts) if parts else pa.array([], pa.string())
        ids = ids.take(pc.sort_indices(ids))
        return ids if after is None else ids.filter(pc.greater(ids, after))

    def _written(self, target: Target, items: pa.RecordBatch) -> list[str]:
        ids = items.column("id").to_pylist()
        marks = dict(zip(ids, items.column("mark").to_pylist(), strict=True))
        vectors = dict(zip(ids, vectors_of(items)[0].tolist(), strict=True))
        left = list(ids)
        for _ in range(_ROUNDS):
            unchanged = [hit for hit in self._found(left, [self._source.field]) if self._mark(hit) == marks[hit["_id"]]]
            changes = [(_as_read(hit), {"doc": {target.name: vectors[hit["_id"]]}}) for hit in unchanged]
            answers = self._bulk(changes)
            self._refuse_failures(answers, but=(404, 409))
            done = {answer["_id"] for answer in answers if answer["status"] < 300}
            again = {answer["_id"] for answer in answers if answer["status"] == 409}
            left = [id for id in left if id not in done]
            if not again:
                break
        return left

    def _bulk(self, changes: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> list[dict[str, Any]]:
        """What became of each update, in their order."""
        if not changes:
            return []
        lines = [line for which, change in changes for line in ({"update": which}, change)]
        answer = self._here(self._client.bulk, index=self._source.index, operations=lines)
        return [each["update"] for each in answer["items"]]

    def _refuse_failures(self, answers: Sequence[dict[str, Any]], *, but: Sequence[int]) -> None:
        for answer in answers:
            if answer["status"] >= 300 and answer["status"] not in but:
                why = reason({"error": {"root_cause": [answer.get("error")]}})
                if answer["status"] in _OF_THE_SERVER or answer["status"] >= 500:
                    raise answered_with(self._calls.store, answer["status"], why)
                raise WrongPlace(f"{self._calls.store} refused to write the document {answer['_id']!r}: {why}")

    def _found(self, ids: Sequence[str], fields: Sequence[str]) -> list[dict[str, Any]]:
        """The documents of these ids that there are, as of now."""
        wanted, rows = iter(ids), self._rows(fields)
        found: list[dict[str, Any]] = []
        while some := list(islice(wanted, rows)):
            asked: dict[str, Any] = {"ids": some, "source_includes": list(fields)} if fields else {"ids": some}
            docs = self._here(self._client.mget, index=self._source.index, **asked, **self._whole_source)["docs"]
            found += [doc for doc in docs if doc.get("found")]
        _refuse_routed(found)
        return found

    def _fields(self, columns: Sequence[Column]) -> list[str]:
        vectors = [self._source.field] if {"vector", "mark"} & set(columns) else []
        return [*fields_read(self._place, columns), *vectors]

    def _rows(self, fields: Sequence[str]) -> int:
        """How many documents may be asked for at once with these fields."""
        return min(_PAGE, rows_at_once(self._source.dimension)) if self._source.field in fields else _PAGE

    def _batch(self, hits: Sequence[dict[str, Any]], columns: Sequence[Column]) -> pa.RecordBatch:
        documents = [Document(hit["_id"], self._vector(hit), hit.get("_source", {})) for hit in hits]
        return document_batch(documents, columns, self._place, self._source.dimension)

    def _vector(self, hit: dict[str, Any]) -> list[float] | None:
        vector = field_at(hit.get("_source", {}), self._source.field)
        if not isinstance(vector, list | None):
            raise WrongPlace(f"the vector of the document {hit['_id']!r} is not a list of numbers in its source")
        return vector

    def _mark(self, hit: dict[str, Any]) -> int:
        mark: int = vector_marks(*rows_of([self._vector(hit)], self._source.dimension))[0].as_py()
        return mark

    def _refresh(self) -> None:
        """Has searches see whatever was written until now."""
        self._here(self._client.indices.refresh, index=self._source.index)

    def _here(self, method: Any, **named: Any) -> Any:
        try:
            return self._calls.ask(method, **named)
        except NoSuchIndex:
            raise WrongPlace(f"Elasticsearch has no index {self._source.index!r} any more") from None


class _PointInTime:
    """An index as it is when the context is entered, whatever is written later."""

    def __init__(self, calls: ElasticsearchCalls, index: str) -> None:
        self._calls, self._client, self._index = calls, calls.client, index
        self._id = ""

    def __enter__(self) -> "_PointInTime":
        try:
            self._calls.ask(self._client.indices.refresh, index=self._index)
            opened = self._calls.ask(self._client.open_point_in_time, index=self._index, keep_alive=_KEPT)
        except NoSuchIndex:
            raise WrongPlace(f"Elasticsearch has no index {self._index!r} any more") from None
        self._id = opened["id"]
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._calls.ask(self._client.close_point_in_time, id=self._id)
        except (NoSuchIndex, StoreAway):  # it ends by itself
            return

    def search(self, rows: int, **named: Any) -> list[dict[str, Any]]:
        """Raises StoreAway where not all shards have answered, or the point in time is over."""
        pit = {"id": self._id, "keep_alive": _KEPT}
        try:
            answer = self._calls.ask(
                self._client.search,
                pit=pit,
                size=rows,
                track_total_hits=False,
                allow_partial_search_results=False,
                **named,
            )
        except NoSuchIndex:
            raise StoreAway(f"{self._calls.store} has ended a point in time while it was read: read on") from None
        if answer.get("timed_out") or answer["_shards"]["failed"]:
            raise StoreAway(f"{self._calls.store} has answered for some of its shards alone")
        self._id = answer.get("pit_id", self._id)
        hits: list[dict[str, Any]] = answer["hits"]["hits"]
        return hits

    def pages(self, rows: int, **named: Any) -> Iterator[list[dict[str, Any]]]:
        """All documents of a query, in an order of the index's own."""
        following: dict[str, Any] = {}
        while hits := self.search(rows, sort=[{"_shard_doc": "asc"}], **named, **following):
            yield hits
            following = {"search_after": hits[-1]["sort"]}


def _client(options: ElasticsearchOptions) -> Any:
    given: dict[str, Any] = {}
    if options.api_key is not None:
        given["api_key"] = options.api_key.get_secret_value()
    if options.user is not None and options.password is not None:
        given["basic_auth"] = (options.user, options.password.get_secret_value())
    if options.ca_certs is not None:
        given["ca_certs"] = str(options.ca_certs)
    try:
        return Elasticsearch(options.url, request_timeout=options.timeout_s, max_retries=0, **given)
    except ValueError:  # its words show the address
        raise StoreAway("the connection's `url` has to be like https://host:9200") from None


def _held(hits: Sequence[dict[str, Any]], target: Target) -> pa.RecordBatch:
    return held_batch({hit["_id"]: hit.get("_source", {}).get(target.name) for hit in hits}, target.dimension)


def _refuse_routed(hits: Sequence[dict[str, Any]]) -> None:
    """Raises WrongPlace for a document that is not where its id leads: it would be taken for one that is gone."""
    if routed := [hit["_id"] for hit in hits if "_routing" in hit]:
        raise WrongPlace(f"the document {routed[0]!r} is routed by a key of its own, which is not known here")


def _as_read(hit: dict[str, Any]) -> dict[str, Any]:
    """A document that is to be as it was read."""
    return {"_id": hit["_id"], "if_seq_no": hit["_seq_no"], "if_primary_term": hit["_primary_term"]}
