"""Search by example, limits to scores, vectors in answers and groups: on every route, by every way to ask."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import pytest

from app.artifacts.folder import UpgradeArtifacts
from app.registry.schemas import NewModel
from app.settings import Settings
from app.upgrades.request import COMPATIBLE
from app.upgrades.states import UpgradeState
from models.portable import Array, Distance, Space, save_transformation, zero_padding
from tests.app.search.fused_world import NEW, OLD, FusedWorld, archive, fused_world, normal
from tests.e2e.user import NPY, NPZ, npy
from tests.upgrade_rows import store_upgrade

ITEMS, K = 60, 7
WIDE = OLD + 2
ROUTES: dict[str, tuple[Distance, bool]] = {
    "direct": ("cosine", True),
    "direct l2": ("l2", True),
    "instant": ("cosine", True),
    "instant l2": ("l2", True),
    "cascade": ("cosine", False),
    "compatible": ("ip", True),
    "transformed": ("l2", True),
    "transformed cosine": ("cosine", False),
    "fused": ("cosine", True),
    "fused derived": ("l2", False),
}


@dataclass
class Asker:
    """Asks a gallery of labelled items by one route. model: the queries'; queries (7, d): theirs."""

    world: FusedWorld
    route: str
    model: str
    queries: Array

    @property
    def fused(self) -> bool:
        return self.route == "fused"

    @property
    def l2(self) -> bool:
        return self.world.target == "l2" and not self.fused

    def send(self, **body: Any) -> httpx.Response:
        return self.world.client.post("/search", json={"gallery": "g", "model": self.model, "k": K, **body})

    def post(self, **body: Any) -> dict[str, Any]:
        """Queries by vectors, unless the body has examples."""
        if "like" in body and self.fused:
            body["route"] = "fused"
        if "like" not in body and "vectors" not in body:
            body["vectors"] = self.queries.tolist()
            if self.fused:
                body["old_vectors"] = self.world.q_old.tolist()
        answer = self.send(**body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["route"] == self.route
        return dict(answer.json())

    def get(self, **query: Any) -> dict[str, Any]:
        if self.fused and "like" in query:
            query["route"] = "fused"
        if "like" not in query:
            query["vector"] = ",".join(map(str, self.queries[0].tolist()))
            if self.fused:
                query["old_vector"] = ",".join(map(str, self.world.q_old[0].tolist()))
        answer = self.world.client.get("/search", params={"gallery": "g", "model": self.model, "k": K, **query})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def in_a_body(self, **query: Any) -> dict[str, Any]:
        """The answer to a binary body with the rest in the URL."""
        both = {"vector": self.queries, "old_vector": self.world.q_old}
        answer = self.world.client.post(
            "/search",
            params={"gallery": "g", "model": self.model, "k": K, **query},
            content=archive(**both) if self.fused else npy(self.queries),
            headers={"content-type": NPZ if self.fused else NPY},
        )
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def vector_of(self, name: str) -> Array:
        """An item as a query of the model."""
        if self.model == "old":
            return self.world.old[name]
        if self.model == "wide":
            return np.pad(self.world.old[name], (0, WIDE - OLD))
        native = self.world.native.get(name)
        return self.world.pairs([name])[1][0] if native is None else native

    def like(self, names: list[str]) -> dict[str, Any]:
        """What searching by the items' vectors finds, without themselves."""
        body: dict[str, Any] = {"vectors": [self.vector_of(name).tolist() for name in names], "k": K + 1}
        if self.fused:
            body["old_vectors"] = [self.world.old[name].tolist() for name in names]
        answer = self.post(**body)
        results = [
            [hit for hit in hits if hit["id"] != name][:K] for name, hits in zip(names, answer["results"], strict=True)
        ]
        return {**answer, "results": results}


@pytest.fixture(scope="module", params=list(ROUTES))
def asker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asker]:
    """Items of which one in four has no label, and a few have vectors of the new model; nothing is left behind."""
    metric, exactly = ROUTES[request.param]
    settings = Settings(data_dir=tmp_path_factory.mktemp("data"))
    with fused_world(settings, metric, metric, items=ITEMS, exactly=exactly) as world:
        labels = [{"id": f"i{n}", "label": f"l{n % 7}" if n % 4 else None, "payload": {"n": n}} for n in range(ITEMS)]
        world.client.patch("/galleries/g/items", json=labels).raise_for_status()
        route = request.param.split()[0]
        if route == "transformed" or request.param == "fused derived":
            world.transform()
        if route == "compatible":
            yield compatible(world)
            return
        model = "old" if route == "direct" else "new"
        if model == "new":
            world.put("new", {f"i{n}": vector for n, vector in enumerate(normal(7, 3, NEW))})
        yield Asker(world, route, model, world.q_old if model == "old" else world.q_new)


