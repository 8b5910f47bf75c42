"""FAISS index files: one by a link through the whole contract, and what is different of others."""

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from app.connections.file import ConfiguredConnection
from app.faiss_library import faiss
from app.stores.faiss_file.store import FaissFileStore
from app.stores.files.folder import Folder
from app.stores.protocol import Place, Store, Target, WrongPlace
from tests.app.stores.contract import (
    ITEMS,
    StoreContract,
    assert_same,
    ids_of,
    items_to_write,
    scanned,
    unit_rows,
    vectors_by_id,
)
from tests.app.stores.world import StoreWorld, UserItem, Vector
from tests.services import runs
from tests.waiting import wait_until
from tests.workers.job_bench import command_line

DIMENSION = 8


def made(type_: str, vectors: Any, ids: Sequence[int] | None) -> Any:
    """An index by inner product; ids: None for an index that has none of its own."""
    index: Any = faiss.IndexFlatIP(DIMENSION)
    if type_ == "HNSW":
        index = faiss.IndexHNSWFlat(DIMENSION, 16, faiss.METRIC_INNER_PRODUCT)
    if type_ == "IVF":
        index = faiss.IndexIVFFlat(index, DIMENSION, 2, faiss.METRIC_INNER_PRODUCT)
        index.train(unit_rows(100, DIMENSION))
    elif ids is not None:
        index = faiss.IndexIDMap2(index)
    if len(vectors) and ids is not None:
        index.add_with_ids(np.array(vectors), np.array(ids, np.int64))
    elif len(vectors):
        index.add(np.array(vectors))
    return index


def by_ids(path: Path) -> dict[str, Vector]:
    """What an index that keeps ids holds, read by FAISS alone."""
    read = faiss.read_index(str(path))
    index = faiss.downcast_index(read)  # which is a part of the other
    if isinstance(index, faiss.IndexIVF):
        index.set_direct_map_type(faiss.DirectMap.Hashtable)
        ids = [id_ for n in range(index.nlist) for id_ in _of_list(index, n)]
    else:
        ids = faiss.vector_to_array(index.id_map).tolist()
    return {str(id_): index.reconstruct(int(id_)) for id_ in ids}


def _of_list(index: Any, number: int) -> list[int]:
    size = index.invlists.list_size(number)
    return faiss.rev_swig_ptr(index.invlists.get_ids(number), size).tolist() if size else []


class FaissWorld:
    dimension = DIMENSION
    without_vectors = False
    tolerance = 1e-6  # a target's vectors are made unit vectors again

    def __init__(self, base: Path, type_: str, ids_file: str | None, link: bool) -> None:
        self._root = base / "operators-own"
        self._root.mkdir()
        self._type, self._ids_file = type_, ids_file
        self._items: dict[str, Vector] = {}
        if link:
            (self._root / "current.faiss").symlink_to("faq.faiss")
        self.place = Place("current.faiss" if link else "faq.faiss", ids_file)
        self.connection = ConfiguredConnection("shelf", "faiss", {"folder": str(self._root)})
        self.unreachable = ConfiguredConnection("no-shelf", "faiss", {"folder": str(base / "operators-lost")})
        self.secrets: Sequence[str] = ["operators-", str(base)]
        self.wrong_places: Sequence[tuple[Place, str]] = [
            (Place("nofaq.faiss", ids_file), "faq.faiss"),
            (Place("../faq.faiss", ids_file), "shelf"),
            (Place("faq.faiss", "no-ids.txt"), "faq.faiss"),
        ]

    def ids(self, count: int) -> list[str]:
        odd = ['it\'s "odd"', "a/b\\c", "書店", " ", "007"] if self._ids_file else ["-7", str(2**62), "0"]
        return [odd[number] if number < len(odd) else str(1000 - number) for number in range(count)]

    def insert(self, items: Sequence[UserItem]) -> None:
        for item in items:
            assert item.vector is not None
            self._items[item.id] = item.vector
        self._write()

    def change(self, item: UserItem) -> None:
        self.insert([item])

    def delete(self, ids: Sequence[str]) -> None:
        for id_ in ids:
            del self._items[id_]
        self._write()

    def everything(self) -> dict[str, bytes]:
        if self._ids_file is None:
            return {id_: vector.tobytes() for id_, vector in by_ids(self._root / "faq.faiss").items()}
        ids = (self._root / self._ids_file).read_text().splitlines()
        index = faiss.read_index(str(self._root / "faq.faiss"))
        return {id_: index.reconstruct(number).tobytes() for number, id_ in enumerate(ids)}

    def take_name(self, target: Target) -> None:
        stem = self.place.collection.removesuffix(".faiss")
        (self._root / f"{stem}.{target.name}.faiss").write_text("mine")

    def seen(self) -> dict[str, Vector]:
        return by_ids(self._root / self.place.collection)

    def _write(self) -> None:
        own = None if self._ids_file else [int(id_) for id_ in self._items]
        faiss.write_index(made(self._type, list(self._items.values()), own), str(self._root / "new"))
        if self._ids_file:
            (self._root / self._ids_file).write_text("".join(f"{id_}\n" for id_ in self._items))
        (self._root / "new").rename(self._root / "faq.faiss")


class _FaissContract(StoreContract):
    def test_a_scan_gives_every_item_once_as_its_user_wrote_it(
        self, world: StoreWorld, store: Store, items: list[UserItem]
    ) -> None:
        """An index holds no texts, labels and payloads."""
        found = scanned(store)
        assert found.num_rows == len(set(ids_of(found))) == ITEMS
        old = {item.id: item.vector for item in items if item.vector is not None}
        assert_same(vectors_by_id(found), old, tolerance=0)
        for name in ("text", "label", "payload"):
            assert found.column(name).null_count == ITEMS


