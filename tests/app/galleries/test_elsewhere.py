"""A gallery whose items lie in a table of the user's own: registered, shown, and what is refused of it."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from app.composition import compose
from app.settings import Settings
from tests.serving import serving
from tests.vector_table import TABLE, VECTOR, VectorTable, connections_file

PLACE = {"connection": "shop", "table": TABLE, "label": "topic", "text": "body"}
VECTORS = np.array([[1, 2, 3], [4, 5, 6]], np.float32)


@dataclass
class Shop:
    """A gateway with a model `old` of three dimensions, and the user's table of two items, `a` and `b/c`."""

    client: httpx.Client
    table: VectorTable

    def register(self, **more: Any) -> httpx.Response:
        body: dict[str, Any] = {"id": "faq", "model": "old", "store": PLACE, **more}
        return self.client.post("/galleries", json=body)


@pytest.fixture
def shop(settings: Settings, tmp_path: Path, postgres_url: str) -> Iterator[Shop]:
    table = VectorTable.of_sqlalchemy(postgres_url, 3)
    table.insert(["a", "b/c"], VECTORS, ["x", None])
    gone = "postgresql://user:secret-word@127.0.0.1:1/nowhere"
    connections = connections_file(tmp_path, shop=table.uri, gone=gone)
    with serving(settings.model_copy(update={"connections": connections})) as client:
        assert client.post("/models", json={"id": "old", "dimension": 3, "metric": "cosine"}).is_success
        yield Shop(client, table)


def test_registered_gallery_shows_its_place_and_what_its_store_can_do(shop: Shop) -> None:
    assert shop.register().status_code == 201
    assert shop.register().status_code == 200
    other = shop.register(store={**PLACE, "vector": VECTOR})
    assert (other.status_code, other.json()["differing"]) == (409, ["store"])
    shown = shop.client.get("/galleries/faq").json()
    assert {name: value for name, value in shown["store"].items() if value is not None} == PLACE
    assert shown["items"] == shown["store_state"]["rows"] == 2
    assert shown["store_state"]["abilities"]["switching"] in ("atomic", "statement")
    assert shop.table.uri not in str(shown)
    assert [one["items"] for one in shop.client.get("/galleries").json()["items"]] == [None]
    (generation,) = shop.client.get("/galleries/faq/generations").json()["items"]
    assert (generation["native_items"], generation["in_store"]) == (2, None)


@pytest.mark.parametrize(
    ("store", "status", "told"),
    [
        ({**PLACE, "connection": "elsewhere"}, 422, "there are: gone, shop"),
        ({**PLACE, "table": "papers"}, 422, TABLE),
        ({**PLACE, "vector": "body"}, 422, VECTOR),
        ({**PLACE, "connection": "gone"}, 503, "gone"),
        ({**PLACE, "collection": TABLE}, 422, "one of them alone"),
    ],
)
def test_place_that_is_not_there_is_refused_and_no_secret_told(
    shop: Shop, store: dict[str, str], status: int, told: str
) -> None:
    answer = shop.register(store=store)
    assert answer.status_code == status, answer.text
    assert told in answer.text
    assert "secret-word" not in answer.text
    assert "127.0.0.1" not in answer.text
    assert shop.client.get("/galleries").json()["items"] == []


def test_model_of_another_dimension_is_refused(shop: Shop) -> None:
    shop.client.post("/models", json={"id": "wide", "dimension": 4, "metric": "cosine"})
    answer = shop.register(model="wide")
    assert answer.status_code == 422
    assert "3 dimensions" in answer.json()["detail"]


def test_item_is_read_from_the_table_and_all_else_is_refused_by_naming_it(shop: Shop) -> None:
    shop.register()
    item = shop.client.get("/galleries/faq/items/b/c").json()
    assert (item["id"], item["label"], item["embeddings"]) == ("b/c", None, {"old": [4.0, 5.0, 6.0]})
    assert shop.client.get("/galleries/faq/items/z").status_code == 404
    items = {"items": [{"id": "a", "embedding": [1, 2, 3]}]}
    asked = [
        shop.client.put("/galleries/faq/items", params={"model": "old"}, json=items),
        shop.client.patch("/galleries/faq/items", json={"items": [{"id": "a", "label": "y"}]}),
        shop.client.patch("/galleries/faq/items/a", json={"label": "y"}),
        shop.client.put("/galleries/faq/side-information", params={"dimension": 2}, json={"items": []}),
        shop.client.post("/galleries/faq/items/delete", json={"ids": ["a"]}),
        shop.client.get("/galleries/faq/items"),
        shop.client.get("/galleries/faq/doctor"),
        shop.client.post("/search", json={"gallery": "faq", "model": "old", "vectors": [[1, 2, 3]]}),
    ]
    for answer in asked:
        assert answer.status_code == 409, answer.text
        assert answer.json()["type"].endswith("items-elsewhere")
        assert f"connection 'shop', '{TABLE}'" in answer.json()["detail"]
    assert shop.client.post("/galleries/faq/follow").status_code == 409
    assert shop.client.delete("/galleries/faq/generations/1").status_code == 422


def test_images_of_a_table_are_read_as_base64_and_only_where_they_are_asked_for(
    shop: Shop, settings: Settings, tmp_path: Path
) -> None:
    shop.table.execute(f"ALTER TABLE {TABLE} ADD COLUMN picture bytea")
    shop.table.execute(f"UPDATE {TABLE} SET picture = %s WHERE id = 'a'", [b"\x89PNG"])
    place = {"connection": "shop", "table": TABLE, "image": "picture"}
    assert shop.register(store=place).status_code == 201
    assert shop.register(id="mute", store={**PLACE, "image": None}).status_code == 201
    made = compose(settings.model_copy(update={"connections": tmp_path / "connections.toml"}))
    assert made.texts.of("faq", ["a", "b/c"], "picture", "image") == {"a": base64.b64encode(b"\x89PNG").decode()}
    assert made.texts.any_in("faq", "picture", "image")
    assert not made.texts.any_in("mute", "picture", "image")
    info = made.galleries.info("faq")
    assert "image" not in made.galleries.items(info).by_id(["a"]).column_names
    made.close()


def test_gallery_is_removed_and_the_table_is_not(shop: Shop, settings: Settings) -> None:
    shop.register()
    before = shop.table.originals()
    assert shop.client.delete("/galleries/faq").status_code == 204
    assert shop.table.originals() == before
    assert list(settings.galleries_dir.iterdir()) == []
    assert shop.register().status_code == 201


def test_store_that_does_not_answer_is_told_of_and_keeps_no_list_from_being_shown(shop: Shop) -> None:
    shop.register()
    shop.table.execute(f"ALTER TABLE {TABLE} RENAME TO papers")
    shown = shop.client.get("/galleries/faq").json()
    assert shown["items"] is None
    assert TABLE in shown["store_state"]["unavailable"]
    assert shop.client.get("/galleries").status_code == 200
