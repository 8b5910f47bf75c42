"""A backfill from the first item to the last, while somebody else searches; and what comes after the last."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import httpx
import numpy as np
import pytest

from tests.e2e.conftest import NewScene, ServiceInside
from tests.e2e.user import NPZ, Answer, Scene, checked, cosine_ranking, npz, problem
from tests.waiting import PATIENCE_SECONDS, wait_until
from tests.worlds import world

ENOUGH = 20
"""Searches, of which more than so many are made meanwhile."""
SHARES = (0.0, 0.1, 0.5, 1.0)
LOOSE = {"metric": "cmc@1", "require": {"at_least": 0.3}}


@dataclass(frozen=True)
class Stage:
    """The gallery once a share of its items was backfilled."""

    share: float
    backfill: dict[str, Any]
    answer: Answer
    right: float


@dataclass(frozen=True)
class BackfillJourney:
    """A gallery backfilled step by step, in the order that the service asks for, and what came after.

    routes: by which every search of the other client was answered. before: a backfill asked for before the switch.
    refused: an item of the old model after the end."""

    scene: Scene
    upgrade: dict[str, Any]
    before: httpx.Response
    stages: list[Stage]
    routes: list[str]
    generations: dict[int, dict[str, Any]]
    refused: httpx.Response
    back: Answer
    written_when_back: dict[int, dict[str, Any]]
    again: Answer
    asked_again: dict[str, Any]


@pytest.fixture(scope="session")
def journey(scene: NewScene, service: ServiceInside) -> BackfillJourney:
    return _journey(scene(world(items=400, queries=200, classes=20)), service)


def _journey(s: Scene, service: ServiceInside) -> BackfillJourney:
    s.filled(s.world.pairs(120))
    before = s.client.get(f"/galleries/{s.gallery}/backfill")
    upgrade = s.reaches(s.start(method="orthogonal", gate=LOOSE), "active")
    stages: list[Stage] = []
    routes: list[str] = []
    done = threading.Event()
    with httpx.Client(base_url=service.url, timeout=PATIENCE_SECONDS) as client, ThreadPoolExecutor(1) as pool:
        searching = pool.submit(_search_on, s, client, done, routes)
        try:
            stages.extend(_stage(s, share) for share in SHARES)
            wait_until(lambda: len(routes) > ENOUGH or searching.done(), "searches enough to say anything")
        finally:
            done.set()
        searching.result(PATIENCE_SECONDS)
    generations = s.generations()
    first = s.world.gallery.take(slice(0, 1))
    url = f"/galleries/{s.gallery}/items"
    body, headers = npz(id=first.id, embedding=first.old), {"content-type": NPZ}
    refused = s.client.put(url, params={"model": s.old}, content=body, headers=headers)
    s.post(f"/upgrades/{upgrade['id']}/rollback")
    back = s.ask(s.old)
    s.put_body(npz(id=first.id, embedding=first.old + 1), NPZ)  # the item is another one now
    written_when_back = s.generations()
    s.post(f"/upgrades/{upgrade['id']}/activate")
    return BackfillJourney(
        scene=s,
        upgrade=upgrade,
        before=before,
        stages=stages,
        routes=routes,
        generations=generations,
        refused=refused,
        back=back,
        written_when_back=written_when_back,
        again=s.ask(s.new),
        asked_again=_asked(s),
    )


def _asked(s: Scene, **query: Any) -> dict[str, Any]:
    return dict(s.get(f"/galleries/{s.gallery}/backfill", **{"limit": 10_000, **query}))


def _stage(s: Scene, share: float) -> Stage:
    """Backfills up to a share of the gallery, the most useful first."""
    before = _asked(s)
    budget = round(share * before["items"]) - before["native_items"]
    if budget:
        place = {item: position for position, item in enumerate(s.world.gallery.id)}
        wanted = [place[one["id"]] for one in _asked(s, limit=budget)["next"]]
        s.put(s.world.gallery.take(np.array(wanted)), s.new)
    answer = s.ask(s.new)
    return Stage(share, _asked(s), answer, s.right(answer))


def _search_on(s: Scene, client: httpx.Client, done: threading.Event, routes: list[str]) -> None:
    """Asks in the new model without pause; fails where one answer does."""
    query: dict[str, str | int] = {"gallery": s.gallery, "model": s.new, "k": 5}
    vectors = s.world.queries.new[:4].tolist()
    while not done.is_set():
        answer = checked(client.post("/search", json={**query, "vectors": vectors}), 200)
        assert [len(hits) for hits in answer["results"]] == [5] * 4
        routes.append(answer["route"])


def test_quality_rises_with_the_share_and_ends_at_that_of_full_re_embedding(journey: BackfillJourney) -> None:
    s = journey.scene
    quality = [stage.right for stage in journey.stages]
    assert quality == sorted(quality)
    assert quality[-1] > quality[0]
    gallery = s.world.gallery
    assert journey.stages[-1].answer.ids == cosine_ranking(gallery.id, gallery.new, s.world.queries.new, 10)


def test_every_stage_lies_within_what_was_predicted_of_it(journey: BackfillJourney) -> None:
    start = journey.stages[0].backfill
    assert start["metric"] == "cmc@1"
    points = {point["share"]: point for point in start["curve"]}
    assert len(points) == 22
    for stage in journey.stages:
        first = stage.backfill["curve"][0]
        assert (first["items"], first["share"]) == (0, pytest.approx(stage.share))
        assert first["low"] <= stage.right <= first["high"]
        assert stage.backfill["curve"][-1] == {**points[1.0], "items": 400 - stage.backfill["native_items"]}


def test_what_is_expected_to_miss_most_is_asked_for_first_and_does_miss_more(journey: BackfillJourney) -> None:
    expected = [one["expected_error"] for one in journey.stages[0].backfill["next"]]
    assert expected == sorted(expected, reverse=True)
    uncertainty = journey.upgrade["report"]["learned"]["uncertainty"]
    low, high = uncertainty["reliability"][0], uncertainty["reliability"][-1]
    assert low["expected"] < high["expected"]
    assert low["observed"]["mean"] < high["observed"]["mean"]
    assert uncertainty["method"] in {one["method"] for one in uncertainty["candidates"]}


def test_searches_never_fail_and_are_transformed_until_the_end_and_direct_from_then_on(
    journey: BackfillJourney,
) -> None:
    assert len(journey.routes) > ENOUGH
    switched = journey.routes.count("transformed")
    assert journey.routes == ["transformed"] * switched + ["direct"] * (len(journey.routes) - switched)
    assert [stage.answer.route for stage in journey.stages] == ["transformed"] * 3 + ["direct"]


def test_what_is_asked_for_is_what_is_left_and_shrinks_to_nothing(journey: BackfillJourney) -> None:
    s = journey.scene
    for stage in journey.stages:
        backfill = stage.backfill
        assert (backfill["generation"], backfill["model"], backfill["items"]) == (2, s.new, 400)
        assert backfill["native_items"] == round(stage.share * 400)
        assert backfill["share"] == pytest.approx(stage.share)
        assert len(backfill["next"]) == 400 - backfill["native_items"]
        assert backfill["complete"] is (stage.share == 1)
    for earlier, later in pairwise(journey.stages):
        left = [one["id"] for one in earlier.backfill["next"]]
        assert [one["id"] for one in later.backfill["next"]] == left[len(left) - len(later.backfill["next"]) :]


def test_retired_generation_says_so_and_takes_no_items_of_the_old_model(journey: BackfillJourney) -> None:
    s = journey.scene
    second = journey.generations[2]
    assert second["retired_at"] is not None
    assert (second["native_items"], second["transformed_items"]) == (400, 0)
    refused = problem(journey.refused, 409, "wrong-state")
    assert f"model={s.new}" in refused["detail"]
    assert '{"generation": 1}' in refused["detail"]


def test_rolling_back_loses_nothing_and_brings_the_transformation_back_where_it_is_needed(
    journey: BackfillJourney,
) -> None:
    s = journey.scene
    assert (journey.back.route, journey.back.generation) == ("direct", 1)
    gallery = s.world.gallery
    assert journey.back.ids == cosine_ranking(gallery.id, gallery.old, s.world.queries.old, 10)
    assert journey.written_when_back[2]["retired_at"] is None
    assert journey.again.route == "transformed"
    assert [one["id"] for one in journey.asked_again["next"]] == [gallery.id[0]]
    assert journey.asked_again["complete"] is False


def test_gallery_that_was_never_transformed_has_nothing_to_backfill(journey: BackfillJourney) -> None:
    refused = problem(journey.before, 409, "wrong-state")
    assert "Nothing to backfill" in refused["detail"]
    assert f"POST /models/{journey.scene.old}/upgrade" in refused["detail"]
