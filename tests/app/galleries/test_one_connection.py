"""No session is opened while another is held: one connection is enough for any request, however much it reads."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from app.composition import compose
from app.settings import Settings
from tests.app.galleries.upgraded import Upgraded
from tests.serving import serving

TRAINED = {"architecture": "small-resnet", "dimension": 8}


@pytest.fixture
def upgraded(each_settings: Settings) -> Iterator[Upgraded]:
    """On SQLite and on PostgreSQL in turn, over a single connection: whoever waits for a second waits in vain."""
    settings = each_settings.model_copy(update={"database_connections": 1})
    crosswalk = compose(settings)
    with serving(settings) as client:
        yield Upgraded(client, crosswalk)
    crosswalk.close()


def status(answer: httpx.Response) -> int:
    assert answer.status_code < 500, answer.text
    return answer.status_code


def test_an_upgrade_is_started_switched_and_rolled_back_over_one_connection(upgraded: Upgraded) -> None:
    client, upgrade = upgraded.client, upgraded.upgrade()
    assert upgraded.post(f"/upgrades/{upgrade}/rollback")["state"] == "rolled_back"
    assert upgraded.post(f"/upgrades/{upgrade}/activate")["state"] == "active"
    assert upgraded.post("/galleries/shop/activate", {"generation": 1})["active_generation"] == 1
    assert upgraded.post("/galleries/shop/activate", {"generation": 2})["active_generation"] == 2
    assert status(client.get("/galleries/shop/backfill")) == 200
    assert [gallery["active_model"] for gallery in client.get("/galleries").json()["items"]] == ["new"]
    assert status(client.post("/upgrades/unknown/activate")) == 404


def test_everything_that_checks_before_it_starts_does_so_over_one_connection(upgraded: Upgraded) -> None:
    client = upgraded.client
    rows = [{"id": "a", "image": "aGk=", "label": "x", "embedding.old": upgraded.old[0].tolist()}]
    assert status(client.put("/datasets/pairs/rows", json={"rows": rows})) == 200
    evaluation = {"dataset": "pairs", "queries": "new", "gallery_id": "shop"}
    assert status(client.post("/evaluations", json=evaluation)) == 409  # nothing leads from one to the other
    chain = {"kind": "chain", "dataset": "pairs", "models": ["old", "new"]}
    assert status(client.post("/evaluations", json=chain)) == 422
    encoder = {"id": "side", "dataset": "pairs"} | TRAINED
    assert status(client.post("/models/old/side-information", json=encoder)) == 202
    side = {"items": [{"id": upgraded.ids[0], "side_information": [1.0, 2.0]}]}
    assert status(client.put("/galleries/shop/side-information", params={"dimension": 2}, json=side)) == 200
    compatible = {"to": {"id": "trained"} | TRAINED, "strategy": "compatible", "dataset": "pairs"}
    assert status(client.post("/models/old/upgrade", json=compatible)) == 202
    unused = {"id": "unused", "dimension": 2, "metric": "l2"}
    assert status(client.post("/models", json=unused)) == 201
    assert status(client.delete("/models/unused")) == 204
    assert status(client.delete("/models/old")) == 409
    assert status(client.delete("/datasets/pairs")) == 409
