"""Milvus collections, read by name and by alias, against milvus-lite's server on loopback."""

import json
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import numpy as np
import pytest
from pymilvus import CollectionSchema, DataType, FieldSchema, MilvusClient

from app.connections.file import ConfiguredConnection
from app.stores.protocol import Place, Target
from tests.app.stores.contract import StoreContract
from tests.app.stores.world import UserItem, Vector
from tests.services import MilvusProcess, free_port

_NAMES = count()
_FIELDS = ("key", "vector", "text", "label", "shop", "tags")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusProcess]:
    process = MilvusProcess(tmp_path_factory.mktemp("milvus") / "store")
    process.start()
    yield process
    process.kill()


class MilvusWorld:
    dimension = 8
    without_vectors = False
    tolerance = 0.0

    def __init__(self, server: MilvusProcess, alias: bool) -> None:
        self._client = MilvusClient(server.uri)
        number = next(_NAMES)
        self.collection = f"faq_{number}"
        schema = CollectionSchema(
            [
                FieldSchema("key", DataType.VARCHAR, is_primary=True, max_length=1000),
                FieldSchema("vector", DataType.FLOAT_VECTOR, dim=self.dimension),
                FieldSchema("text", DataType.VARCHAR, max_length=1000, nullable=True),
                FieldSchema("label", DataType.VARCHAR, max_length=100, nullable=True),
                FieldSchema("shop", DataType.VARCHAR, max_length=100, nullable=True),
                FieldSchema("tags", DataType.JSON, nullable=True),
            ]
        )
        index = MilvusClient.prepare_index_params()
        index.add_index("vector", index_type="FLAT", metric_type="COSINE")
        self._client.create_collection(self.collection, schema=schema, index_params=index)
        self._client.load_collection(self.collection)
        name = self.collection
        if alias:
            name = f"alias_{number}"
            self._client.create_alias(self.collection, name)
        self.place = Place(name, "key", "vector", text="text", label="label", payload=("shop", "tags"))
        self.connection = ConfiguredConnection("shelf", "milvus", {"uri": server.uri, "token": "s3cr3t"})
        port = free_port()
        self.unreachable = ConfiguredConnection(
            "no-shelf", "milvus", {"uri": f"http://127.0.0.1:{port}", "token": "s3cr3t", "timeout_s": 0.2}
        )
        self.secrets: Sequence[str] = ["s3cr3t", "127.0.0.1", str(port), server.uri.rpartition(":")[2]]
        self.wrong_places: Sequence[tuple[Place, str]] = [
            (Place("no_such", "key", "vector"), self.collection),
            (Place(name, "nokey", "vector"), "key"),
            (Place(name, "key", "text"), "vector"),
            (Place(name, "key", "vector", text="no_text"), "text"),
        ]

    def ids(self, count: int) -> list[str]:
        odd = ['it\'s "odd"', "a/b\\c", "書店", " ", "007", "-", "%", "x" * 300, "tab\tand\nline"]
        return [odd[number] if number < len(odd) else f"item-{1000 - number}" for number in range(count)]

    def insert(self, items: Sequence[UserItem]) -> None:
        rows = []
        for item in items:
            assert item.vector is not None
            rows.append(
                {
                    "key": item.id,
                    "vector": item.vector.tolist(),
                    "text": item.text,
                    "label": item.label,
                    "shop": item.payload["shop"],
                    "tags": item.payload["tags"],
                }
            )
        self._client.upsert(self.collection, rows)

    def change(self, item: UserItem) -> None:
        self.insert([item])

    def delete(self, ids: Sequence[str]) -> None:
        self._client.delete(self.collection, filter=f"key in {json.dumps(list(ids), ensure_ascii=False)}")

    def everything(self) -> dict[str, bytes]:
        return {row["key"]: repr(sorted(row.items())).encode() for row in self._rows(self.collection)}

    def take_name(self, target: Target) -> None:
        schema = CollectionSchema(
            [
                FieldSchema("key", DataType.VARCHAR, is_primary=True, max_length=1000),
                FieldSchema("vector", DataType.FLOAT_VECTOR, dim=self.dimension),
            ]
        )
        self._client.create_collection(f"{self.collection}_{target.name.replace('-', '_')}", schema=schema)

    def seen(self) -> dict[str, Vector]:
        rows = self._rows(self.place.collection)
        return {row["key"]: np.array(row["vector"], np.float32) for row in rows}

    def _rows(self, name: str) -> list[dict[str, Any]]:
        return list(self._client.query(name, 'key >= ""', output_fields=list(_FIELDS), consistency_level="Strong"))


class TestMilvusAlias(StoreContract):
    @pytest.fixture
    def world(self, server: MilvusProcess) -> MilvusWorld:
        return MilvusWorld(server, alias=True)


class TestMilvusCollection(StoreContract):
    @pytest.fixture
    def world(self, server: MilvusProcess) -> MilvusWorld:
        return MilvusWorld(server, alias=False)
