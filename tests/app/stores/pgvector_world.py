"""A table of a user's own in PostgreSQL with pgvector, with whatever names and types the user likes."""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg import sql

from app.connections.file import ConfiguredConnection
from app.stores.protocol import Place, Target
from tests.app.stores.world import UserItem, Vector


@dataclass(frozen=True)
class TableSort:
    """A sort of table. keys: name and type of each column of the primary key."""

    vector_type: str
    keys: Sequence[tuple[str, str]]
    schema: str = "shop"
    table: str = "faq"
    vector: str = "embedding"
    text: str = "text"
    label: str = "label"
    beside: str = "column"


SORTS = {
    "vector, bigint": TableSort("vector", [("id", "bigint")]),
    "halfvec, uuid": TableSort("halfvec", [("id", "uuid")]),
    "vector, hostile names and text": TableSort(
        "vector",
        [('the "id" %s', 'text COLLATE "C"')],
        schema='Sché "ma".x%',
        table='ta"b;le %(s)s {x}',
        vector="vec {0} %",
        text="SELECT $1",
        label="k1",
    ),
    "vector, composite": TableSort("vector", [("tenant", "text"), ("no.", "int"), ("day", "date")], table="Many"),
    "table beside, uuid": TableSort("vector", [("id", "uuid")], beside="table"),
    "table beside, hostile names and composite": TableSort(
        "halfvec",
        [('ten"ant %s', "text"), ("no.", "int"), ("day", "date")],
        schema='Sché "ma".x%',
        table='ta"b;le %(s)s {x}',
        vector="vec {0} %",
        beside="table",
    ),
}


