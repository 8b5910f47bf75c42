"""Parquet, Arrow's file format, its streams, and folders of either, each through the whole contract."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.connections.file import ConfiguredConnection
from app.stores.batches import vector_array
from app.stores.files.folder import Folder
from app.stores.files.store import FileStore
from app.stores.protocol import Place, Target
from tests.app.stores.contract import StoreContract, held, ids_of, items_to_write, scanned, unit_rows, vectors_by_id
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
        self.secrets: Sequence[str] = ["operators-", str(base)]
        name = collection.split("/")[0]
        self.wrong_places: Sequence[tuple[Place, str]] = [
            (Place("no-such-file", "key", "vector"), name),
            (Place("../outside", "key", "vector"), "shelf"),
            (Place(collection, "nokey", "vector"), "key"),
            (Place(collection, "key", "text"), "vector"),
        ]

    def ids(self, count: int) -> list[str]:
        odd = ['it\'s "odd"', "a/b\\c", "書店", " ", "007", "-", "%", "x" * 300]
        return [odd[number] if number < len(odd) else f"item-{1000 - number}" for number in range(count)]

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


NUMBERED = Target("faq_g2", dimension=6, metric="cosine")


def numbered(folder: Path, id_column: str | None) -> FileStore:
    """A file of 9 rows whose ids are whole numbers, or that has none."""
    vectors = vector_array(unit_rows(9, 4))
    keys = pa.array([5, -7, 2**62, 0, 1, 2, 3, 4, 9], pa.int64())
    write_file(folder / "numbered.parquet", pa.table({"key": keys, "vector": vectors}))
    return FileStore(Folder(folder, "shelf"), Place("numbered.parquet", id_column, "vector"))


@pytest.mark.parametrize("id_column", ["key", None])
def test_old_and_new_vectors_are_joined_by_the_statement_that_a_switch_answers_with(
    tmp_path: Path, id_column: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = numbered(tmp_path, id_column)
    store.make_target(NUMBERED)
    items = scanned(store, ["id", "vector", "mark"])
    written = items_to_write(items, target=NUMBERED)
    assert store.write(NUMBERED, written) == []
    statement = store.switch(NUMBERED).statement
    assert statement is not None
    monkeypatch.chdir(tmp_path)
    joined: pa.Table = duckdb.connect().execute(statement).to_arrow_table()
    keys = pq.read_table(tmp_path / "numbered.parquet")["key"].to_pylist()
    new = dict(zip(joined["key"].to_pylist(), joined["vector"].to_pylist(), strict=True))
    wanted = vectors_by_id(written)
    assert len(new) == 9
    for id_, key in zip(ids_of(items), keys, strict=True):
        np.testing.assert_array_equal(np.array(new[key], np.float32), wanted[id_])


def test_an_item_without_an_id_of_its_own_is_found_by_the_number_of_its_row(tmp_path: Path) -> None:
    store = numbered(tmp_path, None)
    assert ids_of(scanned(store, ["id"])) == [str(number) for number in range(9)]
    assert sorted(ids_of(store.by_id(["8", "3", "9", "-1", "03", "x"], ["id"]))) == ["3", "8"]
    assert ids_of(scanned(store, ["id"], after="6")) == ["7", "8"]


def test_images_of_hugging_face_are_their_bytes_and_no_path_is_followed(tmp_path: Path) -> None:
    images = [{"bytes": b"\x89PNG", "path": "/etc/hostname"}, {"bytes": None, "path": "/etc/hostname"}]
    table = pa.table({"key": ["a", "b"], "vector": vector_array(unit_rows(2, 4)), "image": images})
    write_file(tmp_path / "pictures.parquet", table)
    store = FileStore(Folder(tmp_path, "shelf"), Place("pictures.parquet", "key", "vector", image="image"))
    assert scanned(store, ["image"]).column("image").to_pylist() == [b"\x89PNG", None]


def test_rows_that_a_killed_writer_left_in_two_files_count_once(tmp_path: Path) -> None:
    store = numbered(tmp_path, "key")
    store.make_target(NUMBERED)
    items = scanned(store, ["id", "vector", "mark"])
    first, second = (items_to_write(items, seed=seed, target=NUMBERED) for seed in (1, 2))
    store.write(NUMBERED, first)
    folder = tmp_path / "numbered.faq_g2.parquet"
    older = (folder / "part-00000000.parquet").read_bytes()
    store.write(NUMBERED, second)
    (folder / "part-00000000.parquet").write_bytes(older)  # as if killed before these were taken out
    (folder / ".0123.writing").write_bytes(b"half")
    (tmp_path / f".numbered.faq_g2.parquet.{'0a' * 8}.crosswalk-unfinished").mkdir()

    other = numbered(tmp_path, "key")
    assert vectors_by_id(second).keys() == held(other, NUMBERED).keys()
    erased = ids_of(first)[:2]
    other.erase(NUMBERED, erased)
    assert held(other, NUMBERED).keys() == vectors_by_id(second).keys() - set(erased)
    other.build_index(NUMBERED)
    assert pq.read_table(folder).num_rows == 7
    assert sorted(path.name for path in folder.iterdir()) == ["_crosswalk.json", "part-00000001.parquet"]
    settled = (folder / "part-00000001.parquet").stat()
    other.build_index(NUMBERED)
    assert (folder / "part-00000001.parquet").stat() == settled
    other.drop(NUMBERED)
    assert [path.name for path in tmp_path.iterdir()] == ["numbered.parquet"]
