"""Galleries in Elasticsearch keep the protocol, against noida-db, which speaks it."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from elasticsearch import Elasticsearch

from app.stores.protocol import CannotSwitch, Place, Target, WrongPlace
from tests.app.stores.contract import (
    TARGET,
    StoreContract,
    assert_same,
    held,
    items_to_write,
    marks_of,
    scanned,
    user_items,
    vectors_by_id,
)
from tests.app.stores.elasticsearch_world import ElasticsearchWorld
from tests.app.stores.world import opened
from tests.noida_server import noida_server


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with noida_server() as url:
        yield url


@pytest.fixture
def index(server: str) -> Iterator[ElasticsearchWorld]:
    world = ElasticsearchWorld(server)
    yield world
    world.client.close()


class TestAFieldOfVectors(StoreContract):
    @pytest.fixture
    def world(self, index: ElasticsearchWorld) -> ElasticsearchWorld:
        return index


def test_a_document_that_changes_under_a_write_is_looked_at_again(
    index: ElasticsearchWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = user_items(index)
    index.insert(items)
    store = opened(index.connection, index.place)
    store.make_target(TARGET)
    written = items_to_write(scanned(store, ["id", "vector", "mark"]))
    send, sent = Elasticsearch.bulk, 0

    def change_first(client: Elasticsearch, **named: Any) -> Any:
        nonlocal sent
        sent += 1
        if sent == 1:
            lines: list[Any] = [{"update": {"_id": items[0].id}}, {"doc": {"text": "another text"}}]
            lines += [{"update": {"_id": items[1].id}}, {"doc": {"model": {"old": [1.0] * index.dimension}}}]
            send(index.client, index=index.index, operations=[*lines, {"delete": {"_id": items[2].id}}])
        return send(client, **named)

    with monkeypatch.context() as patched:
        patched.setattr(Elasticsearch, "bulk", change_first)
        assert sorted(store.write(TARGET, written)) == sorted([items[1].id, items[2].id])
    assert sent == 2
    assert_same(
        held(store),
        {id: vector for id, vector in vectors_by_id(written).items() if id not in (items[1].id, items[2].id)},
        tolerance=0,
    )
    assert b"another text" in index.everything()[items[0].id]
    store.close()


def test_a_document_that_is_refused_for_what_it_holds_is_no_outage(index: ElasticsearchWorld) -> None:
    index.insert(user_items(index))
    store = opened(index.connection, index.place)
    store.make_target(TARGET)
    longer = replace(TARGET, dimension=TARGET.dimension + 1)
    written = items_to_write(scanned(store, ["id", "vector", "mark"]), target=longer)
    with pytest.raises(WrongPlace, match="refused to write the document"):
        store.write(longer, written)
    store.close()


def test_a_document_indexed_anew_by_its_user_is_out_of_the_target(index: ElasticsearchWorld) -> None:
    items = user_items(index)
    index.insert(items)
    store = opened(index.connection, index.place)
    store.make_target(TARGET)
    before = scanned(store, ["id", "vector", "mark"])
    store.write(TARGET, items_to_write(before))
    index.insert(items[:1])
    assert marks_of(scanned(store, ["id", "mark"])) == marks_of(before)
    assert held(store).keys() == vectors_by_id(before).keys() - {items[0].id}
    store.close()


def test_a_target_is_indexed_as_the_old_vectors_are(index: ElasticsearchWorld) -> None:
    options = {"type": "hnsw", "m": 24, "ef_construction": 90}
    old = {"type": "dense_vector", "dims": 4, "similarity": "l2_norm", "index": True, "index_options": options}
    index.client.indices.create(index="other", mappings={"properties": {"old": old}})
    store = opened(index.connection, Place("other", vector="old"))
    assert store.describe().metric == "l2"
    store.make_target(Target("new", 6, "ip"))
    made = index.client.indices.get_mapping(index="other")["other"]["mappings"]["properties"]["new"]
    assert (made["dims"], made["similarity"], made["index_options"]) == (6, "max_inner_product", options)
    store.close()


def test_what_elasticsearch_cannot_do_is_refused_by_name(index: ElasticsearchWorld) -> None:
    vector = {"old": {"type": "dense_vector", "dims": 4}}
    index.client.indices.create(index="second", aliases={"faq": {}}, mappings={"properties": vector})
    routed = {"_routing": {"required": True}, "properties": vector}
    index.client.indices.create(index="routed", mappings=routed)
    bits = {"old": {"type": "dense_vector", "dims": 64, "element_type": "bit"}}
    index.client.indices.create(index="bits", mappings={"properties": bits})
    for place, said in (
        (Place("faq", vector="old"), "leads to 2 indexes"),
        (Place("second", id="number", vector="old"), "leave out `id`"),
        (Place("second"), r"`vector` has to name.*old"),
        (Place("routed", vector="old"), "routed by keys"),
        (Place("bits", vector="old"), "no floating-point"),
    ):
        with pytest.raises(WrongPlace, match=said):
            opened(index.connection, place)
    index.client.index(index="second", id="one", routing="shop", document={"old": [1, 2, 3, 4]}, refresh=True)
    store = opened(index.connection, Place("second", vector="old"))
    with pytest.raises(WrongPlace, match="'one' is routed"):
        store.by_id(["one"], ["id"])
    with pytest.raises(CannotSwitch):
        store.drop(Target("old", 4, "cosine"))
    store.close()