class TestFlatIndexByLink(_FaissContract):
    @pytest.fixture
    def world(self, tmp_path: Path) -> FaissWorld:
        return FaissWorld(tmp_path, "Flat", None, link=True)


TARGET = Target("faq_g2", dimension=6, metric="cosine")
SAVED: dict[str, Callable[[Path, list[str]], object]] = {
    "ids.txt": lambda path, ids: path.write_text("\n".join(ids)),
    "ids.json": lambda path, ids: path.write_text(json.dumps(ids)),
    "ids.npy": lambda path, ids: np.save(path, np.array(ids)),
}


def opened_file(folder: Path, index: Any, ids_file: str | None = None) -> FaissFileStore:
    faiss.write_index(index, str(folder / "faq.faiss"))
    return FaissFileStore(Folder(folder, "shelf"), Place("faq.faiss", ids_file))


def upgraded(store: FaissFileStore) -> dict[str, Vector]:
    """What was written to a target, of which the index is built."""
    store.make_target(TARGET)
    written = items_to_write(scanned(store, ["id", "vector", "mark"]), target=TARGET)
    assert store.write(TARGET, written) == []
    store.build_index(TARGET)
    return vectors_by_id(written)


@pytest.mark.parametrize("type_", ["HNSW", "IVF"])
def test_a_new_index_is_of_the_old_ones_type_and_keeps_its_ids(tmp_path: Path, type_: str) -> None:
    vectors, ids = unit_rows(30, DIMENSION), list(range(-5, 25))
    with closing(opened_file(tmp_path, made(type_, vectors, ids))) as store:
        assert_same(vectors_by_id(scanned(store)), dict(zip(map(str, ids), vectors, strict=True)), tolerance=0)
        written = upgraded(store)
    assert_same(by_ids(tmp_path / "faq.faq_g2.faiss"), written, tolerance=1e-6)
    read = faiss.read_index(str(tmp_path / "faq.faq_g2.faiss"))
    index = faiss.downcast_index(read)
    if type_ == "IVF":
        assert (index.nlist, index.metric_type) == (2, faiss.METRIC_INNER_PRODUCT)
    else:
        assert faiss.downcast_index(index.index).hnsw.nb_neighbors(1) == 16


@pytest.mark.parametrize("name", SAVED)
def test_ids_may_lie_in_a_file_beside(tmp_path: Path, name: str) -> None:
    vectors, ids = unit_rows(3, DIMENSION), ["a", "ü b", "7"]
    SAVED[name](tmp_path / name, ids)
    with closing(opened_file(tmp_path, made("HNSW", vectors, None), name)) as store:
        assert_same(vectors_by_id(scanned(store)), dict(zip(ids, vectors, strict=True)), tolerance=0)
        written = upgraded(store)
        statement = store.switch(TARGET).statement
        new_ids = f"faq.faq_g2.ids{Path(name).suffix}"
        assert statement is not None
        assert new_ids in statement
        with closing(FaissFileStore(Folder(tmp_path, "shelf"), Place("faq.faq_g2.faiss", new_ids))) as new:
            assert_same(vectors_by_id(scanned(new)), written, tolerance=1e-6)
        store.drop(TARGET)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["faq.faiss", name])


def test_without_ids_those_are_the_numbers_of_the_vectors_and_stay_so(tmp_path: Path) -> None:
    with closing(opened_file(tmp_path, made("Flat", unit_rows(12, DIMENSION), None))) as store:
        upgraded(store)
        again = items_to_write(store.by_id(["10", "2"], ["id", "vector", "mark"]), seed=2, target=TARGET)
        assert store.write(TARGET, again) == []
        store.build_index(TARGET)
    index = faiss.read_index(str(tmp_path / "faq.faq_g2.faiss"))
    for id_, vector in vectors_by_id(again).items():
        np.testing.assert_allclose(index.reconstruct(int(id_)), vector, atol=1e-6)
    assert index.ntotal == 12


def test_an_index_that_keeps_vectors_by_halves_is_refused_by_name(tmp_path: Path) -> None:
    index = faiss.IndexScalarQuantizer(DIMENSION, faiss.ScalarQuantizer.QT_8bit)
    index.train(unit_rows(100, DIMENSION))
    store = opened_file(tmp_path, index)
    with pytest.raises(WrongPlace, match="IndexScalarQuantizer"):
        store.describe()


def cut(body: bytes) -> bytes:
    return body[: len(body) // 2]


def boundless(body: bytes) -> bytes:
    """It says that it has 2**60 vectors."""
    return body.replace((30).to_bytes(8, "little"), (2**60).to_bytes(8, "little"))


def other_dimension(body: bytes) -> bytes:
    return body.replace(DIMENSION.to_bytes(4, "little"), (2**30).to_bytes(4, "little"))


@pytest.mark.parametrize("damage", [cut, boundless, other_dimension, lambda body: b"", lambda body: b"IxFI" * 99])
def test_a_damaged_index_ends_the_process_that_reads_it_and_no_other(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    store = opened_file(tmp_path, made("HNSW", unit_rows(30, DIMENSION), list(range(30))))
    path = tmp_path / "faq.faiss"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(WrongPlace, match=r"faq\.faiss"):
        store.describe()


def test_what_reads_an_index_sees_no_variable_of_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAQ_PASSWORD", "s3cr3t")
    with closing(opened_file(tmp_path, made("Flat", unit_rows(3, DIMENSION), None))) as store:
        store.describe()
        children = [
            child for child in psutil.Process().children() if b"app.stores.faiss_reading" in command_line(child.pid)
        ]
        assert children
        assert not any("s3cr3t" in child.environ().values() for child in children)
    wait_until(lambda: not any(runs(child) for child in children), "what read it to end")