def compatible(world: FusedWorld) -> Asker:
    """A model of more dimensions than the old one's, whose vectors are compared with it."""
    world.crosswalk.models.create(NewModel(id="wide", dimension=WIDE, metric=world.target))
    padding = zero_padding(Space("old", OLD, world.source), Space("wide", WIDE, world.target), created_at="now")
    artifacts = UpgradeArtifacts(world.crosswalk.settings.artifacts_dir, "t")
    save_transformation(padding, artifacts.chosen)
    save_transformation(padding, artifacts.plain)
    to = {"id": "wide", "architecture": "small-bert"}
    request = {"strategy": COMPATIBLE, "to": to, "dataset": "d", "method": "averaged"}
    store_upgrade(world.crosswalk.database, "t", UpgradeState.READY, ["g"], request=request, target="wide")
    return Asker(world, "compatible", "wide", normal(8, 7, WIDE))


def same(found: dict[str, Any], expected: dict[str, Any], member: str = "results") -> None:
    """The same answers, but for the last bits of scores, which may turn on how queries were batched."""
    assert {**found, member: []} == {**expected, member: []}
    for one, other in zip(found[member], expected[member], strict=True):
        np.testing.assert_allclose([hit["score"] for hit in one], [hit["score"] for hit in other], rtol=1e-4, atol=2e-4)
        assert [{**hit, "score": 0} for hit in one] == [{**hit, "score": 0} for hit in other]


NAMES = ["i1", "i30", "i7", "i30"]


def test_by_example_is_by_the_items_own_vector_without_itself(asker: Asker) -> None:
    same(asker.post(like=NAMES), asker.like(NAMES))
    one = asker.get(like="i7")
    assert one["results"] == asker.post(like=["i7"])["results"][0]
    assert "i7" not in [hit["id"] for hit in one["results"]]
    assert len(one["results"]) == K


def test_all_items_but_the_example_are_found(asker: Asker) -> None:
    (hits,) = asker.post(like=["i3"], k=1_000)["results"]
    assert sorted(hit["id"] for hit in hits) == sorted(f"i{n}" for n in range(ITEMS) if n != 3)
    few = asker.get(like="i3", filter='{"id":{"in":["i3","i4","i5"]}}')["results"]
    assert sorted(hit["id"] for hit in few) == ["i4", "i5"]


def test_what_is_no_item_of_the_gallery_is_told_where_it_stands(asker: Asker) -> None:
    answer = asker.send(like=["i1", "none"], route="fused" if asker.fused else None)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (404, "/like/1")
    query = {"gallery": "g", "model": asker.model, "like": "none"} | ({"route": "fused"} if asker.fused else {})
    answer = asker.world.client.get("/search", params=query)
    assert (answer.status_code, answer.json()["errors"][0]["parameter"]) == (404, "like")


def test_more_than_is_found_at_once_is_refused_where_it_is_asked_for(asker: Asker) -> None:
    route = {"route": "fused"} if asker.fused else {}
    answer = asker.send(like=["i1"], k=10_001, **route)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/k")
    query: dict[str, str | int] = {"gallery": "g", "model": asker.model, "like": "i1", "k": 10_001, **route}
    answer = asker.world.client.get("/search", params=query)
    assert (answer.status_code, answer.json()["errors"][0]["parameter"]) == (422, "k")


