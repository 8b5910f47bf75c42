"""An upgrade that leaves its gallery as it is: a transformation that cannot be pushed answers all the same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.artifacts.crossings import Crossing
from models.portable import Space, load_transformation
from tests.e2e.conftest import NewScene, ServiceInside
from tests.e2e.user import Answer, Scene, checked, cosine_ranking, digests, problem
from tests.worlds import NEW, OLD


@dataclass(frozen=True)
class Untouched:
    """A scene whose upgrade, by a network that reads side-information, wrote nothing into its gallery."""

    scene: Scene
    id: str
    before: dict[str, str]
    ready: dict[str, Any]
    data: Path

    @property
    def crossing(self) -> Crossing:
        source, target = Space(self.scene.old, OLD, "cosine"), Space(self.scene.new, NEW, "cosine")
        folder = self.data / "artifacts" / self.id
        chosen, plain = (
            load_transformation(folder / name, source=source, target=target) for name in ("chosen", "plain")
        )
        return Crossing(chosen, plain)

    def digests(self) -> dict[str, str]:
        return digests(self.data, self.scene.gallery)

    def ask(self, k: int = 10, **more: str) -> dict[str, Any]:
        s = self.scene
        body = {"gallery": s.gallery, "model": s.new, "k": k, "vectors": s.world.queries.new.tolist(), **more}
        return dict(checked(s.client.post("/search", json=body)))


@pytest.fixture(scope="module")
def untouched(scene: NewScene, service: ServiceInside) -> Untouched:
    s = scene(side=True).filled()
    made = Untouched(s, "", {}, {}, service.data)
    before = made.digests()
    upgrade = s.start(method="residual_mlp", rewrite=False, activate="manually")
    return Untouched(s, upgrade, before, s.reaches(upgrade, "ready"), service.data)


def test_upgrade_without_rewriting_answers_by_cascade_and_changes_no_byte_of_the_gallery(untouched: Untouched) -> None:
    s, said = untouched.scene, untouched.ask()
    assert untouched.ready["rewrite"] is False
    assert (said["route"], said["generation"]) == ("cascade", 1)
    assert s.post(f"/upgrades/{untouched.id}/activate")["state"] == "active"
    assert untouched.ask() == said
    assert untouched.digests() == untouched.before
    assert list(s.generations()) == [1]


def test_cascade_finds_what_the_rewritten_gallery_would_and_scores_it_alike(untouched: Untouched) -> None:
    s, crossing = untouched.scene, untouched.crossing
    assert not crossing.chosen.linear
    assert crossing.chosen.card.side_dimension is not None
    gallery, queries = s.world.gallery, s.world.queries.new
    transformed = crossing.chosen.apply(gallery.old, gallery.side)
    expected = cosine_ranking(gallery.id, transformed, queries, 10)
    answer = Answer.of(untouched.ask())
    overlap = np.mean([len(set(one) & set(other)) / 10 for one, other in zip(answer.ids, expected, strict=True)])
    measured = untouched.ready["report"]["galleries"][s.gallery]["cascade"]
    assert measured["measured"] >= measured["overlap"] == 0.99
    assert measured["interval"][0] <= measured["measured"] <= measured["interval"][1]
    assert overlap >= 0.97
    place = {name: row for row, name in enumerate(gallery.id)}
    units = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    for query, ids, scores in zip(units, answer.ids, answer.scores, strict=True):
        np.testing.assert_allclose(scores, [query @ transformed[place[name]] for name in ids], atol=1e-5)


def test_answer_says_how_many_candidates_there_were_and_what_that_was_measured_to_find(untouched: Untouched) -> None:
    answer = untouched.ask()
    measured = untouched.ready["report"]["galleries"][untouched.scene.gallery]["cascade"]
    assert answer["note"].startswith(f"{measured['k']} candidates")
    assert f"{measured['measured']:.1%}" in answer["note"]
    assert not answer["exact"]
    everything = untouched.ask(k=600)
    assert everything["exact"]
    assert everything["note"] is None
    hundred = Answer.of(untouched.ask(k=100))
    assert [len(ids) for ids in hundred.ids] == [100] * len(hundred.ids)


def test_another_route_is_taken_where_it_is_asked_for_and_refused_where_there_is_none(untouched: Untouched) -> None:
    s = untouched.scene
    instant = untouched.ask(route="instant")
    assert instant["route"] == "instant"
    assert instant["results"] != untouched.ask()["results"]
    one = s.world.queries.new[0]
    query = {"gallery": s.gallery, "model": s.new, "vector": ",".join(map(str, one)), "route": "cascade"}
    assert s.get("/search", **query)["route"] == "cascade"
    old = {"gallery": s.gallery, "model": s.old, "vectors": s.world.queries.old[:1].tolist()}
    refused = problem(s.client.post("/search", json={**old, "route": "cascade"}), 409, "no-route")
    assert refused["route"] == "direct"
    problem(s.client.post("/search", json={**old, "route": "teleport"}), 422, "validation-error")


def test_report_says_what_the_index_finds(untouched: Untouched) -> None:
    index = untouched.ready["report"]["galleries"][untouched.scene.gallery]["index"]
    assert (index["kind"], index["recall"], index["effort"]) == ("flat", 1.0, None)
    assert index["queries"] == 200


def test_writes_since_are_candidates_and_rolling_back_takes_the_route_away(untouched: Untouched) -> None:
    s = untouched.scene
    s.post(f"/upgrades/{untouched.id}/activate")
    best = Answer.of(untouched.ask()).ids[0][0]
    s.delete([best])
    assert best not in {name for ids in Answer.of(untouched.ask()).ids for name in ids}
    s.put(s.world.gallery.take(slice(s.world.gallery.id.index(best), s.world.gallery.id.index(best) + 1)))
    assert Answer.of(untouched.ask()).ids[0][0] == best
    assert s.post(f"/upgrades/{untouched.id}/rollback")["state"] == "rolled_back"
    query = {"gallery": s.gallery, "model": s.new, "vectors": s.world.queries.new[:1].tolist()}
    refused = problem(s.client.post("/search", json=query), 409, "no-route")
    assert f"POST /upgrades/{untouched.id}/activate" in refused["detail"]
