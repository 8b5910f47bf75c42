"""A collection as one place of a connection."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
from pymilvus import MilvusClient

from app.stores.batches import vectors_of
from app.stores.items import Document, document_batch
from app.stores.milvus.calls import MilvusCalls, MilvusOptions, NoCollection, NotLoaded, among, behind
from app.stores.milvus.layout import BEFORE, METRIC_NAMES, CollectionLayout, index_of, layout_of
from app.stores.protocol import (
    Abilities,
    CannotSwitch,
    Column,
    Place,
    StoreAway,
    StoreDescription,
    Switched,
    Target,
    WrongPlace,
)

_MOST_ROWS = 16_384  # of one answer: Milvus's own limit
_MESSAGE_BYTES = 2**24  # of one answer or insert; Milvus takes 64 MB at most
_FIELD_BYTES = 2**11  # supposed of an item beside its vector
_BUILD_SECONDS = 24 * 3600.0
_OF_TARGET = "crosswalk.target"


class MilvusStore:
    """place.collection: a collection's name, or an alias. place.vector: the field; None where there is one alone."""

    def __init__(self, calls: MilvusCalls, place: Place) -> None:
        self._calls, self._place = calls, place

    @classmethod
    def open(cls, name: str, options: MilvusOptions, place: Place) -> "MilvusStore":
        return cls(MilvusCalls(options, f"the Milvus of the connection {name!r}"), place)

    def describe(self, *, roughly: bool = False) -> StoreDescription:
        layout = self._layout()
        (counted,) = self._query(layout.collection, "", output_fields=["count(*)"])
        able = Abilities(
            snapshot="batch",
            switching="atomic" if layout.alias else "statement",
            conditional_write=True,
            marks="item",
        )
        return StoreDescription(int(counted["count(*)"]), layout.dimension, index_of(self._calls, layout).metric, able)

    def scan(self, columns: Sequence[Column], *, batch_rows: int, after: str | None = None) -> Iterator[pa.RecordBatch]:
        """In Milvus's order of keys."""
        layout = self._layout()
        fields = self._fields(layout, columns)
        for rows in self._pages(layout, layout.collection, fields, batch_rows, layout.dimension, after):
            yield self._batch(layout, rows, columns)

    def by_id(self, ids: Sequence[str], columns: Sequence[Column]) -> pa.RecordBatch:
        layout = self._layout()
        return self._batch(layout, self._rows(layout, ids, self._fields(layout, columns)), columns)

    def make_target(self, target: Target) -> None:
        layout = self._layout()
        name = _target_name(layout, target)
        if not self._calls.ask("has_collection", name):
            old, index = index_of(self._calls, layout), MilvusClient.prepare_index_params()
            index.add_index(
                layout.vector,
                index_type=old.type,
                metric_type=METRIC_NAMES[target.metric],
                params=dict(old.parameters),
            )
            self._calls.ask(
                "create_collection",
                name,
                schema=layout.target_schema(target),
                properties={_OF_TARGET: target.name},
                consistency_level="Strong",
            )
            self._calls.ask("create_index", name, index_params=index, timeout=_BUILD_SECONDS)
        elif self._calls.ask("describe_collection", name).get("properties", {}).get(_OF_TARGET) != target.name:
            raise WrongPlace(f"the collection {name!r}, for the target {target.name!r}, is there already")
        self._calls.ask("load_collection", name, timeout=_BUILD_SECONDS)

    def write(self, target: Target, items: pa.RecordBatch) -> list[str]:
        """Copies each item, its vector but for the new one, unless it is another than the one that was read."""
        layout = self._layout()
        name, left_out = _target_name(layout, target), []
        step = _step(_MOST_ROWS, max(layout.dimension, target.dimension))
        for start in range(0, items.num_rows, step):
            part = items.slice(start, step)
            ids, marks = part.column("id").to_pylist(), part.column("mark").to_pylist()
            rows = {str(row[layout.key]): row for row in self._rows(layout, ids, ["*"])}
            current = self._batch(layout, list(rows.values()), ["id", "mark"]).to_pydict()
            mark_of = dict(zip(current["id"], current["mark"], strict=True))
            vectors, _ = vectors_of(part)
            written = [
                {**rows[id_], layout.vector: vector}
                for id_, mark, vector in zip(ids, marks, vectors, strict=True)
                if mark_of.get(id_) == mark
            ]
            left_out += [id_ for id_, mark in zip(ids, marks, strict=True) if mark_of.get(id_) != mark]
            if written:
                self._calls.ask("upsert", name, written)
        return left_out

    def written(self, target: Target, *, batch_rows: int, vectors: bool = False) -> Iterator[pa.RecordBatch]:
        layout = self._layout()
        columns: list[Column] = ["id", "vector"] if vectors else ["id"]
        fields = [layout.key, layout.vector] if vectors else [layout.key]
        name = _target_name(layout, target)
        for rows in self._pages(layout, name, fields, batch_rows, target.dimension, None):
            yield document_batch(self._documents(layout, rows), columns, self._place, target.dimension)

    def written_by_id(self, target: Target, ids: Sequence[str]) -> pa.RecordBatch:
        layout = self._layout()
        rows = self._rows(layout, ids, [layout.key, layout.vector], _target_name(layout, target))
        return document_batch(self._documents(layout, rows), ["id", "vector"], self._place, target.dimension)

    def erase(self, target: Target, ids: Sequence[str]) -> None:
        layout = self._layout()
        keys = [key for id_ in ids if (key := layout.key_of(id_)) is not None]
        for start in range(0, len(keys), _MOST_ROWS):
            part = among(layout.key, keys[start : start + _MOST_ROWS])
            self._calls.ask("delete", _target_name(layout, target), filter=part)

    def build_index(self, target: Target) -> None:
        """Milvus indexes what it has written out, while the collection is read and written."""
        name = _target_name(self._layout(), target)
        self._calls.ask("flush", name, timeout=_BUILD_SECONDS)
        self._calls.ask("load_collection", name, timeout=_BUILD_SECONDS)

    def switch(self, target: Target) -> Switched:
        layout = self._layout()
        name = _target_name(layout, target)
        if layout.alias is None:
            return Switched(f"read the collection {name} (of {target.name}) in place of {layout.collection}")
        if not self._calls.ask("has_collection", layout.alias + BEFORE):
            self._calls.ask("create_alias", layout.collection, layout.alias + BEFORE)
        self._calls.ask("alter_alias", name, layout.alias)
        return Switched(None)

    def switch_back(self, target: Target) -> Switched:
        layout = self._layout()
        if layout.alias is None:
            return Switched(f"read the collection {layout.collection} again")
        if self._leads_to(layout.alias) == _target_name(layout, target):
            self._calls.ask("alter_alias", layout.collection, layout.alias)
            self._calls.ask("drop_alias", layout.alias + BEFORE)
        return Switched(None)

    def drop(self, target: Target) -> None:
        name = _target_name(self._layout(), target)
        if not self._calls.ask("has_collection", name):
            return
        if aliases := self._calls.ask("list_aliases", name)["aliases"]:
            raise CannotSwitch(f"readers see {name!r} by {', '.join(map(repr, aliases))}; switch back first")
        self._calls.ask("drop_collection", name)

    def close(self) -> None:
        self._calls.close()

    def _layout(self) -> CollectionLayout:
        return layout_of(self._calls, self._place)

    def _leads_to(self, alias: str) -> str:
        return str(self._calls.ask("describe_alias", alias)["collection_name"])

    def _fields(self, layout: CollectionLayout, columns: Sequence[Column]) -> list[str]:
        """The fields of the collection that columns are made of; the mark is of all of them."""
        if set(columns) <= {"id"}:
            return [layout.key]
        return [layout.key, layout.vector] if set(columns) <= {"id", "vector"} else ["*"]

    def _batch(
        self, layout: CollectionLayout, rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]
    ) -> pa.RecordBatch:
        marked = "mark" in columns
        documents = [
            Document(str(row[layout.key]), row.get(layout.vector), row, _copied(layout, row) if marked else b"")
            for row in rows
        ]
        return document_batch(documents, columns, self._place, layout.dimension)

    def _documents(self, layout: CollectionLayout, rows: Sequence[Mapping[str, Any]]) -> list[Document]:
        return [Document(str(row[layout.key]), row.get(layout.vector), {}) for row in rows]

    def _rows(
        self, layout: CollectionLayout, ids: Sequence[str], fields: list[str], collection: str | None = None
    ) -> list[Mapping[str, Any]]:
        """The rows with these ids; of the old collection where no other is named."""
        keys = [key for id_ in dict.fromkeys(ids) if (key := layout.key_of(id_)) is not None]
        step = _step(_MOST_ROWS, layout.dimension)
        return [
            row
            for start in range(0, len(keys), step)
            for row in self._query(
                collection or layout.collection, among(layout.key, keys[start : start + step]), output_fields=fields
            )
        ]

    def _pages(
        self,
        layout: CollectionLayout,
        collection: str,
        fields: list[str],
        batch_rows: int,
        dimension: int,
        after: str | None,
    ) -> Iterator[list[Mapping[str, Any]]]:
        """All rows behind a key, page by page."""
        last = None if after is None else layout.key_of(after)
        step = _step(batch_rows, dimension)
        while True:
            condition = behind(layout.key, last, text=layout.text_keys)
            # As the client's own iterator asks, which does not quote keys: so the answer is in the order of keys.
            rows = self._query(
                collection, condition, output_fields=fields, limit=step, iterator="True", reduce_stop_for_best="True"
            )
            if rows:
                yield rows
            if len(rows) < step:
                return
            last = rows[-1][layout.key]

    def _query(self, collection: str, condition: str, **more: Any) -> list[Mapping[str, Any]]:
        try:
            return list(self._calls.ask("query", collection, condition, consistency_level="Strong", **more))
        except NotLoaded:
            raise StoreAway(f"the collection {collection!r} of {self._calls.store} is not loaded; load it") from None
        except NoCollection:
            raise WrongPlace(f"there is no collection {collection!r}") from None


def _target_name(layout: CollectionLayout, target: Target) -> str:
    return f"{layout.collection}_{re.sub('[^A-Za-z0-9_]', '_', target.name)}"


def _copied(layout: CollectionLayout, row: Mapping[str, Any]) -> bytes:
    """All of a row that a target's copy has of it, in a form that changes with it."""
    others = {name: value for name, value in row.items() if name not in (layout.vector, layout.key)}
    return json.dumps(others, sort_keys=True, default=repr).encode()


def _step(rows: int, dimension: int) -> int:
    return max(1, min(rows, _MOST_ROWS, _MESSAGE_BYTES // (4 * dimension + _FIELD_BYTES)))
