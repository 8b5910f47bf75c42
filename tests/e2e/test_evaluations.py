"""Evaluations by a real worker, seen from outside: what was proved of an upgrade is what is measured of its models."""

from __future__ import annotations

import copy
import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.e2e.conftest import NewScene, Running
from tests.e2e.user import NPZ, Scene, checked, npz, problem
from tests.waiting import wait_until
from tests.worlds import Floats


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


def found(answers: list[list[str]], grades: list[dict[str, int]]) -> dict[str, float]:
    """The means of what queries are answered (at least ten ids each), by the definitions of the metrics."""

    def gain(grades_in_order: list[int]) -> float:
        return sum(max(grade, 0) / math.log2(place + 2) for place, grade in enumerate(grades_in_order))

    sums: defaultdict[str, float] = defaultdict(float)
    for ids, grade in zip(answers, grades, strict=True):
        relevant = [id for id, given in grade.items() if given > 0]
        first = [place for place, id in enumerate(ids[:10], 1) if id in relevant]
        sums["ndcg@10"] += gain([grade.get(id, 0) for id in ids[:10]]) / gain(sorted(grade.values(), reverse=True)[:10])
        sums["mrr@10"] += 1 / first[0] if first else 0
        sums["recall@10"] += len(first) / len(relevant)
        sums["precision@10"] += len(first) / 10
        sums["hit_rate@10"] += bool(first)
        sums["unjudged"] += sum(id not in grade for id in ids[:10]) / 10
        places = sorted(place for place, id in enumerate(ids, 1) if id in relevant)
        sums["map"] += sum(hits / place for hits, place in enumerate(places, 1)) / len(relevant)
    return {name: total / len(answers) for name, total in sums.items()}


def test_judged_queries_measure_what_a_user_finds_with_either_model(switched: Scene) -> None:
    s = switched
    asked, items = s.world.queries, s.world.gallery
    rng = np.random.default_rng(0)
    grades = []
    for label in asked.label:
        same = [id for id, other in zip(items.id, items.label, strict=True) if other == label]
        chosen = rng.choice(same, min(12, len(same)), replace=False).tolist()
        grades.append({id: int(rng.integers(0, 4)) for id in chosen} | {chosen[0]: 2})
    relevant = [json.dumps(given | {"gone": 3}) for given in grades]
    vectors = {f"embedding.{model}": s.seen_by(asked, model) for model in (s.old, s.new)}
    body = npz(id=[f"ask-{id}" for id in asked.id], relevant=relevant, **vectors)
    checked(s.client.put(f"/datasets/{s.dataset}/queries", content=body, headers={"content-type": NPZ}))
    against = {"queries": s.old, "gallery": s.old}
    result = evaluated(s, kind="judged", queries=s.new, gallery_id=s.gallery, against=against, slices=["label"])

    new = found(s.ask(s.new, k=len(items)).ids, grades)
    old_vectors = [_units(vectors[f"embedding.{s.old}"]), _units(s.seen_by(items, s.old))]
    order = np.argsort(-(old_vectors[0] @ old_vectors[1].T), axis=1, kind="stable")
    old = found([[items.id[row] for row in one] for one in order], grades)
    for measured, expected in ((result["search"], new), (result["against"], old)):
        assert measured["unjudged"] == {"@10": pytest.approx(expected.pop("unjudged"))}
        for metric, value in expected.items():
            assert figure(measured, metric)["mean"] == pytest.approx(value, abs=1e-6), metric
    differences = {one["metric"]: one for one in result["comparison"]["differences"]}
    gained = differences["ndcg@10"]["criterion"]
    assert new["ndcg@10"] > old["ndcg@10"]
    assert gained["difference"]["mean"] == pytest.approx(new["ndcg@10"] - old["ndcg@10"], abs=1e-6)
    assert gained["difference"]["low"] <= gained["difference"]["mean"] <= gained["difference"]["high"]
    assert result["judgements"]["of_items_not_searched"] == len(asked)
    assert result["judgements"]["queries_counted"] == len(asked)
    assert result["comparison"]["sliced_metric"] == "ndcg@10"
    (sliced,) = result["comparison"]["slices"]
    assert {one["value"]: one["queries"] for one in sliced["slices"]} == Counter(asked.label)
    before = sum(one["queries"] * one["before"] for one in sliced["slices"]) / len(asked)
    assert before == pytest.approx(old["ndcg@10"], abs=1e-6)


def _units(vectors: Floats) -> Floats:
    units: Floats = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return units
