"""Upgrades of a gallery whose items lie in a table of the user's own, step by step, on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest

from app.artifacts.crossings import open_crossing
from app.artifacts.folder import UpgradeArtifacts
from app.settings import Settings
from models.portable import Space
from tests.e2e.user import PARQUET, SETTLED, checked, parquet, problem
from tests.embedding_server import EmbeddingServer, embedding_server
from tests.services import postgres_database
from tests.serving import serving
from tests.vector_table import TABLE, VECTOR, VectorTable, connections_file
from tests.waiting import wait_until
from tests.workers.stepping import WorkerInside
from tests.worlds import NEW, OLD, Floats, world

OF_OLD, OF_NEW = Space("old", OLD, "cosine"), Space("new", NEW, "cosine")
ITEMS = world(300).gallery
NEW_OF_TEXT = {f"body of {one}": vector for one, vector in zip(ITEMS.id, ITEMS.new, strict=True)}


class Upgrading:
    """A service with a worker, the user's table of 300 items, and pairs of 120 of them."""

    def __init__(self, client: httpx.Client, settings: Settings, table: VectorTable, embedder: EmbeddingServer) -> None:
        self.client, self.settings, self.table, self.embedder = client, settings, table, embedder
        self.items = ITEMS
        table.insert(self.items.id, self.items.old, self.items.label)
        for space in (OF_OLD, OF_NEW):
            body = {"id": space.model, "dimension": space.dimension, "metric": space.metric}
            checked(client.post("/models", json=body), 201)
        embedded = {"id": "embedded", "dimension": NEW, "metric": "cosine", "embedder": {"connection": "reader"}}
        checked(client.post("/models", json=embedded), 201)
        store = {"connection": "shop", "table": TABLE, "text": "body", "label": "topic", "max_writes_per_second": 10**5}
        checked(client.post("/galleries", json={"id": "faq", "model": "old", "store": store}), 201)
        checked(client.post("/datasets", json={"id": "pairs"}), 201)
        choose = partial(client.get, "/galleries/faq/sample", params={"n": 120})
        sample = wait_until(lambda: checked(choose()), "the sample to be chosen")["ids"]
        place = {one: number for number, one in enumerate(self.items.id)}
        new = self.items.new[[place[one] for one in sample]]
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(new.ravel()), NEW)
        rows = parquet(pa.table({"id": sample, "embedding.new": vectors}))
        checked(client.put("/datasets/pairs/rows", content=rows, headers={"content-type": PARQUET}))

    def upgraded(self, **more: Any) -> dict[str, Any]:
        """An upgrade, as it settles."""
        body = {"to": "new", "galleries": ["faq"], "method": "ridge"}
        body |= {} if "pairs" in more else {"dataset": "pairs"}
        gate = {"metric": "cmc@1", "require": {"at_least": 0.2}}
        upgrade = checked(self.client.post("/models/old/upgrade", json={**body, "gate": gate, **more}), 202)["id"]
        now: dict[str, Any] = {}

        def settled() -> bool:
            now.update(checked(self.client.get(f"/upgrades/{upgrade}")))
            return now["state"] in SETTLED

        wait_until(settled, "the upgrade to settle", last=lambda: now.get("state"))
        return now

    def post(self, url: str, body: object = None) -> Any:
        return checked(self.client.post(url, json=body))

    def h(self, upgrade: str, old: Floats) -> Floats:
        files = UpgradeArtifacts(self.settings.artifacts_dir, upgrade)
        target = checked(self.client.get(f"/upgrades/{upgrade}"))["to"]
        return open_crossing(files, OF_OLD, Space(target, NEW, "cosine")).apply(old, None, np.zeros(len(old), bool))

    def holds_h_of_all(self, upgrade: str) -> bool:
        """Whether the one column that was added has h(old) of every item of the table, and of no other."""
        (column,) = self.table.added()
        old, written = self.table.vectors(VECTOR), self.table.vectors(column)
        assert written.keys() == old.keys()
        expected = self.h(upgrade, np.stack(list(old.values())))
        np.testing.assert_allclose(np.stack([written[one] for one in old]), expected, rtol=1e-5, atol=1e-6)
        return True


@pytest.fixture(scope="module")
def scene(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgrading]:
    folder: Path = tmp_path_factory.mktemp("in-store")
    with postgres_database(postgres) as url, embedding_server(NEW_OF_TEXT.__getitem__) as embedder:
        table = VectorTable.of_sqlalchemy(url, OLD)
        connections = connections_file(folder, shop=table.uri)
        with connections.open("a") as more:
            more.write(embedder.connection("reader", batch=16))
        settings = Settings(data_dir=folder / "data", connections=connections, device="cpu")
        with serving(settings) as client, WorkerInside(settings):
            yield Upgrading(client, settings, table, embedder)


