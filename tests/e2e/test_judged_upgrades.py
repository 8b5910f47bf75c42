"""Upgrades that judged queries prove: people's questions, as either model embeds them, and the items that answer."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tests.e2e.conftest import NewScene
from tests.e2e.user import Scene, checked, npz, problem
from tests.worlds import Floats

NPZ = "application/x-npz"


def put_queries(scene: Scene, dataset: str, new: str, vectors: Floats, many: int | None = None) -> None:
    """The world's queries, with the old model's vectors and these; the items of its class answer a query."""
    world = scene.world
    of_class: dict[str, list[str]] = {}
    for id, label in zip(world.gallery.id, world.gallery.label, strict=True):
        of_class.setdefault(label, []).append(id)
    relevant = [json.dumps(of_class[label]) for label in world.queries.label]
    columns = {f"embedding.{scene.old}": world.queries.old[:many], f"embedding.{new}": vectors[:many]}
    body = npz(id=world.queries.id[:many], relevant=relevant[:many], **columns)
    checked(scene.client.put(f"/datasets/{dataset}/queries", content=body, headers={"content-type": NPZ}))


def proof(scene: Scene, upgrade: dict[str, Any]) -> dict[str, Any]:
    return dict(upgrade["report"]["galleries"][scene.gallery])


@pytest.fixture(scope="module")
def judged(scene: NewScene) -> Scene:
    filled = scene().filled()
    put_queries(filled, filled.dataset, filled.new, filled.world.queries.new)
    return filled


def test_judged_queries_decide_and_the_report_says_what_they_rest_on(judged: Scene) -> None:
    upgrade = judged.reaches(judged.start(gate={"metric": "ndcg@10"}), "active")
    report = proof(judged, upgrade)
    assert report["basis"]["judged_by"] == "queries"
    assert report["metrics"][0]["metric"] == "ndcg@10"
    assert report["metrics"][0]["difference"]["low"] > 0
    assert "ndcg@10" in report["reason"]
    counts = report["judged"]
    assert counts["queries_counted"] == len(judged.world.queries)
    assert 0 < counts["of_pairs"] < counts["relevant"] == counts["judgements"]
    assert report["provisional"] is False
    page = judged.client.get(f"/upgrades/{upgrade['id']}/report", headers={"accept": "text/html"})
    assert f"Judged by {len(judged.world.queries)} of" in page.text
    evaluation = judged.post(
        "/evaluations",
        {
            "kind": "judged",
            "dataset": judged.dataset,
            "queries": judged.new,
            "gallery_id": judged.gallery,
            "gallery": judged.old,
            "metrics": ["ndcg@10"],
        },
    )
    assert evaluation["request"]["via"] == upgrade["id"]


def test_an_evaluation_set_of_queries_alone_rejects_those_embedded_otherwise(scene: NewScene) -> None:
    """As a model's without the prefix that it wants: the rows are what they were, and labels would see nothing."""
    filled = scene().filled()
    wrong = f"{filled.dataset}-wrong"
    filled.post("/datasets", {"id": wrong}, 201)
    put_queries(filled, wrong, filled.new, np.roll(filled.world.queries.new, 1, axis=1))
    rejected = filled.reaches(filled.start(evaluation=wrong, gate={"metric": "ndcg@10"}), "rejected")
    report = proof(filled, rejected)
    assert report["metrics"][0]["difference"]["high"] < 0
    assert [rung["name"] for rung in report["advice"] if rung["recommended"]] == ["stay"]
    assert filled.active() == 1


def test_gate_that_only_judged_queries_can_tell_is_refused_without_them(scene: NewScene) -> None:
    filled = scene().filled()
    body = {"to": filled.new, "dataset": filled.dataset, "gate": {"metric": "mrr@10"}}
    refused = problem(filled.client.post(f"/models/{filled.old}/upgrade", json=body), 422, "validation-error")
    assert [error["pointer"] for error in refused["errors"]] == ["/gate/metric"]
    assert f"PUT /datasets/{filled.dataset}/queries" in refused["detail"]


def test_without_judged_queries_a_model_that_embeds_them_apart_has_provisional_figures(scene: NewScene) -> None:
    filled = scene().filled()
    apart, world = f"{filled.new}-apart", filled.world
    new = {"id": apart, "dimension": world.gallery.new.shape[1], "metric": "cosine", "queries": "apart"}
    assert filled.post("/models", new, 201)["queries"] == "apart"
    assert filled.get(f"/models/{filled.new}")["queries"] == "same"
    problem(filled.client.post("/models", json={**new, "queries": "same"}), 409, "id-taken")
    pairs = world.pairs(200)
    body = npz(id=pairs.id, label=pairs.label, **{f"embedding.{apart}": pairs.new})
    checked(filled.client.put(f"/datasets/{filled.dataset}/rows", content=body, headers={"content-type": NPZ}))
    put_queries(filled, filled.dataset, apart, world.queries.new, many=5)
    upgrade = filled.reaches(filled.start(to=apart, dry_run=True), "evaluated")
    report = proof(filled, upgrade)
    assert report["provisional"] is True
    assert f"PUT /datasets/{filled.dataset}/queries" in report["provisional_reason"]
    assert report["provisional_reason"] in upgrade["reason"]
    assert report["recommendation"]["sentence"].startswith("Provisional: ")
    assert report["provisional_reason"] in report["recommendation"]["rests_on"]
    assert any("5 judged queries" in note for note in report["notes"])
    page = filled.client.get(f"/upgrades/{upgrade['id']}/report", headers={"accept": "text/html"})
    assert "Advice (provisional)" in page.text
    put_queries(filled, filled.dataset, apart, world.queries.new)
    report = proof(filled, filled.reaches(filled.start(to=apart, dry_run=True), "evaluated"))
    assert report["provisional"] is False
    assert report["metrics"][0]["metric"] == "hit_rate@1"
