"""Candidates ranked by what the new model's embedder makes of their texts, which the gallery keeps."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.e2e.embedding_town import PREFIX, TEXT_OF, Town, embedding_town
from tests.e2e.user import Answer, Scene, problem
from tests.waiting import PATIENCE_SECONDS, wait_until
from tests.worlds import Floats

K, CANDIDATES = 5, 30


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    limits: dict[str, Any] = {"reranked_seconds": PATIENCE_SECONDS, "reranked_items_per_minute": 100_000}
    with embedding_town(tmp_path_factory.mktemp("town"), reranked_candidates=CANDIDATES, **limits) as town:
        yield town


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """Where next to nothing is waited for, and little is embedded."""
    limits: dict[str, Any] = {"reranked_seconds": 0.2, "reranked_items_per_minute": 2 * CANDIDATES}
    with embedding_town(tmp_path_factory.mktemp("hurried"), reranked_candidates=CANDIDATES, **limits) as town:
        yield town


def untouched(town: Town) -> Scene:
    """A gallery that was never rewritten."""
    scene = town.scene()
    scene.reaches(town.start(scene, rewrite=False, fused=False), "active")
    town.server.received.clear()
    return scene


def ask(scene: Scene, query: int, k: int = K) -> Answer:
    return scene.search(scene.world.queries.new[query : query + 1], scene.new, k, route="reranked")


def proposed(scene: Scene, query: int) -> Answer:
    """The candidates of a query, by the route that is taken unasked."""
    return scene.search(scene.world.queries.new[query : query + 1], scene.new, CANDIDATES)


def falls_back(scene: Scene, query: int, why: str, k: int = K) -> None:
    """The route that is taken unasked answers, as it does, and the answer says why."""
    body = {"gallery": scene.gallery, "model": scene.new, "k": k, "route": "reranked"}
    said = scene.post("/search", body | {"vectors": scene.world.queries.new[query : query + 1].tolist()})
    plain = proposed(scene, query)
    assert said["route"] == plain.route == "cascade"
    assert why in said["note"]
    assert Answer.of(said).ids[0][:K] == plain.ids[0][:K]


def kept(scene: Scene, items: list[str]) -> bool:
    return all(scene.new in scene.item(item)["embeddings"] for item in items)


def by_real_vectors(scene: Scene, query: int, candidates: list[str]) -> list[str]:
    place_of = {item: place for place, item in enumerate(scene.world.gallery.id)}
    real = scene.world.gallery.new[[place_of[item] for item in candidates]].astype(np.float64)
    near = real @ scene.world.queries.new[query] / np.linalg.norm(real, axis=1)
    return [candidates[place] for place in np.argsort(-near)[:K]]


def test_candidates_are_ranked_by_their_real_vectors_which_are_kept_and_paid_for_once(town: Town) -> None:
    scene = untouched(town)
    (candidates,) = proposed(scene, 0).ids
    answer = ask(scene, 0)
    assert answer.route == "reranked"
    assert answer.ids == [by_real_vectors(scene, 0, candidates)]
    paid = town.server.charged
    assert set(paid) <= {PREFIX + TEXT_OF[item] for item in candidates}
    assert len(paid) == len(set(paid))
    assert ask(scene, 0).ids == answer.ids
    wait_until(lambda: kept(scene, candidates), "the vectors to be kept")
    place = scene.world.gallery.id.index(candidates[-1])
    vector = scene.item(candidates[-1])["embeddings"][scene.new]
    np.testing.assert_allclose(vector, scene.world.gallery.new[place], rtol=1e-6)
    assert ask(scene, 0).ids == answer.ids
    vector = ",".join(map(str, scene.world.queries.new[0].tolist()))
    query = {"gallery": scene.gallery, "model": scene.new, "k": K, "vector": vector, "route": "reranked"}
    alone = scene.get("/search", **query)
    assert (alone["route"], [hit["id"] for hit in alone["results"]]) == ("reranked", answer.ids[0])
    assert town.server.charged == paid
    assert proposed(scene, 0).ids == [candidates]  # by an index that goes on holding the old vectors

    vectors = scene.world.queries.new[:3].tolist()
    body = {"gallery": scene.gallery, "model": scene.new, "k": K, "vectors": vectors, "route": "reranked"}
    together = Answer.of(scene.post("/search", body))
    assert together.route == "reranked"
    assert together.ids[0] == answer.ids[0]
    only = {"filter": {"id": {"in": candidates[:3]}}}
    assert sorted(Answer.of(scene.post("/search", body | only)).ids[1]) == sorted(candidates[:3])


def test_a_kept_vector_goes_with_the_old_vector_of_another_item_in_its_place(town: Town) -> None:
    scene = untouched(town)
    ((first, *_),) = ask(scene, 1).ids
    wait_until(lambda: kept(scene, [first]), "the vector to be kept")
    body = {"items": [{"id": first, "embedding": [-one for one in scene.item(first)["embeddings"][scene.old]]}]}
    done = scene.client.put(f"/galleries/{scene.gallery}/items?model={scene.old}", json=body)
    assert done.json()["dropped"] == {scene.new: 1}
    assert scene.new not in scene.item(first)["embeddings"]


def test_a_transformed_gallery_backfills_itself_until_every_vector_is_real(town: Town) -> None:
    scene = town.scene()
    scene.reaches(town.start(scene, fused=False), "active")
    before = scene.get(f"/galleries/{scene.gallery}/backfill")["native_items"]
    (candidates,) = proposed(scene, 2).ids
    answer = ask(scene, 2)
    assert (answer.route, answer.ids) == ("reranked", [by_real_vectors(scene, 2, candidates)])
    wait_until(lambda: kept(scene, candidates), "the vectors to be kept")
    assert scene.get(f"/galleries/{scene.gallery}/backfill")["native_items"] >= before + 1
    everything = ask(scene, 2, k=len(TEXT_OF))
    assert (everything.route, everything.exact) == ("reranked", True)
    wait_until(lambda: scene.get(f"/galleries/{scene.gallery}/backfill")["complete"], "the gallery to be backfilled")
    wait_until(lambda: ask(scene, 2).route == "direct", "the transformation to be retired")
    assert ask(scene, 2).ids[0] == everything.ids[0][:K]


def test_the_other_route_answers_where_the_embedder_is_away_and_the_answer_says_so(town: Town) -> None:
    scene = untouched(town)
    town.server.then("429 Retry-After: 2")
    falls_back(scene, 3, "not reranked: Embedder 'e5' answered 429")
    wait_until(lambda: ask(scene, 3).route == "reranked", "the embedder to be asked again")


def test_what_comes_too_late_for_an_answer_is_kept_all_the_same(hurried: Town) -> None:
    scene = untouched(hurried)
    go_on, embed = threading.Event(), hurried.server.embed

    def slow(text: str) -> Floats:
        go_on.wait(PATIENCE_SECONDS)
        return embed(text)

    hurried.server.embed = slow
    falls_back(scene, 0, "did not answer in 0.2 s")
    go_on.set()
    (candidates,) = proposed(scene, 0).ids
    wait_until(lambda: kept(scene, candidates), "what came too late to be kept")
    assert ask(scene, 0).route == "reranked"


def test_no_more_is_embedded_than_the_budget_of_a_minute(hurried: Town) -> None:
    scene = untouched(hurried)
    falls_back(scene, 0, "more than is left of 60 a minute", k=len(TEXT_OF))
    assert not hurried.server.received


def test_what_cannot_be_reranked_is_refused(town: Town) -> None:
    scene = untouched(town)
    body = {"gallery": scene.gallery, "model": scene.new, "vectors": [[1.0] * 16], "route": "reranked"}
    problem(scene.client.post("/search", json=body | {"group_by": "label"}), 422, "validation-error")
    plain = Scene(town.client, scene.world).filled()
    plain.settles(plain.start(rewrite=False, fused=False, activate="manually"))
    given = {"gallery": plain.gallery, "model": plain.new, "vectors": body["vectors"], "route": "reranked"}
    assert "names no embedder" in problem(plain.client.post("/search", json=given), 409, "no-route")["detail"]