def test_a_limit_leaves_out_what_is_further_away_and_nothing_else(asker: Asker) -> None:
    name = "max_distance" if asker.l2 else "min_score"
    if asker.fused:
        for limit in ("max_distance", "min_score"):
            body = {"vectors": asker.queries.tolist(), "old_vectors": asker.world.q_old.tolist(), limit: 0.5}
            answer = asker.send(**body)
            assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, f"/{limit}")
        return
    whole = asker.post(k=ITEMS)
    limit = sorted(hit["score"] for hits in whole["results"] for hit in hits)[len(whole["results"]) * ITEMS // 2]
    expected = [
        [hit for hit in hits if (hit["score"] <= limit if asker.l2 else hit["score"] >= limit)][:30]
        for hits in whole["results"]
    ]
    assert any(0 < len(hits) < 30 for hits in expected)
    if asker.route != "cascade":  # which looks at more candidates where more answers are wanted
        assert asker.post(k=30, **{name: limit})["results"] == expected
    assert asker.post(k=ITEMS, **{name: limit})["results"] == [
        [hit for hit in hits if (hit["score"] <= limit if asker.l2 else hit["score"] >= limit)]
        for hits in whole["results"]
    ]
    assert asker.in_a_body(**{name: limit}) == asker.post(**{name: limit})
    one = asker.get(**{name: limit})["results"]
    assert all(hit["score"] <= limit + 1e-4 if asker.l2 else hit["score"] >= limit - 1e-4 for hit in one)
    other = "min_score" if asker.l2 else "max_distance"
    answer = asker.send(vectors=asker.queries.tolist(), **{other: 0.5})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, f"/{other}")
    assert asker.post(k=5, **{name: 0.0 if asker.l2 else 1e6})["results"] == [[]] * len(asker.queries)


def test_vectors_are_shown_as_they_are_held_with_the_model_whose_space_they_are_in(asker: Asker) -> None:
    for shown in (asker.post(with_vectors=True), asker.post(like=["i1"], with_vectors=True)):
        derived = asker.world.crosswalk.galleries.info("g").active == 2
        assert shown["vectors_model"] == ("new" if derived else "old")
        for hit in (hit for hits in shown["results"] for hit in hits):
            held = asker.vector_of(hit["id"]) if derived else asker.world.old[hit["id"]]
            if asker.world.target == "cosine":
                held = held / np.linalg.norm(held)
            np.testing.assert_allclose(hit["vector"], held, rtol=1e-4, atol=1e-5)
    assert asker.get(with_vectors="true")["results"][0].keys() == {"id", "score", "label", "payload", "vector"}
    assert "vector" not in asker.post(with_vectors=False)["results"][0][0]
    assert asker.in_a_body(with_vectors="true") == asker.post(with_vectors=True)


def groups(hits: list[dict[str, Any]], k: int, size: int) -> list[dict[str, Any]]:
    """Out of all items in their order."""
    by_label: dict[str, list[dict[str, Any]]] = {}
    for hit in hits:
        if hit["label"] is not None:
            by_label.setdefault(hit["label"], []).append(hit)
    return [{"label": label, "results": found[:size]} for label, found in list(by_label.items())[:k]]


@pytest.mark.parametrize(("k", "size"), [(3, 2), (20, 1), (1, 50)])
def test_groups_are_the_nearest_labels_each_with_its_nearest_items(asker: Asker, k: int, size: int) -> None:
    whole = asker.post(k=ITEMS)["results"]
    found = asker.post(k=k, group_by="label", group_size=size)
    assert "results" not in found
    for one, hits in zip(found["groups"], whole, strict=True):
        flat = [{**hit, "group": group["label"]} for group in one for hit in group["results"]]
        wanted = [{**hit, "group": group["label"]} for group in groups(hits, k, size) for hit in group["results"]]
        same({"results": [flat]}, {"results": [wanted]})
    one = asker.get(k=k, group_by="label", group_size=size)["groups"]
    assert [group["label"] for group in one] == [group["label"] for group in found["groups"][0]]
    if size == 2:
        assert asker.in_a_body(k=k, group_by="label", group_size=size) == found


