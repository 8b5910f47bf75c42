"""Evaluations by a real worker, seen from outside: what was proved of an upgrade is what is measured of its models."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.conftest import NewScene, Running
from tests.e2e.user import Scene, problem
from tests.waiting import wait_until


def evaluated(s: Scene, meanwhile: Callable[[], None] = lambda: None, **body: Any) -> dict[str, Any]:
    """What an evaluation of the scene's dataset found."""
    evaluation = s.post("/evaluations", {"dataset": s.dataset, **body}, 202)["id"]
    seen: list[dict[str, Any]] = []

    def ended() -> bool:
        meanwhile()
        seen[:] = [s.get(f"/evaluations/{evaluation}")]
        return seen[0]["state"] in ("done", "failed")

    wait_until(ended, f"evaluation {evaluation} to end")
    assert seen[0]["state"] == "done", seen[0]["reason"]
    return dict(seen[0]["result"])


def figure(measured: dict[str, Any], metric: str = "cmc@1") -> dict[str, float]:
    return next(one for one in measured["figures"] if one["metric"] == metric)


@pytest.fixture(scope="session")
def chosen(scene: NewScene) -> Running:
    """An upgrade that chose its method."""
    return Running.of(scene(side=True).filled(), method="auto")


def test_auto_tries_every_candidate_and_keeps_one_that_wins(chosen: Running) -> None:
    s = chosen.scene
    learned = s.reaches(chosen.id, "active")["report"]["learned"]
    tried = {one["name"] for one in learned["candidates"]}
    assert {"orthogonal", "ridge", "low_rank", "kernel_ridge", "residual_mlp", "fct"} <= tried
    assert learned["learning_curve"]
    assert s.right(s.ask(s.new)) > s.right(chosen.before)


@pytest.fixture(scope="session")
def switched(chosen: Running) -> Scene:
    """A scene whose gallery was switched to, and whose dataset holds its queries, in old vectors and in new ones."""
    s = copy.copy(chosen.scene)
    s.reaches(chosen.id, "active")
    s.dataset += "-asked"
    s.post("/datasets", {"id": s.dataset}, 201)
    s.put_pairs(s.world.queries, s.old, s.new)
    return s


def test_the_gallery_that_was_switched_to_is_measured_while_it_answers(switched: Scene) -> None:
    s = switched
    answers: list[float] = []
    result = evaluated(s, lambda: answers.append(s.right(s.ask(s.new))), queries=s.new, gallery_id=s.gallery)
    measured = figure(result["search"])
    assert len(set(answers)) == 1
    assert answers[0] == pytest.approx(measured["mean"])
    assert measured["low"] <= measured["mean"] <= measured["high"]
    crossed = result["search"]["crossed"]
    assert (crossed["native_rows"], crossed["transformed_rows"]) == (0, len(s.world.gallery))


def test_a_chain_is_measured_through_the_upgrades_crossing_and_scored(switched: Scene, chosen: Running) -> None:
    s = switched
    result = evaluated(s, models=[s.old, s.new])
    (old, _), (cross, new) = result["matrices"]["cmc@1"]
    assert old < cross <= new + 0.05
    assert result["scores"]["cmc@1"]["ac"] == 1
    (hop,) = result["cells"][1]["measured"]["crossed"]["upgrades"]
    assert (hop["upgrade"], hop["rows_with_side_information"] or 0) == (chosen.id, 0)


def test_what_cannot_be_compared_is_refused(switched: Scene) -> None:
    s = switched
    answer = s.client.post("/evaluations", json={"dataset": s.dataset, "queries": s.old, "gallery": s.new})
    assert f"POST /models/{s.new}/upgrade" in problem(answer, 409, "no-route")["detail"]