class PgvectorWorld:
    """One table in a schema of its own."""

    dimension, without_vectors = 8, True
    secrets: Sequence[str]
    wrong_places: Sequence[tuple[Place, str]]

    def __init__(self, url: str, sort: TableSort) -> None:
        self.sort, self._url = sort, url
        self.connection = ConfiguredConnection("faq-database", "pgvector", {"url": url, "beside": sort.beside})
        nobody = "postgresql://reader:sesame@127.0.0.1:1/faq"
        self.unreachable = ConfiguredConnection("gone-database", "pgvector", {"url": nobody})
        self.secrets = ["sesame", "127.0.0.1", url]
        self.tolerance = 1e-3 if sort.vector_type == "halfvec" else 0.0
        collection = ".".join('"' + name.replace('"', '""') + '"' for name in (sort.schema, sort.table))
        self.place = Place(collection, vector=sort.vector, text=sort.text, label=sort.label, payload=("shop", "tags"))
        self.wrong_places = [
            (Place("shop.nowhere", vector=sort.vector), sort.table.replace('"', '""')),
            (Place("no such; table"), sort.table.replace('"', '""')),
            (Place(collection, vector="nothing"), repr(sort.vector)),
            (Place(collection, vector=sort.text), repr(sort.vector)),
            (Place(collection, vector=sort.vector, text="nothing"), repr(sort.text)),
            (Place(collection, id=sort.label, vector=sort.vector), "unique"),
        ]
        self.table = sql.Identifier(sort.schema, sort.table)
        self.run(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(sort.schema)))
        self.run(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(sort.schema)))
        keys = sql.SQL(", ").join(sql.SQL("{} {}").format(sql.Identifier(n), sql.SQL(t)) for n, t in sort.keys)
        names = sql.SQL(", ").join(sql.Identifier(name) for name, _ in sort.keys)
        self.run(
            sql.SQL(
                "CREATE TABLE {} ({}, {} {}(8), {} text, {} varchar(40), shop text, tags jsonb, PRIMARY KEY ({}))"
            ).format(
                self.table,
                keys,
                sql.Identifier(sort.vector),
                sql.SQL(sort.vector_type),
                sql.Identifier(sort.text),
                sql.Identifier(sort.label),
                names,
            )
        )

    def run(
        self, statement: sql.SQL | sql.Composed, values: Sequence[object] | None = None
    ) -> list[tuple[object, ...]]:
        """As the user, in a transaction of its own."""
        with psycopg.connect(self._url, autocommit=True, cursor_factory=psycopg.RawCursor) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description is not None else []

    def ids(self, count: int) -> list[str]:
        kind = self.sort.keys[0][1]
        if len(self.sort.keys) > 1:
            texts = [(f'ten"ant, {n % 3}\\', str(n - 5), f"2026-01-{1 + n % 28:02d}") for n in range(count)]
            return [json.dumps(several, ensure_ascii=False, separators=(",", ":")) for several in texts]
        if kind == "bigint":
            return [str(-(2**63)), *(str(7 * n * (-1) ** n) for n in range(1, count))]
        if kind == "uuid":
            return [str(uuid.UUID(int=0)), *(str(uuid.uuid5(uuid.NAMESPACE_URL, str(n))) for n in range(1, count))]
        odd = ["", "'; DROP TABLE x; --", '["not", "composite"]', "a/b?c=d&e#f", "naïve 書店 \t\n\\", "NULL", " "]
        return [*odd, *(f"id {n}" for n in range(len(odd), count))][:count]

    def insert(self, items: Sequence[UserItem]) -> None:
        self._write(items, "")

    def change(self, item: UserItem) -> None:
        sort = self.sort
        keys = sql.SQL(", ").join(sql.Identifier(name) for name, _ in sort.keys)
        changed = sql.SQL(", ").join(
            sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name))
            for name in (sort.vector, sort.text, sort.label, "shop", "tags")
        )
        self._write([item], sql.SQL(" ON CONFLICT ({}) DO UPDATE SET {}").format(keys, changed))

    def _write(self, items: Sequence[UserItem], conflict: str | sql.Composed) -> None:
        sort = self.sort
        names = [*(name for name, _ in sort.keys), sort.vector, sort.text, sort.label, "shop", "tags"]
        types = [*(type_.partition(" COLLATE")[0] for _, type_ in sort.keys), sort.vector_type, *["text"] * 3, "jsonb"]
        values = sql.SQL(", ").join(sql.SQL(f"${place}::{type_}") for place, type_ in enumerate(types, 1))
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}){}").format(
            self.table,
            sql.SQL(", ").join(map(sql.Identifier, names)),
            values,
            sql.SQL(conflict) if isinstance(conflict, str) else conflict,
        )
        with psycopg.connect(self._url, cursor_factory=psycopg.RawCursor) as connection:
            for item in items:
                key = json.loads(item.id) if len(sort.keys) > 1 else [item.id]
                tags = item.payload.get("tags")
                connection.execute(
                    statement,
                    [
                        *key,
                        None if item.vector is None else str(item.vector.tolist()),
                        item.text,
                        item.label,
                        item.payload.get("shop"),
                        None if tags is None else json.dumps(tags),
                    ],
                )

    def delete(self, ids: Sequence[str]) -> None:
        key = self._key()
        self.run(sql.SQL("DELETE FROM {} WHERE {} = ANY($1)").format(self.table, key), [list(ids)])

    def everything(self) -> dict[str, bytes]:
        sort = self.sort
        names = [sort.vector, sort.text, sort.label, "shop", "tags"]
        columns = sql.SQL(", ").join(map(sql.Identifier, names))
        rows = self.run(
            sql.SQL("SELECT {}, {}_send({}), ({})::text FROM {}").format(
                self._key(),
                sql.SQL(sort.vector_type),
                sql.Identifier(sort.vector),
                sql.SQL("ROW(") + columns + sql.SQL(")"),
                self.table,
            )
        )
        return {str(id_): repr((sent, row)).encode() for id_, sent, row in rows}

    def take_name(self, target: Target) -> None:
        name = sql.Identifier(target.name)
        if self.sort.beside == "table":
            self.run(sql.SQL("CREATE TABLE {} (one int)").format(sql.Identifier(self.sort.schema, target.name)))
        else:
            self.run(sql.SQL("ALTER TABLE {} ADD COLUMN {} text").format(self.table, name))

    def seen(self) -> dict[str, Vector]:
        view = sql.Identifier(self.sort.schema, f"{self.sort.table}_current")
        vector = sql.Identifier(self.sort.vector)
        rows = self.run(
            sql.SQL("SELECT {0}, {1}::text FROM {2} WHERE {1} IS NOT NULL").format(self._key(), vector, view)
        )
        return {str(id_): _numbers(str(text)) for id_, text in rows}

    def _key(self) -> sql.Composed:
        """A row's id, as the user would compute it."""
        texts = [sql.SQL("{}::text").format(sql.Identifier(name)) for name, _ in self.sort.keys]
        if len(texts) == 1:
            return texts[0]
        joined = sql.SQL(" || ',' || ").join(sql.SQL("to_json({})::text").format(text) for text in texts)
        return sql.SQL("'[' || {} || ']'").format(joined)


def _numbers(text: str) -> npt.NDArray[np.float32]:
    return np.array(json.loads(text), np.float32)