def test_options_go_together(asker: Asker) -> None:
    ids = [f"i{n}" for n in range(40)]
    body = {"like": ["i9"], "group_by": "label", "group_size": 2, "with_vectors": True, "filter": {"id": {"in": ids}}}
    (found,) = asker.post(**body)["groups"]
    (whole,) = asker.post(like=["i9"], k=ITEMS, filter={"id": {"in": ids}}, with_vectors=True)["results"]
    wanted = groups(whole, K, 2)
    assert [group["label"] for group in found] == [group["label"] for group in wanted]
    for one, other in zip(found, wanted, strict=True):
        same({"results": [one["results"]]}, {"results": [other["results"]]})
    if not asker.fused:
        limit = whole[len(whole) // 2]["score"]
        name = "max_distance" if asker.l2 else "min_score"
        (near,) = asker.post(**body, **{name: limit})["groups"]
        inside = [hit for hit in whole if (hit["score"] <= limit if asker.l2 else hit["score"] >= limit)]
        assert [hit["id"] for group in near for hit in group["results"]] == [
            hit["id"] for group in groups(inside, K, 2) for hit in group["results"]
        ]


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({}, "vectors"),
        ({"vectors": [[1.0] * OLD], "like": ["i1"]}, "like"),
        ({"like": []}, "like"),
        ({"like": "i1"}, "like"),
        ({"like": ["i1"], "old_vectors": [[1.0] * OLD]}, "old_vectors"),
        ({"like": ["i1"], "group_size": 2}, "group_size"),
        ({"like": ["i1"], "group_by": "colour"}, "group_by"),
        ({"like": ["i1"], "group_by": "label", "group_size": 0}, "group_size"),
        ({"like": ["i1"], "group_by": "label", "group_size": 100, "k": 101}, "group_size"),
        ({"like": ["i1"], "with_vectors": 1}, "with_vectors"),
        ({"like": ["i1"], "min_score": "0.5"}, "min_score"),
        ({"like": ["i1"], "max_distance": 0.5}, "max_distance"),
    ],
)
def test_what_contradicts_itself_is_refused_where_it_stands(
    refusing: FusedWorld, body: dict[str, Any], place: str
) -> None:
    answer = refusing.client.post("/search", json={"gallery": "g", "model": "old", **body})
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"].split("/")[1] == place
    if any(isinstance(value, list) and len(value) != 1 for value in body.values()) or "with_vectors" in body:
        return
    query = {name: value[0] if isinstance(value, list) else value for name, value in body.items()}
    for name, single in (("vectors", "vector"), ("old_vectors", "old_vector")):
        if name in query:
            query[single] = ",".join(map(str, query.pop(name)))
    if isinstance(body.get("min_score"), str) or isinstance(body.get("like"), str):
        return  # which are as they should be in a URL
    answer = refusing.client.get("/search", params={"gallery": "g", "model": "old", **query})
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["parameter"] == place.replace("vectors", "vector")


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FusedWorld]:
    settings = Settings(data_dir=tmp_path_factory.mktemp("data"), search_answer_numbers=1_000)
    with fused_world(settings, "cosine", "cosine", items=12) as world:
        yield world


def test_an_answer_larger_than_is_taken_is_refused(refusing: FusedWorld) -> None:
    body = {"gallery": "g", "model": "old", "vectors": [[1.0] * OLD] * 10}
    assert refusing.client.post("/search", json={**body, "k": 100}).is_success
    for more in ({"k": 101}, {"k": 15, "with_vectors": True}, {"k": 10_001}):
        assert refusing.client.post("/search", json={**body, **more}).status_code == 422
    assert refusing.client.post("/search", json={**body, "k": 14, "with_vectors": True}).is_success


def test_an_example_without_a_vector_or_without_a_direction_is_told(settings: Settings) -> None:
    with fused_world(settings, "cosine", "cosine", items=12) as world:
        world.put("old", {"zero": np.zeros(OLD, np.float32)})
        world.transform()
        world.put("new", {"late": normal(9, NEW)})

        def refused(like: str, word: str, **query: str) -> bool:
            answer = world.client.get("/search", params={"gallery": "g", "like": like, **query})
            problem = answer.json()
            assert answer.status_code == 422, answer.text
            return problem["errors"][0]["parameter"] == "like" and word in problem["detail"]

        assert refused("late", "no vector of model 'old'", model="old")
        assert refused("late", "no vector of model 'old'", model="new", route="fused")
        assert refused("zero", "zeros", model="old")
        assert world.client.get("/search", params={"gallery": "g", "like": "late", "model": "new"}).is_success


def test_a_change_of_label_moves_an_item_into_another_group_at_once(settings: Settings) -> None:
    with fused_world(settings, "cosine", "cosine", items=12) as world:
        body = {"gallery": "g", "model": "old", "like": ["i0"], "group_by": "label", "k": 20, "group_size": 20}

        def found() -> dict[str, list[str]]:
            (one,) = world.client.post("/search", json=body).json()["groups"]
            return {group["label"]: sorted(hit["id"] for hit in group["results"]) for group in one}

        assert found() == {}
        world.client.patch("/galleries/g/items", json=[{"id": f"i{n}", "label": "x"} for n in (0, 1, 2)])
        assert found() == {"x": ["i1", "i2"]}
        world.client.patch("/galleries/g/items/i2", json={"label": "y"})
        assert found() == {"x": ["i1"], "y": ["i2"]}
