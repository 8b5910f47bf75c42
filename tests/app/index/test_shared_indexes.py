"""Published indexes by way of an object store: built on one machine, searched on another, and gone from both."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.index import CorruptIndex, IndexEngine, IndexOptions
from app.index.milvus import CollectionName
from app.settings import Settings
from app.storage.object_store import ObjectStore
from tests.s3_server import client_environment
from tests.services import MilvusProcess, free_port


class OneOfSeveral:
    """A machine with a data directory of its own."""

    def __init__(self, data_dir: Path, storage_url: str, **more: Any) -> None:
        self.engine = IndexEngine(Settings(data_dir=data_dir, storage_url=storage_url, **more))
        self.folder = data_dir / "galleries" / "g-01" / "indexes" / "1"

    def publish(self, version: int) -> str:
        """An index of three rows; its name."""
        rows, vectors = np.arange(3), np.eye(3, dtype=np.float32)
        batches, options = [(rows, vectors)], IndexOptions()
        path = self.engine.publish(self.folder, batches, metric="l2", dimension=3, version=version, options=options)
        return path.name

    def names(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}


@pytest.fixture
def one(tmp_path: Path, storage_url: str) -> OneOfSeveral:
    return OneOfSeveral(tmp_path / "one", storage_url)


@pytest.fixture
def other(tmp_path: Path, storage_url: str) -> OneOfSeveral:
    return OneOfSeveral(tmp_path / "other", storage_url)


def test_index_is_opened_where_it_was_not_built_and_describes_itself_before(
    one: OneOfSeveral, other: OneOfSeveral
) -> None:
    name = one.publish(1)
    assert not other.engine.here(other.folder / name)
    assert other.engine.manifest(other.folder / name).rows == 3
    assert not other.engine.here(other.folder / name), "a manifest alone is no index"
    assert other.engine.open(other.folder / name).rows.tolist() == [0, 1, 2]
    assert other.engine.here(other.folder / name)


def test_manifest_is_brought_from_the_store_once(one: OneOfSeveral, other: OneOfSeveral, storage_url: str) -> None:
    name = one.publish(1)
    told = other.engine.manifest(other.folder / name)
    ObjectStore(storage_url).remove_folder("galleries")
    assert other.engine.manifest(other.folder / name) == told
    with pytest.raises(CorruptIndex):
        other.engine.manifest(other.folder / "1-0123456789abcdef")


def test_superseded_index_goes_from_the_store_and_later_from_other_machines(
    one: OneOfSeveral, other: OneOfSeveral, storage_url: str
) -> None:
    first = one.publish(1)
    other.engine.open(other.folder / first)
    second = one.publish(2)
    one.engine.prune(one.folder, [second])
    assert one.names() == {second}
    assert {path.key.split("/")[4] for path in ObjectStore(storage_url).listed("galleries")} == {second}
    other.engine.open(other.folder / second)
    assert other.names() == {first, second}, "one that is young may be on its way to the store"
    long_ago = time.time() - 24 * 3600
    os.utime(other.folder / first, (long_ago, long_ago))
    third = one.publish(3)
    other.engine.open(other.folder / third)
    assert other.names() == {second, third}


def test_index_that_was_damaged_in_the_store_is_not_searched(
    one: OneOfSeveral, other: OneOfSeveral, storage_url: str
) -> None:
    name = one.publish(1)
    store = ObjectStore(storage_url)
    (vectors,) = (stored for stored in store.listed("galleries") if stored.key.endswith("vectors.f32"))
    damaged = one.folder / "damaged"
    damaged.write_bytes(bytes(vectors.size))
    store.upload(damaged, vectors.key)
    with pytest.raises(CorruptIndex):
        other.engine.open(other.folder / name)


def test_index_that_is_nowhere_is_corrupt(other: OneOfSeveral) -> None:
    with pytest.raises(CorruptIndex, match="no readable manifest"):
        other.engine.open(other.folder / "1-0123456789abcdef")


def test_collection_is_dropped_by_a_machine_that_never_opened_it(
    tmp_path: Path, storage_url: str, milvus: MilvusProcess
) -> None:
    milvus_too = {**milvus.settings, "milvus_prefix": "shared"}
    one, other = (OneOfSeveral(tmp_path / name, storage_url, **milvus_too) for name in ("one", "other"))
    name = one.publish(1)
    collection = CollectionName.read(one.folder / name).name
    assert other.engine.open(other.folder / name).rows.tolist() == [0, 1, 2]
    third = OneOfSeveral(tmp_path / "third", storage_url, **milvus_too)
    assert collection in _collections(milvus)
    assert third.engine.release(third.folder.parents[1])
    assert collection not in _collections(milvus)


def test_collection_that_cannot_be_dropped_keeps_its_name_and_its_index_can_be_opened(
    tmp_path: Path, storage_url: str, milvus: MilvusProcess
) -> None:
    milvus_too = {**milvus.settings, "milvus_prefix": "kept"}
    name = OneOfSeveral(tmp_path / "one", storage_url, **milvus_too).publish(1)
    without = OneOfSeveral(tmp_path / "other", storage_url)
    assert not without.engine.release(without.folder.parents[1]), "nothing says where its collection is"
    assert not without.engine.here(without.folder / name)
    without.engine.prune(without.folder, [])
    assert name in {path.key.split("/")[4] for path in ObjectStore(storage_url).listed("galleries")}
    with_milvus = OneOfSeveral(tmp_path / "other", storage_url, **milvus_too)
    assert with_milvus.engine.open(with_milvus.folder / name).rows.tolist() == [0, 1, 2]
    assert with_milvus.engine.release(with_milvus.folder / name)


def test_folder_stays_while_the_store_does_not_tell_what_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in client_environment(f"http://127.0.0.1:{free_port()}").items():
        monkeypatch.setenv(name, value)
    away = OneOfSeveral(tmp_path, "s3://away-from-releases/service")
    assert not away.engine.release(away.folder)


def _collections(milvus: MilvusProcess) -> list[str]:
    from pymilvus import MilvusClient

    return list(MilvusClient(milvus.uri).list_collections())
