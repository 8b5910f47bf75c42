"""LanceDB tables, through the whole contract."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lancedb
import pyarrow as pa
import pytest

from app.connections.file import ConfiguredConnection
from app.stores.lancedb.database import literal_in_sql
from app.stores.protocol import Place, Target
from tests.app.stores.contract import StoreContract
from tests.app.stores.world import UserItem, Vector

SCHEMA = pa.schema(
    {
        "key": pa.string(),
        "vector": pa.list_(pa.float32(), 8),
        "text": pa.string(),
        "label": pa.string(),
        "shop": pa.string(),
        "tags": pa.json_(),
    }
)


class LanceWorld:
    dimension = 8
    without_vectors = True
    tolerance = 0.0

    def __init__(self, base: Path) -> None:
        (base / "operators-own").mkdir()
        self._database = lancedb.connect(str(base / "operators-own"))
        self._table = self._database.create_table("faq", schema=SCHEMA)
        self.place = Place("faq", "key", "vector", text="text", label="label", payload=("shop", "tags"))
        self.connection = ConfiguredConnection("shelf", "lancedb", {"uri": str(base / "operators-own")})
        self.unreachable = ConfiguredConnection("no-shelf", "lancedb", {"uri": str(base / "operators-lost")})
        self.secrets: Sequence[str] = ["operators-", str(base)]
        self.wrong_places: Sequence[tuple[Place, str]] = [
            (Place("nofaq", "key", "vector"), "'faq'"),
            (Place("faq", "nokey", "vector"), "'key'"),
            (Place("faq", "key", "text"), "'vector'"),
        ]

    def ids(self, count: int) -> list[str]:
        odd = ['it\'s "odd"', "a/b\\c", "書店", " ", "007", "-", "%", "x" * 300]
        return [odd[number] if number < len(odd) else f"item-{1000 - number}" for number in range(count)]

    def insert(self, items: Sequence[UserItem]) -> None:
        self._table.add(pa.Table.from_pylist([_row(item) for item in items], SCHEMA))

    def change(self, item: UserItem) -> None:
        changed = pa.Table.from_pylist([_row(item)], SCHEMA)
        self._table.merge_insert("key").when_matched_update_all().execute(changed)

    def delete(self, ids: Sequence[str]) -> None:
        self._table.delete(f"key IN ({', '.join(map(literal_in_sql, ids))})")

    def everything(self) -> dict[str, bytes]:
        self._table.checkout_latest()
        return {row["key"]: repr(sorted(row.items())).encode() for row in self._table.to_arrow().to_pylist()}

    def take_name(self, target: Target) -> None:
        self._database.create_table(f"faq.{target.name}", schema=SCHEMA)

    def seen(self) -> dict[str, Vector]:
        raise AssertionError("a table is switched by who opens it")


def _row(item: UserItem) -> dict[str, Any]:
    return {
        "key": item.id,
        "vector": None if item.vector is None else item.vector.tolist(),
        "text": item.text,
        "label": item.label,
        "shop": item.payload["shop"],
        "tags": json.dumps(item.payload["tags"]),
    }


class TestLanceTable(StoreContract):
    @pytest.fixture
    def world(self, tmp_path: Path) -> LanceWorld:
        return LanceWorld(tmp_path)
