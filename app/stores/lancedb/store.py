"""A table as one place of a connection."""

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from app.stores.arrow_items import (
    check_columns,
    fixed_dimension,
    float_vectors,
    ids_from_texts,
    items_of,
    source_columns,
    texts_of_ids,
)
from app.stores.files.key_index import NOWHERE, KeyHashes, KeyIndex, hashes_of
from app.stores.lancedb.database import LanceDatabase, LanceOptions, column_in_sql, literal_in_sql
from app.stores.lancedb.marks import item_marks
from app.stores.lancedb.rows import LanceRows
from app.stores.protocol import Abilities, Column, Place, StoreDescription, Switched, Target, WrongPlace
from models.portable import Distance

_METRICS: dict[str, Distance] = {"cosine": "cosine", "l2": "l2", "dot": "ip"}
_METRIC_NAMES = {distance: name for name, distance in _METRICS.items()}
_OF_TARGET = b"crosswalk.target"
_ERASED_AT_ONCE = 1000
_READ_ROWS = 2**16
_LEAST_INDEXED = 256
"""Rows: below, LanceDB cannot train the index that it makes by default, and searches all rows as fast."""


class LanceStore:
    """place.collection: a table's name. place.id: a column of strings or whole numbers."""

    def __init__(self, database: LanceDatabase, place: Place) -> None:
        if place.id is None or place.vector is None:
            raise WrongPlace("say which columns hold the ids and the vectors: `id` and `vector`")
        self._database, self._place, self._id, self._vector = database, place, place.id, place.vector
        self._known: dict[str, tuple[int, LanceRows]] = {}
        self._written: dict[str, tuple[int, KeyIndex]] = {}

    @classmethod
    def open(cls, name: str, options: LanceOptions, place: Place) -> "LanceStore":
        return cls(LanceDatabase(name, options), place)

    def describe(self, *, roughly: bool = False) -> StoreDescription:
        table = self._source()
        index = self._index(table)
        with self._database.asking():
            rows = table.count_rows()
            metric = index and table.index_stats(index.name).distance_type
        able = Abilities(snapshot="all", switching="statement", conditional_write=True, marks="item")
        return StoreDescription(rows, self._dimension(table), _METRICS.get(metric or ""), able)

    def scan(self, columns: Sequence[Column], *, batch_rows: int, after: str | None = None) -> Iterator[pa.RecordBatch]:
        """In the order of the ids, of the version that is the last when it begins."""
        table = self._source()
        dimension = self._dimension(table)
        rows = self._rows(table)
        with self._database.asking():
            order = rows.in_order(after)
        for start in range(0, len(order), batch_rows):
            with self._database.asking():
                batch = rows.take(order[start : start + batch_rows], self._read(columns))
            yield self._items(batch, columns, dimension)

    def by_id(self, ids: Sequence[str], columns: Sequence[Column]) -> pa.RecordBatch:
        table = self._source()
        rows = self._rows(table)
        with self._database.asking():
            batch = rows.take(rows.find(list(dict.fromkeys(ids))), self._read(columns))
        return self._items(batch, columns, self._dimension(table))

    def make_target(self, target: Target) -> None:
        source, name = self._source(), self._target_name(target)
        if name in self._database.names():
            self._target(target)
            return
        with self._database.asking():
            schema = source.schema
        place = schema.get_field_index(self._vector)
        vector = pa.field(self._vector, pa.list_(pa.float32(), target.dimension))
        # Not with what the client keeps in a schema's metadata: which function of the old model embeds new rows.
        self._database.make(name, schema.set(place, vector).with_metadata({_OF_TARGET: target.name.encode()}))

    def write(self, target: Target, items: pa.RecordBatch) -> list[str]:
        """Copies each item, its vector but for the new one, unless it is another than the one that was read."""
        source, table = self._source(), self._target(target)
        rows = self._rows(source)
        ids, marks = items.column("id"), items.column("mark")
        with self._database.asking():
            current = rows.take(rows.find(ids.to_pylist()), None)
        texts = texts_of_ids(current.column(self._id), self._id)
        now = item_marks(current, self._vector, self._dimension(source), self._id)
        place = pc.index_in(texts, ids)
        same = pc.equal(now, marks.take(place))
        written, order = current.filter(same), place.filter(same)
        if written.num_rows:
            self._put(table, written, items.column("vector").take(order))
        left_out: list[str] = ids.filter(pc.invert(pc.is_in(ids, texts.filter(same)))).to_pylist()
        return left_out

    def written(self, target: Target, *, batch_rows: int, vectors: bool = False) -> Iterator[pa.RecordBatch]:
        table = self._target(target)
        columns = [self._id, self._vector] if vectors else [self._id]
        with self._database.asking():
            batches = iter(table.search().select(columns).to_batches(batch_rows))
        while True:
            with self._database.asking():
                batch = next(batches, None)
            if batch is None:
                return
            for start in range(0, batch.num_rows, batch_rows):
                yield self._held(batch.slice(start, batch_rows), target)

    def written_by_id(self, target: Target, ids: Sequence[str]) -> pa.RecordBatch:
        rows = self._rows(self._target(target))
        with self._database.asking():
            return self._held(rows.take(rows.find(list(dict.fromkeys(ids))), [self._id, self._vector]), target)

    def erase(self, target: Target, ids: Sequence[str]) -> None:
        table = self._target(target)
        with self._database.asking():
            keys = ids_from_texts(pa.array(ids, pa.string()), table.schema.field(self._id).type)
            texts = [literal_in_sql(key) for key in keys.to_pylist() if key is not None]
            for start in range(0, len(texts), _ERASED_AT_ONCE):
                among = ", ".join(texts[start : start + _ERASED_AT_ONCE])
                table.delete(f"{column_in_sql(self._id)} IN ({among})")

    def build_index(self, target: Target) -> None:
        """An index of the old one's type over the vectors, where there is one; and what was written in many pieces is
        put together."""
        table, source = self._target(target), self._source()
        with self._database.asking():
            table.optimize()
            index = self._index(source)
            if index is not None and table.count_rows() >= _LEAST_INDEXED and self._index(table) is None:
                kind = source.index_stats(index.name).index_type
                table.create_index(
                    metric=_METRIC_NAMES[target.metric], vector_column_name=self._vector, index_type=kind
                )
            table.optimize()

    def switch(self, target: Target) -> Switched:
        name = self._target_name(target)
        self._target(target)
        return Switched(f"table = database.open_table({name!r})  # in place of {self._place.collection!r}")

    def switch_back(self, target: Target) -> Switched:
        return Switched(f"table = database.open_table({self._place.collection!r})")

    def drop(self, target: Target) -> None:
        name = self._target_name(target)
        if name in self._database.names():
            self._target(target)
            self._database.drop(name)

    def close(self) -> None:
        self._known.clear()
        self._written.clear()

    def _source(self) -> Any:
        table = self._database.table(self._place.collection)
        with self._database.asking():
            schema = table.schema
        check_columns(schema, self._place, f"the table {self._place.collection!r}")
        if fixed_dimension(schema.field(self._vector).type) is None:
            raise WrongPlace(f"the column {self._vector!r} holds lists of any length; LanceDB searches fixed ones")
        return table

    def _target(self, target: Target) -> Any:
        """Raises WrongPlace for a table that is not this upgrade's."""
        name = self._target_name(target)
        table = self._database.table(name)
        with self._database.asking():
            metadata = table.schema.metadata or {}
        if metadata.get(_OF_TARGET) != target.name.encode():
            raise WrongPlace(f"the table {name!r} is there already, and is not what this upgrade writes to")
        return table

    def _target_name(self, target: Target) -> str:
        return f"{self._place.collection}.{target.name}"

    def _dimension(self, table: Any) -> int:
        with self._database.asking():
            return int(fixed_dimension(table.schema.field(self._vector).type) or 0)

    def _index(self, table: Any) -> Any:
        """The index over the vectors, None where there is none."""
        with self._database.asking():
            return next((index for index in table.list_indices() if index.columns == [self._vector]), None)

    def _rows(self, table: Any) -> LanceRows:
        """Those of a table's last version, known already if that is the one before."""
        name = table.name
        with self._database.asking():
            version = table.version
            known = self._known.get(name)
            if known is None or known[0] != version:
                table.checkout(version)
                known = self._known[name] = version, LanceRows(table, self._id)
        return known[1]

    def _read(self, columns: Sequence[Column]) -> list[str] | None:
        """The table's columns that columns of items are made of; None for all, of which the mark is."""
        return None if "mark" in columns else source_columns([*columns, "id"], self._place)

    def _items(self, batch: pa.RecordBatch, columns: Sequence[Column], dimension: int) -> pa.RecordBatch:
        marks = item_marks(batch, self._vector, dimension, self._id) if "mark" in columns else None
        without = [column for column in columns if column != "mark"]
        items = items_of(batch, without, self._place, dimension)
        made = [marks if column == "mark" else items.column(column) for column in columns]
        return pa.RecordBatch.from_arrays(made, names=list(columns))

    def _held(self, batch: pa.RecordBatch, target: Target) -> pa.RecordBatch:
        ids = texts_of_ids(batch.column(self._id), self._id)
        if self._vector not in batch.schema.names:
            return pa.RecordBatch.from_arrays([ids], ["id"])
        vectors = float_vectors(batch.column(self._vector), target.dimension, ids)
        return pa.RecordBatch.from_arrays([ids, vectors], ["id", "vector"])

    def _put(self, table: Any, copies: pa.RecordBatch, vectors: pa.Array) -> None:
        """In one version: added where none of the items is there, else put in the place of those that are."""
        place = copies.schema.get_field_index(self._vector)
        rows = pa.Table.from_batches([copies]).set_column(place, self._vector, vectors)
        keys = self._keys(copies)
        with self._database.asking():
            version, written = self._keys_written(table)
            if (written.find(keys) != NOWHERE).any():
                writing = table.merge_insert(self._id).when_matched_update_all().when_not_matched_insert_all()
                writing.execute(rows)
            else:
                table.add(rows)
            written.put(keys, 0)
            if table.version == version + 1:  # else somebody else has written too
                self._written[table.name] = version + 1, written

    def _keys_written(self, table: Any) -> tuple[int, KeyIndex]:
        """The last version of a target, and what ids it has: known already where the one before is our own."""
        version = int(table.version)
        known = self._written.pop(table.name, None)
        if known is not None and known[0] == version:
            return known
        index = KeyIndex()
        for batch in table.search().select([self._id]).to_batches(_READ_ROWS):
            index.put(self._keys(batch), 0)
        return version, index

    def _keys(self, batch: pa.RecordBatch) -> KeyHashes:
        return hashes_of(texts_of_ids(batch.column(self._id), self._id).to_pylist(), batch.num_rows)
