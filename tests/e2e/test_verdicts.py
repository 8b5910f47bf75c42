"""How upgrades end that change nothing: rejected, reported only, cancelled. And what reports and events say."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import NewScene, Running
from tests.e2e.user import Scene, checked, problem
from tests.worlds import world


@dataclass(frozen=True)
class Ended:
    """Upgrades that change nothing. Whoever looks at one waits for it first.

    worse: to a worse model, which is not to be fused with the old; half: learned from half the classes of a world in
    which that does not carry over; apart: a dry run, learned from pairs that are no items of the gallery.
    """

    worse: Running
    half: Running
    apart: Running


@pytest.fixture(scope="session")
def ended(scene: NewScene) -> Ended:
    worse, half, apart = scene(), scene(world(classes=8, unrelated=True)), scene()
    worse.put(worse.world.gallery)
    worse.put_pairs(worse.world.pairs(200), worse.dull)
    classes = sorted(set(half.world.gallery.label))
    half.filled(half.world.gallery.of_classes(set(classes[: len(classes) // 2])))
    apart.put(apart.world.gallery.take(slice(0, 300)))
    apart.put_pairs(apart.world.gallery.take(slice(300, 600)), apart.old, apart.new)
    return Ended(
        worse=Running.of(worse, to=worse.dull, fused=False),
        half=Running.of(half),
        apart=Running.of(apart, dry_run=True, method="orthogonal"),
    )


def unchanged(running: Running) -> bool:
    scene = running.scene
    return scene.ask(scene.old) == running.before and list(scene.generations()) == [1] and scene.active() == 1


def test_new_model_that_is_worse_is_rejected_and_its_gallery_is_untouched(ended: Ended) -> None:
    scene, upgrade = ended.worse.scene, ended.worse.id
    rejected = scene.reaches(upgrade, "rejected")
    assert "no better than the old" in rejected["reason"]
    assert _recommended(rejected, scene) == ["stay"]
    assert unchanged(ended.worse)


def test_pairs_of_half_the_classes_are_not_judged_by_themselves(ended: Ended) -> None:
    scene, upgrade = ended.half.scene, ended.half.id
    rejected = scene.reaches(upgrade, "rejected")
    proof = rejected["report"]["galleries"][scene.gallery]
    assert _recommended(rejected, scene) == ["stay"]
    assert [one["share"] for one in proof["strata"]] == [0.5, 0.5]
    covered, uncovered = (one["cross"]["mean"] - one["old_old"]["mean"] for one in proof["strata"])
    assert covered > 0 > uncovered
    assert "Add about" in rejected["reason"]
    assert unchanged(ended.half)


def test_rejected_crossing_answers_nothing_and_no_route_names_the_call_to_make(ended: Ended) -> None:
    scene, upgrade = ended.worse.scene, ended.worse.id
    scene.reaches(upgrade, "rejected")
    query = {"gallery": scene.gallery, "model": scene.dull, "vectors": scene.world.queries.dull[:1].tolist()}
    refused = problem(scene.client.post("/search", json=query), 409, "no-route")
    assert f"POST /models/{scene.old}/upgrade" in refused["detail"]


def test_rejected_upgrade_cannot_be_activated(ended: Ended) -> None:
    scene, upgrade = ended.worse.scene, ended.worse.id
    scene.reaches(upgrade, "rejected")
    refused = problem(scene.client.post(f"/upgrades/{upgrade}/activate"), 409, "wrong-state")
    assert refused["state"] == "rejected"


def test_dry_run_ends_evaluated_with_a_report_and_touches_nothing(ended: Ended) -> None:
    scene, upgrade = ended.apart.scene, ended.apart.id
    evaluated = scene.reaches(upgrade, "evaluated")
    assert evaluated["report"]["learned"]["method"] == "orthogonal"
    assert evaluated["report"]["learned"]["pairs"] == 300
    assert evaluated["report"]["galleries"][scene.gallery]["accepted"]
    assert evaluated["reason"]
    assert unchanged(ended.apart)
    query = {"gallery": scene.gallery, "model": scene.new, "vectors": scene.world.queries.new[:1].tolist()}
    problem(scene.client.post("/search", json=query), 409, "no-route")


def test_report_is_json_or_a_page(ended: Ended) -> None:
    scene, upgrade = ended.apart.scene, ended.apart.id
    evaluated = scene.reaches(upgrade, "evaluated")
    assert scene.get(f"/upgrades/{upgrade}/report") == evaluated["report"]
    page = scene.client.get(f"/upgrades/{upgrade}/report", headers={"accept": "text/html"})
    assert page.headers["content-type"].startswith("text/html")
    assert "<svg" in page.text
    assert scene.gallery in page.text


def test_events_end_with_the_state_that_the_upgrade_settled_in(ended: Ended) -> None:
    scene, upgrade = ended.apart.scene, ended.apart.id
    with scene.client.stream("GET", f"/upgrades/{upgrade}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [json.loads(line[5:]) for line in answer.iter_lines() if line.startswith("data:")]
    assert events[-1] == scene.upgrade(upgrade)
    assert events[-1]["state"] == "evaluated"


def test_finished_upgrades_are_listed_oldest_first_a_page_at_a_time(ended: Ended) -> None:
    scene, upgrade = ended.worse.scene, ended.worse.id
    ids = [upgrade, ended.half.id, ended.apart.id]
    listed = scene.listed("/upgrades")
    assert [one for one in listed if one in ids] == ids
    assert listed == sorted(set(listed))


@pytest.mark.parametrize("service", ["embedded"], indirect=True, scope="session")
def test_upgrade_is_cancelled_midway_and_another_can_start(scene: NewScene) -> None:
    s = scene().filled()
    before = s.ask(s.old)
    upgrade = s.start(activate="manually")  # so that it can be cancelled however far it has come
    refused = _start(s)
    busy = problem(refused, 409, "conflict")
    assert busy["upgrade"] == upgrade
    problem(s.client.delete(f"/galleries/{s.gallery}"), 409, "in-use")
    problem(s.client.delete(f"/datasets/{s.dataset}"), 409, "in-use")
    problem(s.client.delete(f"/models/{s.new}"), 409, "in-use")
    s.reaches(upgrade, "training", "evaluating", "transforming", "indexing", "ready")
    assert s.post(f"/upgrades/{upgrade}/cancel")["state"] == "cancelled"
    assert s.post(f"/upgrades/{upgrade}/cancel")["state"] == "cancelled"
    assert list(s.generations()) == [1]
    assert s.ask(s.old) == before
    second = checked(_start(s), 202)
    s.post(f"/upgrades/{second['id']}/cancel")


def test_upgrade_without_enough_pairs_is_refused_with_a_reason_to_act_on(scene: NewScene) -> None:
    s = scene()
    s.put(s.world.gallery)
    s.put_pairs(s.world.pairs(5))
    assert "At least 8 pairs are needed" in problem(_start(s), 422, "validation-error")["detail"]
    assert list(s.generations()) == [1]


def test_upgrade_of_what_is_not_there_is_refused(scene: NewScene) -> None:
    s = scene()
    s.put_pairs(s.world.pairs(20))
    problem(_start(s, model="nobody"), 404, "not-found")
    missing: list[dict[str, Any]] = [
        {"to": "nobody"},
        {"dataset": "nothing"},
        {"galleries": ["nowhere"]},
        {"evaluation": "nothing"},
    ]
    for wrong in missing:
        problem(_start(s, **wrong), 404, "not-found")
    unfit: list[dict[str, Any]] = [{"to": s.old}, {"to": s.newest}, {"method": "x"}, {"gate": {"metric": "luck"}}]
    for wrong in unfit:
        problem(_start(s, **wrong), 422, "validation-error")
    problem(_start(s, model=s.newest, to=s.new), 422, "validation-error")


def test_idempotency_key_starts_an_upgrade_once(scene: NewScene) -> None:
    s = scene()
    s.put(s.world.gallery)
    s.put_pairs(s.world.pairs(20))
    first, second = (_start(s, key=f"{s.gallery}-key") for _ in range(2))
    assert checked(first, 202) == checked(second, 202)
    assert first.headers["location"] == second.headers["location"] == f"/upgrades/{first.json()['id']}"
    problem(_start(s, key=f"{s.gallery}-key", method="orthogonal"), 422, "idempotency-key-reused")
    assert [one["id"] for one in s.get("/upgrades", limit=1000)["items"]].count(first.json()["id"]) == 1


def _start(scene: Scene, model: str | None = None, key: str | None = None, **more: object) -> httpx.Response:
    body = {"to": scene.new, "method": "ridge", "dataset": scene.dataset, "galleries": [scene.gallery], **more}
    headers = {"idempotency-key": key} if key else {}
    return scene.client.post(f"/models/{model or scene.old}/upgrade", json=body, headers=headers)


def _recommended(upgrade: dict[str, object], scene: Scene) -> list[str]:
    report = upgrade["report"]
    assert isinstance(report, dict)
    return [rung["name"] for rung in report["galleries"][scene.gallery]["advice"] if rung["recommended"]]
