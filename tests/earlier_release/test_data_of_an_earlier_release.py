"""A data directory that an earlier release wrote is taken over as it is: migrated, and answering as it did then.

`data.tar.xz` was written by that release: two galleries of 160 items, one upgraded from `old` to `new` by ridge
regression, ten of its items re-embedded, one deleted. `told.json` holds what the release answered at the end.
"""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from app.settings import Settings
from tests.serving import serving

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    return dict(json.loads((HERE / "told.json").read_text()))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("earlier") / "data"
    with tarfile.open(HERE / "data.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    with serving(Settings(data_dir=folder)) as started:
        yield started


def test_items_are_what_they_were(client: httpx.Client, told: dict[str, Any]) -> None:
    for gallery, items in told["items"].items():
        for item in items:
            assert client.get(f"/galleries/{gallery}/items/{item['id']}").json() == item
    assert client.get("/galleries/shop/items/item-159").status_code == 404
    assert [client.get(f"/galleries/{name}").json()["items"] for name in ("shop", "plain")] == [159, 160]


@pytest.mark.parametrize("which", ["shop/new", "shop/old", "plain/old"])
def test_searches_are_answered_as_they_were(client: httpx.Client, told: dict[str, Any], which: str) -> None:
    gallery, model = which.split("/")
    before = told["answers"][which]
    body = {"gallery": gallery, "model": model, "k": 10, "vectors": before["queries"]}
    now = client.post("/search", json=body).json()
    assert (now["generation"], now["route"]) == (before["generation"], before["route"])
    for found, was in zip(now["results"], before["results"], strict=True):
        assert [hit["id"] for hit in found] == [hit["id"] for hit in was]
        assert [hit["payload"] for hit in found] == [hit["payload"] for hit in was]
        np.testing.assert_allclose([hit["score"] for hit in found], [hit["score"] for hit in was], atol=1e-5)


def test_its_upgrade_can_be_rolled_back_and_switched_to_again(client: httpx.Client, told: dict[str, Any]) -> None:
    upgrade = told["upgrade"]
    assert client.get(f"/upgrades/{upgrade}").json()["state"] == told["upgrade_state"] == "active"
    assert client.get(f"/upgrades/{upgrade}/report", headers={"accept": "text/html"}).is_success
    assert client.post(f"/upgrades/{upgrade}/rollback").is_success
    query = {"gallery": "shop", "model": "old", "k": 1, "vectors": told["answers"]["shop/old"]["queries"][:1]}
    assert client.post("/search", json=query).json()["generation"] == 1
    assert client.post(f"/upgrades/{upgrade}/activate").is_success
    native = [one["native_items"] for one in client.get("/galleries/shop/generations").json()["items"]]
    assert native == [one["native_items"] for one in told["generations"]]


def test_it_takes_writes(client: httpx.Client) -> None:
    item = {"id": "late", "embedding": [1.0, 0, 0, 0, 0, 0], "label": "x"}
    assert client.put("/galleries/plain/items", params={"model": "old"}, json=[item]).json()["inserted"] == 1
    body = {"gallery": "plain", "model": "old", "k": 1, "vectors": [item["embedding"]]}
    assert client.post("/search", json=body).json()["results"][0][0]["id"] == "late"
