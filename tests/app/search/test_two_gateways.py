"""Two gateways on the same data: what one has acknowledged, the very next search through the other goes by."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from fastapi import FastAPI

from app import short_calls
from app.artifacts.folder import UpgradeArtifacts
from app.composition import Crosswalk
from app.galleries import generations
from app.keys.access import KeyScope
from app.settings import Settings
from app.upgrades.states import UpgradeState
from models.portable import save_transformation
from tests.app.crossings import affine
from tests.app.keys.keyed import KeyedService
from tests.serving import serving
from tests.upgrade_rows import store_upgrade

Told = tuple[int, int | None, list[tuple[str, str | None]]]
"""Status, the generation that answered, and the ids and labels found."""


@dataclass
class TwoGateways:
    """One writes, the other searches, and has searched before, so that it keeps what it has resolved."""

    writer: httpx.Client
    searcher: httpx.Client
    crosswalk: Crosswalk

    def __post_init__(self) -> None:
        for model in ("old", "new"):
            self.post("/models", {"id": model, "dimension": 2, "metric": "l2"})
        self.post("/galleries", {"id": "g", "model": "old"})
        self.put("a", [1, 0], "first")

    def post(self, path: str, body: object = None) -> None:
        self.writer.post(path, json=body).raise_for_status()

    def put(self, item: str, vector: list[float], label: str) -> None:
        items = {"items": [{"id": item, "embedding": vector, "label": label}]}
        self.writer.put("/galleries/g/items?model=old", json=items).raise_for_status()

    def upgrade(self) -> None:
        """An upgrade of the gallery to `new`, which is ready: generation 2."""
        old, new = (self.crosswalk.models.space(model) for model in ("old", "new"))
        artifacts = UpgradeArtifacts(self.crosswalk.settings.artifacts_dir, "u")
        for path in (artifacts.chosen, artifacts.plain):
            save_transformation(affine(old, new), path)
        store_upgrade(self.crosswalk.database, "u", UpgradeState.READY, ["g"])
        with self.crosswalk.database.session() as session:
            number = generations.build(session, "g", new, "u")
            generations.published(session, "g", number, 1, "index")

    def found(self, model: str = "old") -> Told:
        """What both ways of searching tell, through the gateway that did not write."""
        one = self.searcher.get("/search", params={"gallery": "g", "model": model, "vector": "1,0"})
        many = self.searcher.post("/search", json={"gallery": "g", "model": model, "vectors": [[1, 0]]})
        told = one.json()
        assert many.status_code == one.status_code
        if one.is_success:
            assert many.json() == told | {"results": [told["results"]]}
        return one.status_code, told.get("generation"), [(hit["id"], hit["label"]) for hit in told.get("results", [])]


@pytest.fixture(params=["threads", "event loop"])
def gateways(
    request: pytest.FixtureRequest, each_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TwoGateways]:
    """Answered by threads, or by the event loop wherever nothing has to be waited for."""
    at_most = 60.0 if request.param == "event loop" else 0.0
    monkeypatch.setattr(short_calls, "_SECONDS", at_most)
    monkeypatch.setattr(short_calls, "_SECONDS_FOR_EACH", at_most)
    applications: list[FastAPI] = []
    with serving(each_settings, more=applications.append) as writer, serving(each_settings) as searcher:
        yield TwoGateways(writer, searcher, applications[0].state.crosswalk)


def test_items_put_changed_and_deleted(gateways: TwoGateways) -> None:
    assert gateways.found() == (200, 1, [("a", "first")])
    for number in range(5):
        gateways.put("a", [1, 0], f"again-{number}")
        assert gateways.found() == (200, 1, [("a", f"again-{number}")])
        gateways.put(f"b{number}", [0, 1], "new")
        assert gateways.found()[2][1:] == [(f"b{number}", "new")]
        gateways.post("/galleries/g/items/delete", {"ids": [f"b{number}"]})
        assert gateways.found()[2] == [("a", f"again-{number}")]


def test_activation_and_rollback(gateways: TwoGateways) -> None:
    gateways.upgrade()
    assert gateways.found("new")[:2] == (200, 1)
    for _ in range(3):
        gateways.post("/galleries/g/activate", {"generation": 2})
        assert gateways.found("new")[:2] == (200, 2)
        gateways.post("/upgrades/u/rollback")
        assert gateways.found("new")[0] == 409
        gateways.post("/upgrades/u/activate")
        assert gateways.found("new")[:2] == (200, 2)
        gateways.post("/galleries/g/activate", {"generation": 1})
        assert gateways.found("new")[0] == 409


def test_a_gallery_deleted_and_registered_anew_under_its_name(gateways: TwoGateways) -> None:
    for model in ("new", "old", "new"):
        assert gateways.found("new" if model == "old" else "old")[0] == 200
        gateways.writer.delete("/galleries/g").raise_for_status()
        assert gateways.found()[0] == 404
        gateways.post("/galleries", {"id": "g", "model": model})
        assert gateways.found(model) == (200, 1, [])
        assert gateways.found("old" if model == "new" else "new")[0] == 409


def test_a_model_deleted_and_registered_anew_with_another_dimension(gateways: TwoGateways) -> None:
    gateways.writer.delete("/galleries/g").raise_for_status()
    for dimension in (3, 2, 3):
        gateways.writer.delete("/models/old").raise_for_status()
        gateways.post("/models", {"id": "old", "dimension": dimension, "metric": "l2"})
        gateways.post("/galleries", {"id": "g", "model": "old"})
        query = {"gallery": "g", "model": "old", "vector": ",".join(["1"] * dimension)}
        assert gateways.searcher.get("/search", params=query).status_code == 200
        gateways.writer.delete("/galleries/g").raise_for_status()


def test_what_was_resolved_for_one_key_is_not_told_to_a_key_of_other_galleries(gateways: TwoGateways) -> None:
    service = KeyedService(gateways.searcher, gateways.crosswalk.keys)
    every = service.key(KeyScope.SEARCH)
    other = service.key(KeyScope.SEARCH, galleries=["other"])
    service.knows(other)
    for _ in range(2):
        query = "/search?gallery=g&model=old&vector=1,0"
        assert service.ask(every, "GET", query).status_code == 200
        assert service.ask(other, "GET", query).status_code == 403


def test_items_that_begin_and_cease_to_be_what_a_filter_lets_through(gateways: TwoGateways) -> None:
    for number in range(5):
        wanted = {"label": {"in": [f"new-{number}", "always"]}}
        query = {"gallery": "g", "model": "old", "vector": "1,0", "filter": json.dumps(wanted)}

        def found(query: dict[str, str] = query) -> list[str]:
            results = gateways.searcher.get("/search", params=query).raise_for_status().json()["results"]
            return [hit["id"] for hit in results]

        assert found() == []
        gateways.put("a", [1, 0], f"new-{number}")
        assert found() == ["a"]
        gateways.put("b", [0, 1], "always")
        assert found() == ["a", "b"]
        gateways.put("a", [1, 0], "other")
        assert found() == ["b"]
        gateways.post("/galleries/g/items/delete", {"ids": ["b"]})
        assert found() == []
