"""Items read in batches of the key's order, each an aggregate that the server makes: a row of Python's own for each
would cost more than the item."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from psycopg import Connection, errors, sql

from app.stores.batches import item_batch, vector_array
from app.stores.pgvector.layout import Layout, TableColumn
from app.stores.pgvector.wire import WrongDimension, decoded, marks_of_sent, sent_vectors
from app.stores.protocol import Column, Place, WrongPlace

_ONLY_BY_INDEX = "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off"
"""Without this, out-of-date statistics would have each batch sort the whole table."""


def mark_sql(layout: Layout, column: sql.Composable) -> sql.Composed:
    """The server's own computation of `wire.marks_of_sent`, as a signed number."""
    send = sql.Identifier(layout.extension, f"{layout.vector_type}_send")
    return sql.SQL("('x' || left(md5({}({})), 16))::bit(64)::bigint").format(send, column)


@dataclass(frozen=True)
class Reading:
    """What of each item is read. columns: `id` among them. vector: the column to take vectors from, the old one or a
    target's, which are of this dimension."""

    layout: Layout
    place: Place
    columns: tuple[Column, ...]
    vector: TableColumn
    dimension: int

    def behind(self, connection: Connection[Any], rows: int, after: str | None) -> pa.RecordBatch | None:
        """The first items behind one, by the key; None where there are none."""
        key = self.layout.key
        texts = None if after is None else key.texts(after)
        if after is not None and texts is None:
            raise WrongPlace(f"{after!r} is no id of {self.layout.table!r}")
        return self._batch(
            connection,
            sql.SQL("FROM {} AS t WHERE {} AND {} ORDER BY {} LIMIT {}").format(
                self.layout.name,
                key.behind() if texts is not None else sql.SQL("true"),
                self._there,
                key.order,
                sql.Literal(rows),
            ),
            texts or (),
        )

    def of(self, connection: Connection[Any], ids: Sequence[str], *, as_text: bool = False) -> pa.RecordBatch | None:
        """The items with these ids."""
        key = self.layout.key
        source = sql.SQL("FROM {} JOIN {} AS t ON {}").format(
            key.unnested("u"), self.layout.name, key.equals("u", as_text=as_text)
        )
        return self._batch(connection, source, key.columns_of(dict.fromkeys(ids)))

    def empty(self) -> pa.RecordBatch:
        return self._made([[] for _ in self.layout.key.columns], {})

    @property
    def _there(self) -> sql.SQL | sql.Composed:
        """Targets hold what they have a vector of; the old vectors' column may be empty."""
        if self.vector == self.layout.vector:
            return sql.SQL("true")
        return sql.SQL("{} IS NOT NULL").format(sql.Identifier("t", self.vector.name))

    def _batch(self, connection: Connection[Any], source: sql.Composed, values: Sequence[Any]) -> pa.RecordBatch | None:
        read = self._read()
        inner = sql.SQL(", ").join(
            [self.layout.key.as_texts]
            + [sql.SQL("{} AS {}").format(value, sql.Identifier(name)) for name, (value, _) in read.items()]
        )
        keys = [sql.SQL("array_agg({})").format(sql.Identifier(f"k{n}")) for n in range(1, self._key_columns + 1)]
        outer = sql.SQL(", ").join([*keys, *(aggregate for _, aggregate in read.values())])
        query = sql.SQL("SELECT {} FROM (SELECT {} {}) AS s").format(outer, inner, source)
        found = connection.cursor(binary=True).execute(query, values).fetchone()
        if found is None or found[0] is None:
            return None
        return self._made(found[: self._key_columns], dict(zip(read, found[self._key_columns :], strict=True)))

    def _read(self) -> dict[str, tuple[sql.Composable, sql.Composable]]:
        """By name, what is selected of each item, and how the batch's are brought together."""
        place = self.place
        read: dict[str, tuple[sql.Composable, sql.Composable]] = {}
        vector = sql.Identifier("t", self.vector.name)
        if "vector" in self.columns:
            send = sql.Identifier(self.layout.extension, f"{self.layout.vector_type}_send")
            read["there"] = vector + sql.SQL(" IS NOT NULL"), sql.SQL("array_agg(there)")
            read["sent"] = sql.SQL("{}({})").format(send, vector), sql.SQL("string_agg(sent, '')")
        elif "mark" in self.columns:
            read["mark"] = mark_sql(self.layout, vector), sql.SQL("array_agg(coalesce(mark, 0))")
        for name, column in (("text", place.text), ("image", place.image), ("label", place.label)):
            if name in self.columns and column is not None:
                cast = sql.SQL("" if name == "image" else "::text")
                read[name] = sql.Identifier("t", column) + cast, sql.SQL(f"array_agg({name})")
        if "payload" in self.columns and place.payload:
            fields = sql.SQL(", ").join(sql.Identifier("t", name) for name in place.payload)
            payload = sql.SQL("(SELECT to_json(p)::text FROM (SELECT {}) AS p)").format(fields)
            read["payload"] = payload, sql.SQL("array_agg(payload)")
        return read

    @property
    def _key_columns(self) -> int:
        return len(self.layout.key.columns)

    def _made(self, keys: Sequence[Sequence[str]], found: dict[str, Any]) -> pa.RecordBatch:
        count = len(keys[0])
        values: dict[Column, Any] = {name: [None] * count for name in self.columns}
        values["id"] = self.layout.key.ids(keys)
        for name in ("text", "image", "label", "payload"):
            if name in found:
                values[name] = found[name]
        if "vector" in self.columns:
            values["vector"], values["mark"] = self._vectors(count, found.get("there") or [], found.get("sent") or b"")
        elif "mark" in self.columns:
            values["mark"] = pa.array(np.array(found.get("mark", []), dtype=np.int64).view(np.uint64))
        return item_batch(self.columns, values)

    def _vectors(self, count: int, flags: Sequence[bool], sent: bytes) -> tuple[pa.Array, pa.Array]:
        there = np.array(flags, dtype=bool)
        type_ = self.layout.vector_type
        try:
            rows = sent_vectors(sent, int(there.sum()), self.dimension, type_)
        except WrongDimension:
            raise WrongPlace(
                f"column {self.vector.name!r} of {self.layout.table!r} has vectors of several dimensions, the first of "
                f"{self.dimension}"
            ) from None
        marks = np.zeros(count, np.uint64)
        if "mark" in self.columns:
            marks[there] = marks_of_sent(rows)
        if there.all():
            return vector_array(decoded(rows, type_)), pa.array(marks)
        vectors = np.zeros((count, self.dimension), np.float32)
        vectors[there] = decoded(rows, type_)
        return vector_array(vectors, there), pa.array(marks)


def in_order(
    connection: Connection[Any], reading: Reading, columns: Sequence[Column], batch_rows: int, after: str | None
) -> Iterator[pa.RecordBatch]:
    """All items behind one, as of one moment, within a transaction that is open until the last batch was asked for."""
    with connection.transaction():
        connection.execute(_ONLY_BY_INDEX.encode())
        while (batch := reading.behind(connection, batch_rows, after)) is not None:
            after = batch.column("id")[-1].as_py()
            yield batch.select(list(columns))
            if batch.num_rows < batch_rows:
                return


def found_by_id(connection: Connection[Any], reading: Reading, ids: Sequence[str]) -> pa.RecordBatch:
    try:
        found = reading.of(connection, ids)
    except errors.DataError:  # One of them is no key at all: as text, each can be looked for.
        found = reading.of(connection, ids, as_text=True)
    return reading.empty() if found is None else found
