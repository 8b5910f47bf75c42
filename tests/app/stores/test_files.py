"""Parquet, Arrow's file format, its streams, and folders of either, each through the whole contract."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.connections.file import ConfiguredConnection
from app.stores.protocol import Place, Target
from tests.app.stores.contract import StoreContract
from tests.app.stores.world import UserItem, Vector

PLACE = Place("faq", "key", "vector", text="text", label="label", payload=("shop", "tags"))
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


def write_file(path: Path, table: pa.Table) -> None:
    """A file of the format that the name's ending says, in place of what had the name."""
    new = path.with_name("." + path.name)
    if path.suffix == ".parquet":
        pq.write_table(table, new, row_group_size=4)
    else:
        make = pa.ipc.new_stream if path.suffix == ".arrow" else pa.ipc.new_file
        with make(new, table.schema) as writer:
            writer.write_table(table, max_chunksize=4)
    new.rename(path)


class FilesWorld:
    dimension = 8
    without_vectors = True
    tolerance = 0.0

    def __init__(self, base: Path, collection: str, files: Sequence[str]) -> None:
        """files: the paths within the folder that the items are spread over."""
        root = base / "operators-own"
        (root / files[0]).parent.mkdir(parents=True)
        self._files = [root / file for file in files]
        self._root = root
        self._items: dict[str, UserItem] = {}
        self.place = Place(collection, PLACE.id, PLACE.vector, text="text", label="label", payload=PLACE.payload)
        self.connection = ConfiguredConnection("shelf", "files", {"folder": str(root)})
        self.unreachable = ConfiguredConnection("no-shelf", "files", {"folder": str(base / "operators-lost")})
        self.secrets = ["operators-", str(base)]
        name = collection.split("/")[0]
        self.wrong_places = [
            (Place("no-such-file", "key", "vector"), name),
            (Place("../outside", "key", "vector"), "shelf"),
            (Place(collection, "nokey", "vector"), "key"),
            (Place(collection, "key", "text"), "vector"),
        ]

    def ids(self, count: int) -> list[str]:
        odd = ["it's \"odd\"", "a/b\\c", "書店", " ", "007", "-", "%", "x" * 300]
        return [odd[number] if number < len(odd) else f"item-{count - number}" for number in range(count)]

    def insert(self, items: Sequence[UserItem]) -> None:
        self._items |= {item.id: item for item in items}
        self._write()

    def change(self, item: UserItem) -> None:
        self._items[item.id] = item
        self._write()

    def delete(self, ids: Sequence[str]) -> None:
        for id_ in ids:
            del self._items[id_]
        self._write()

    def everything(self) -> dict[str, bytes]:
        rows = [row for file in self._files for row in _read(file)]
        return {row["key"]: json.dumps(row).encode() for row in rows}

    def take_name(self, target: Target) -> None:
        at = self._root / self.place.collection
        stem = at.stem if at.suffix in (".parquet", ".arrow", ".feather") else at.name
        at.with_name(f"{stem}.{target.name}.parquet").write_text("mine")

    def seen(self) -> dict[str, Vector]:
        raise AssertionError("files are switched by who reads them")

    def _write(self) -> None:
        items = list(self._items.values())
        step = -(-len(items) // len(self._files))
        for number, file in enumerate(self._files):
            write_file(file, _table(items[number * step : (number + 1) * step]))


def _table(items: Sequence[UserItem]) -> pa.Table:
    columns: Mapping[str, list[Any]] = {
        "key": [item.id for item in items],
        "vector": [item.vector if item.vector is None else item.vector.tolist() for item in items],
        "text": [item.text for item in items],
        "label": [item.label for item in items],
        "shop": [item.payload["shop"] for item in items],
        "tags": [json.dumps(item.payload["tags"]) for item in items],
    }
    return pa.table([pa.array(columns[field.name], field.type) for field in SCHEMA], schema=SCHEMA)


def _read(file: Path) -> list[dict[str, Any]]:
    if file.suffix == ".parquet":
        return list(pq.read_table(file).to_pylist())
    opened = pa.ipc.open_stream(file) if file.suffix == ".arrow" else pa.ipc.open_file(file)
    return list(opened.read_all().to_pylist())


class TestParquetFile(StoreContract):
    @pytest.fixture
    def world(self, tmp_path: Path) -> FilesWorld:
        return FilesWorld(tmp_path, "faq.parquet", ["faq.parquet"])


class TestFolderOfParquetFiles(StoreContract):
    @pytest.fixture
    def world(self, tmp_path: Path) -> FilesWorld:
        return FilesWorld(tmp_path, "sets/faq", [f"sets/faq/train-{n}.parquet" for n in range(3)])


class TestArrowFile(StoreContract):
    @pytest.fixture
    def world(self, tmp_path: Path) -> FilesWorld:
        return FilesWorld(tmp_path, "faq.feather", ["faq.feather"])


class TestHuggingFaceDataset(StoreContract):
    """As `save_to_disk` writes it: Arrow streams in a folder."""

    @pytest.fixture
    def world(self, tmp_path: Path) -> FilesWorld:
        return FilesWorld(tmp_path, "faq", [f"faq/data-{n:05}-of-00002.arrow" for n in range(2)])