def test_new_vectors_come_beside_the_old_follow_the_table_and_go_when_told(scene: Upgrading) -> None:
    table, before = scene.table, scene.table.originals()
    upgrade = scene.upgraded(activate="manually")
    assert upgrade["state"] == "ready", upgrade["reason"]
    assert table.originals() == before
    assert scene.holds_h_of_all(upgrade["id"])
    assert upgrade["report"]["galleries"]["faq"]["basis"]["gallery_rows"] == 300

    table.insert(["late", scene.items.id[0]], scene.items.old[1:3])
    table.execute(f"DELETE FROM {TABLE} WHERE id = %s", [scene.items.id[5]])
    before = table.originals()
    active = scene.post(f"/upgrades/{upgrade['id']}/activate")
    assert active["state"] == "active"
    (column,) = table.added()
    assert f"{TABLE}_current" in active["statements"]["faq"]
    assert _same(table.vectors(VECTOR, of=f"{TABLE}_current"), table.vectors(column))
    assert scene.holds_h_of_all(upgrade["id"])
    gallery = checked(scene.client.get("/galleries/faq"))
    assert (gallery["active_generation"], gallery["active_model"], gallery["items"]) == (2, "new", 300)
    (_, made) = checked(scene.client.get("/galleries/faq/generations"))["items"]
    assert [made["in_store"]["target"]] == table.added()
    assert made["transformed_items"] == 300
    assert scene.client.delete("/galleries/faq/generations/2").status_code == 409

    table.insert(["later"], scene.items.old[3:4])
    before = table.originals()
    checked(scene.client.post("/galleries/faq/follow"), 202)
    wait_until(lambda: "later" in table.vectors(column), "the item to be followed")
    assert scene.holds_h_of_all(upgrade["id"])

    assert scene.post(f"/upgrades/{upgrade['id']}/rollback")["state"] == "rolled_back"
    assert checked(scene.client.get("/galleries/faq"))["active_generation"] == 1
    assert table.added() == [column]
    assert _same(table.vectors(VECTOR, of=f"{TABLE}_current"), table.vectors(VECTOR))
    assert scene.client.delete("/galleries/faq/generations/2").status_code == 204
    wait_until(lambda: table.added() == [], "the vectors to be dropped")
    again = scene.client.post(f"/upgrades/{upgrade['id']}/activate")
    assert (again.status_code, again.json()["state"]) == (409, "rolled_back")
    assert table.originals() == before


def test_cancelled_and_rejected_upgrades_leave_nothing_in_the_table(scene: Upgrading) -> None:
    before = scene.table.originals()
    rejected = scene.upgraded(gate={"metric": "cmc@1", "require": {"at_least": 1.0}}, fused=False)
    assert rejected["state"] == "rejected"
    assert scene.table.added() == []
    upgrade = scene.upgraded(activate="manually")
    assert len(scene.table.added()) == 1
    scene.post(f"/upgrades/{upgrade['id']}/cancel")
    wait_until(lambda: not scene.table.added(), "the vectors to be dropped")
    assert scene.table.originals() == before


def test_removing_a_rolled_back_upgrade_drops_its_vectors_and_switches_nobody(scene: Upgrading) -> None:
    upgrade = scene.upgraded()
    assert upgrade["state"] == "active", upgrade["reason"]
    assert scene.client.delete(f"/upgrades/{upgrade['id']}").status_code == 409
    refused = scene.client.post("/models/new/upgrade", json={"to": "old", "dataset": "pairs", "galleries": ["faq"]})
    assert refused.status_code == 422
    scene.post(f"/upgrades/{upgrade['id']}/rollback")
    checked(scene.client.delete(f"/upgrades/{upgrade['id']}"), 204)
    wait_until(lambda: not scene.table.added(), "the vectors to be dropped")


def test_one_command_embeds_texts_of_the_table_and_switches_its_readers(scene: Upgrading) -> None:
    table, before = scene.table, scene.table.originals()
    upgrade = scene.upgraded(to="embedded", pairs=100, budget={"items": 100})
    assert upgrade["state"] == "active", upgrade["reason"]
    texts = scene.embedder.charged
    assert upgrade["spent"]["items"] == len(texts) == len(set(texts)) == 100
    assert scene.holds_h_of_all(upgrade["id"])
    (column,) = table.added()
    assert _same(table.vectors(VECTOR, of=f"{TABLE}_current"), table.vectors(column))
    assert scene.post(f"/upgrades/{upgrade['id']}/rollback")["state"] == "rolled_back"
    assert _same(table.vectors(VECTOR, of=f"{TABLE}_current"), table.vectors(VECTOR))
    assert table.originals() == before


def test_texts_that_the_gallery_does_not_tell_of_are_asked_for_at_once(scene: Upgrading) -> None:
    store = {"connection": "shop", "table": TABLE}
    checked(scene.client.post("/galleries", json={"id": "untold", "model": "old", "store": store}), 201)
    body = {"to": "embedded", "galleries": ["untold"], "pairs": 100}
    refused = problem(scene.client.post("/models/old/upgrade", json=body), 422, "validation-error")
    assert "register a gallery whose `store` names its `text`" in refused["errors"][0]["message"]
    table, named = scene.table, {"id": "mute", "model": "old", "store": {**store, "text": "topic"}}
    table.execute(f"UPDATE {TABLE} SET topic = ' '")
    checked(scene.client.post("/galleries", json=named), 201)
    refused = problem(
        scene.client.post("/models/old/upgrade", json=body | {"galleries": ["mute"]}), 422, "validation-error"
    )
    assert "no text in 'topic' of their store" in refused["errors"][0]["message"]


def _same(found: dict[str, Floats], wanted: dict[str, Floats]) -> bool:
    return {one: vector.tobytes() for one, vector in found.items()} == {
        one: vector.tobytes() for one, vector in wanted.items()
    }
