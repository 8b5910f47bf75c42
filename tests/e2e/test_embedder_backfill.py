"""A gallery backfilled by the new model's embedder: the most useful items first, as far as a budget goes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.e2e.embedding_town import PREFIX, TEXT_OF, Town, embedding_town
from tests.e2e.user import Scene, problem
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with embedding_town(tmp_path_factory.mktemp("town"), traffic_seconds=0.2) as town:
        yield town


@pytest.fixture(scope="module")
def scene(town: Town) -> Scene:
    """A gallery that was upgraded, and holds transformed vectors alone."""
    scene = town.scene(connection="priced")
    scene.reaches(town.start(scene, fused=False), "active")
    return scene


def run(scene: Scene, **body: Any) -> str:
    return str(scene.post(f"/galleries/{scene.gallery}/backfill", body, 202)["id"])


def ends(scene: Scene, run: str) -> dict[str, Any]:
    seen: list[dict[str, Any]] = []

    def ended() -> bool:
        seen[:] = [scene.get(f"/galleries/{scene.gallery}/backfills/{run}")]
        return seen[0]["state"] not in ("queued", "running")

    wait_until(ended, f"backfill {run} to end", last=lambda: seen)
    return seen[0]


def test_backfill_embeds_the_most_useful_first_stops_at_the_budget_and_goes_on_to_the_end(
    town: Town, scene: Scene
) -> None:
    url = f"/galleries/{scene.gallery}/backfill"
    (seen,) = scene.search(scene.world.queries.new[:1], scene.new, 20).ids
    for _ in range(3):
        scene.search(np.repeat(scene.world.queries.new[:1], 200, axis=0), scene.new, 20)
    waiting = {one["id"] for one in scene.get(url, limit=10_000)["next"]}
    often = waiting.intersection(seen)
    assert often
    wait_until(
        lambda: {one["id"] for one in scene.get(url, limit=len(often), order="traffic")["next"]} == often,
        "what was searched for to be the most useful",
    )
    before = scene.get(url, limit=100)
    useful = [one["id"] for one in before["next"]]
    town.server.received.clear()
    first = ends(scene, run(scene, budget={"money": 1.0}))
    assert first["state"] == "done", first["reason"]
    assert "The budget is spent" in first["reason"]
    assert (first["spent"]["items"], first["spent"]["money"]) == (100, pytest.approx(1.0))
    paid = set(town.server.charged)
    assert len(town.server.charged) == 100
    kept = {PREFIX + TEXT_OF[item] for item in useful}
    assert paid <= kept | {PREFIX + text for text in TEXT_OF.values()}
    after = scene.get(url, limit=1)
    assert after["native_items"] >= before["native_items"] + 100
    assert not {one["id"] for one in scene.get(url, limit=10_000)["next"]} & set(useful)

    changed, gone = [one["id"] for one in scene.get(url, limit=2, order="random")["next"]]
    payload = json.dumps({"text": "  ", "page": 2})
    answer = scene.client.patch(f"/galleries/{scene.gallery}/items/{changed}", json={"payload": json.loads(payload)})
    assert answer.is_success
    scene.delete([gone])
    rest = ends(scene, run(scene))
    assert rest["state"] == "done", rest["reason"]
    assert "1 have no text" in rest["reason"]
    assert scene.get(url)["native_items"] == len(TEXT_OF) - 2
    assert sorted(town.server.charged) == sorted(set(town.server.charged))  # none is paid for twice
    item = scene.item(useful[0])
    place = scene.world.gallery.id.index(useful[0])
    np.testing.assert_allclose(item["embeddings"][scene.new], scene.world.gallery.new[place], rtol=1e-6)
    assert scene.client.get(f"/galleries/{scene.gallery}/items/{gone}").status_code == 404


def test_backfill_that_is_stopped_or_fails_keeps_what_was_embedded_and_another_goes_on(town: Town) -> None:
    scene = town.scene(model="of-its-own")
    scene.reaches(town.start(scene, fused=False), "active")
    town.server.received.clear()
    town.server.then(*[None] * 3, "dimension")
    failed = ends(scene, run(scene))
    assert failed["state"] == "failed"
    assert "15 dimensions" in failed["reason"]
    paid = {text for one in town.server.received if one.fault is None for text in one.texts}
    town.server.received.clear()
    assert ends(scene, run(scene))["state"] == "done"
    assert not paid & set(town.server.charged)
    assert scene.get(f"/galleries/{scene.gallery}/backfill")["complete"]


def test_backfill_that_cannot_be_is_refused_at_once(town: Town) -> None:
    scene = town.scene()
    url = f"/galleries/{scene.gallery}/backfill"
    assert "Nothing to backfill" in problem(scene.client.post(url, json={}), 409, "wrong-state")["detail"]
    problem(scene.client.post(url, json={"budget": {}}), 422, "validation-error")
    problem(scene.client.get(f"/galleries/{scene.gallery}/backfills/bf-0"), 404, "not-found")
