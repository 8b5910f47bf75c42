"""Galleries in Chroma keep the protocol, against its own server and in a folder of its client's."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import chromadb
import numpy as np
import pytest
from chromadb.config import Settings

from app.connections.file import ConfiguredConnection
from app.stores.protocol import CannotSwitch, Place, Store, WrongPlace
from tests.app.stores.chroma_world import ChromaWorld
from tests.app.stores.contract import (
    TARGET,
    StoreContract,
    held,
    items_to_write,
    scanned,
    unit_rows,
    user_items,
    vectors_by_id,
)
from tests.app.stores.world import UserItem, opened
from tests.chroma_server import chroma_server


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with chroma_server() as url:
        yield url


@pytest.fixture
def world(server: str) -> Iterator[ChromaWorld]:
    world = ChromaWorld(server)
    yield world
    world.client.close()


def chroma_items(world: ChromaWorld) -> list[UserItem]:
    """Chroma holds lists of one type in metadata, and no objects."""
    return [replace(item, payload={**item.payload, "tags": ["a", "b"]}) for item in user_items(world)]


class TestACollection(StoreContract):
    @pytest.fixture
    def items(self, world: ChromaWorld) -> list[UserItem]:
        items = chroma_items(world)
        world.insert(items)
        return items

    def test_copies_hold_documents_and_metadata_as_they_are_now(
        self, world: ChromaWorld, store: Store, items: list[UserItem]
    ) -> None:
        store.make_target(TARGET)
        written = items_to_write(scanned(store, ["id", "vector", "mark"]))
        store.write(TARGET, written)
        world.change(replace(items[0], text=None, label=None, payload={}))
        world.change(replace(items[1], text="another text", payload={"new": 1.5}))
        store.write(TARGET, written)
        copies = world.client.get_collection(TARGET.name, embedding_function=None)
        wanted = world.collection.get(include=["documents", "metadatas"])
        found = copies.get(ids=wanted["ids"], include=["documents", "metadatas"])
        for name in ("documents", "metadatas"):
            assert dict(zip(found["ids"], found[name], strict=True)) == dict(
                zip(wanted["ids"], wanted[name], strict=True)
            )
        assert copies.configuration["hnsw"]["max_neighbors"] == 24


def test_a_folder_is_read_and_written(tmp_path: Path) -> None:
    user = chromadb.PersistentClient(str(tmp_path), Settings(anonymized_telemetry=False))
    rows = unit_rows(30, 4)
    faq = user.create_collection("faq", embedding_function=None)
    faq.add(ids=[str(n) for n in range(30)], embeddings=rows, documents=[f"text {n}" for n in range(30)])
    store = opened(ConfiguredConnection("notebook", "chroma", {"path": str(tmp_path)}), Place("faq", text="#document"))
    assert store.describe().metric == "l2"
    store.make_target(TARGET)
    items = scanned(store, ["id", "vector", "mark", "text"])
    assert items.column("text").to_pylist() == [f"text {id}" for id in items.column("id").to_pylist()]
    written = items_to_write(items)
    assert store.write(TARGET, written) == []
    np.testing.assert_allclose(held(store)["8"], vectors_by_id(written)["8"], atol=1e-6)
    assert user.get_collection(TARGET.name, embedding_function=None).get(ids=["8"])["documents"] == ["text 8"]
    store.close()
    user.close()


def test_what_chroma_cannot_do_is_refused_by_name(world: ChromaWorld) -> None:
    with pytest.raises(WrongPlace, match="is empty"):
        opened(world.connection, world.place)
    world.insert(chroma_items(world))
    store = opened(world.connection, world.place)
    with pytest.raises(CannotSwitch):
        store.drop(replace(TARGET, name="faq.items"))
    with pytest.raises(WrongPlace, match="make it again"):
        list(store.written(TARGET, batch_rows=5))
    store.close()
