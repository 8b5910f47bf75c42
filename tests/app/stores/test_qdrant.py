"""Galleries in Qdrant keep the protocol, against Qdrant's engine behind its own client."""

import socket
from collections.abc import Iterator

import numpy as np
import pytest
from qdrant_client import models

from app.connections.file import ConfiguredConnection
from app.stores.protocol import Place, Store, StoreAway, WrongPlace
from tests.app.stores.contract import (
    TARGET,
    StoreContract,
    held,
    items_to_write,
    marks_of,
    scanned,
    user_items,
    vectors_by_id,
)
from tests.app.stores.qdrant_world import COSINE, QdrantWorld, connection
from tests.app.stores.world import opened
from tests.qdrant_server import qdrant_server


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with qdrant_server() as url:
        yield url


@pytest.fixture
def named(server: str) -> Iterator[QdrantWorld]:
    world = QdrantWorld(server, named=True)
    yield world
    world.client.close()


class TestNamedVectors(StoreContract):
    @pytest.fixture
    def world(self, named: QdrantWorld) -> QdrantWorld:
        return named


class TestAnUnnamedVectorFoundByAnAlias(StoreContract):
    @pytest.fixture
    def world(self, server: str) -> Iterator[QdrantWorld]:
        world = QdrantWorld(server, named=False)
        yield world
        world.client.close()

    def test_readers_by_the_alias_find_whole_points_and_payload_indexes(self, world: QdrantWorld, store: Store) -> None:
        payloads = {point.id: point.payload for point in world.client.scroll("faq", limit=1000)[0]}
        store.make_target(TARGET)
        store.write(TARGET, items_to_write(scanned(store, ["id", "vector", "mark"])))
        store.switch(TARGET)
        found, _ = world.client.scroll("faq", limit=1000)
        assert {point.id: point.payload for point in found} == {point.id: payloads[point.id] for point in found}
        assert found
        assert world.client.get_collection("faq").payload_schema.keys() == {"label"}


def test_before_1_18_a_new_collection_holds_all_vectors_of_a_point() -> None:
    with qdrant_server(version="1.17.1") as url:
        world = QdrantWorld(url, named=True)
        items = user_items(world)
        world.insert(items)
        store = opened(world.connection, world.place)
        before = world.everything()
        store.make_target(TARGET)
        written = items_to_write(scanned(store))
        assert store.write(TARGET, written) == []
        assert store.describe().abilities.switching == "statement"
        assert TARGET.name in str(store.switch(TARGET).statement)
        for point in world.client.scroll(TARGET.name, limit=1000, with_vectors=True)[0]:
            assert isinstance(point.vector, dict)
            assert point.vector["other"] == [0.25, -3.0]
            np.testing.assert_allclose(point.vector["old"], vectors_by_id(written)[str(point.id)], atol=1e-6)
        assert world.everything() == before
        store.drop(TARGET)
        assert [each.name for each in world.client.get_collections().collections] == ["faq items"]
        assert world.client.get_aliases().aliases == []
        store.close()
        world.client.close()


def test_a_connection_may_ask_for_a_new_collection(named: QdrantWorld, server: str) -> None:
    store = opened(connection("faq", server, new_collection=True), named.place)
    store.make_target(TARGET)
    assert TARGET.name in [each.name for each in named.client.get_collections().collections]
    store.close()


def test_a_point_written_anew_by_its_user_is_out_of_the_target(named: QdrantWorld) -> None:
    items = user_items(named)
    named.insert(items)
    store = opened(named.connection, named.place)
    store.make_target(TARGET)
    before = scanned(store, ["id", "vector", "mark"])
    store.write(TARGET, items_to_write(before))
    named.insert(items[:1])
    assert marks_of(scanned(store, ["id", "mark"])) == marks_of(before)
    assert held(store).keys() == vectors_by_id(before).keys() - {items[0].id}
    store.close()


def test_what_the_kind_cannot_do_is_refused_by_name(named: QdrantWorld) -> None:
    params = models.VectorParams(
        size=4,
        distance=COSINE,
        multivector_config=models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM),
    )
    named.client.create_collection("late", vectors_config={"words": params})
    for place, said in (
        (Place("faq items"), "have names"),
        (Place("late", vector="words"), "multivector"),
        (Place("faq items", id="uuid", vector="old"), "leave out `id`"),
    ):
        with pytest.raises(WrongPlace, match=said):
            opened(named.connection, place)


def test_another_key_is_told_as_one(named: QdrantWorld, server: str) -> None:
    wrong = ConfiguredConnection("faq", "qdrant", {"url": server, "api_key": "another"})
    with pytest.raises(StoreAway, match=r"'faq'.*refuses the connection's credentials") as raised:
        opened(wrong, named.place)
    assert "another" not in str(raised.value)


def test_a_server_that_never_answers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        stalled = ConfiguredConnection("faq", "qdrant", {"url": url, "timeout_s": 1})
        with pytest.raises(StoreAway, match="did not answer within 1 seconds") as raised:
            opened(stalled, Place("faq"))
    assert url not in str(raised.value)
