"""OpenAI's own client against `/v1/embeddings`: an old index is kept, and answers the new model's queries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from threading import Thread

import httpx
import numpy as np
import openai
import pytest
from qdrant_client import QdrantClient
from qdrant_client.models import Distance, PointStruct, VectorParams

from tests.e2e.embedding_town import PREFIX, QUERY_TEXTS, TEXT_OF, Town, embedding_town
from tests.e2e.user import Answer, Scene, problem
from tests.waiting import PATIENCE_SECONDS, wait_until
from tests.worlds import OLD, Floats

K = 10


@dataclass(frozen=True)
class KeptIndex:
    """An application that knows OpenAI's client and a collection of Qdrant's, and nothing of Crosswalk but a URL."""

    scene: Scene
    upgrade: str
    openai: openai.OpenAI
    collection: QdrantClient

    @classmethod
    def of(cls, scene: Scene, upgrade: str, documents: Floats) -> KeptIndex:
        """documents: (n, d_old), the vectors that the collection holds."""
        collection = QdrantClient(":memory:")
        collection.create_collection("faq", vectors_config=VectorParams(size=OLD, distance=Distance.COSINE))
        points = [PointStruct(id=place, vector=vector.tolist()) for place, vector in enumerate(documents)]
        collection.upsert("faq", points)
        client = openai.OpenAI(base_url=f"{scene.client.base_url}/v1", api_key="unused", timeout=PATIENCE_SECONDS)
        return cls(scene, upgrade, client, collection)

    def embedded(self, texts: list[str], side: str = "query", **more: str) -> Floats:
        answer = self.openai.embeddings.create(model=f"{self.upgrade}-{side}", input=texts, **more)
        assert [one.index for one in answer.data] == list(range(len(texts)))
        return np.array([one.embedding for one in answer.data], np.float32)

    def ask(self) -> list[list[str]]:
        """The nearest items of each of the world's queries."""
        ids = self.scene.world.gallery.id
        return [
            [ids[int(point.id)] for point in self.collection.query_points("faq", query=vector, limit=K).points]
            for vector in self.embedded(QUERY_TEXTS).tolist()
        ]

    def right(self, answers: list[list[str]]) -> float:
        label_of = dict(zip(self.scene.world.gallery.id, self.scene.world.gallery.label, strict=True))
        labels = self.scene.world.queries.label
        return float(np.mean([label_of[found[0]] == label for found, label in zip(answers, labels, strict=True)]))


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with embedding_town(tmp_path_factory.mktemp("town"), embeddings_at_once=1, queue_length=0) as town:
        yield town


@pytest.fixture(scope="module")
def instant(town: Town) -> KeptIndex:
    """Where the old model has no embedder."""
    scene = town.scene()
    upgrade = town.start(scene, activate="manually")
    scene.reaches(upgrade, "ready")
    return KeptIndex.of(scene, upgrade, scene.world.gallery.old)


@pytest.fixture(scope="module")
def fused(town: Town) -> KeptIndex:
    """Where both models have one."""
    scene = town.scene(old_embedder=True)
    upgrade = town.start(scene, activate="manually", rewrite=False)
    scene.reaches(upgrade, "ready")
    return KeptIndex.of(scene, upgrade, scene.world.gallery.old)


def test_an_untouched_collection_answers_as_route_instant_does(instant: KeptIndex) -> None:
    scene = instant.scene
    answers = instant.ask()
    assert answers == scene.ask(scene.new, K, route="instant").ids
    assert instant.right(answers) > scene.right(scene.ask(scene.old))


def test_an_untouched_collection_answers_by_both_models_where_both_have_embedders(town: Town, fused: KeptIndex) -> None:
    scene, queries = fused.scene, fused.scene.world.queries
    town.old_server.received.clear()
    answers = fused.ask()
    assert sorted(town.old_server.charged) == sorted(QUERY_TEXTS)
    body = {"gallery": scene.gallery, "model": scene.new, "k": K, "vectors": queries.new.tolist()}
    found = Answer.of(scene.post("/search", body | {"old_vectors": queries.old.tolist()}))
    assert found.route == "fused"
    assert fused.right(answers) > scene.right(scene.ask(scene.old))
    assert fused.right(answers) > scene.right(found) - 0.05  # which scores its candidates in full


def test_what_served_an_answer_and_what_was_proved_of_it_is_in_its_headers(
    instant: KeptIndex, fused: KeptIndex
) -> None:
    for kept, route in ((instant, "instant"), (fused, "fused")):
        body = {"model": f"{kept.upgrade}-query", "input": QUERY_TEXTS[0], "user": "somebody"}
        answer = kept.scene.client.post("/v1/embeddings", json=body)
        assert answer.headers["crosswalk-upgrade"] == kept.upgrade
        assert answer.headers["crosswalk-route"] == route
        metric, proved = answer.headers["crosswalk-quality"].split(" ")[0].split("=")
        assert metric == "cmc@1"
        assert float(proved) == pytest.approx(kept.right(kept.ask()), abs=0.15)
        told = answer.json()
        assert (told["object"], told["model"]) == ("list", body["model"])
        assert told["usage"]["total_tokens"] > 0
        assert len(told["data"][0]["embedding"]) == OLD


def test_numbers_and_base64_are_the_same_vectors(instant: KeptIndex) -> None:
    texts = QUERY_TEXTS[:3]
    given = {"model": f"{instant.upgrade}-query", "input": texts, "encoding_format": "float", "dimensions": OLD}
    shown = instant.scene.post("/v1/embeddings", given)["data"]
    np.testing.assert_allclose([one["embedding"] for one in shown], instant.embedded(texts), rtol=1e-6)


def test_queries_and_documents_have_their_own_prefix_and_way(town: Town, instant: KeptIndex, fused: KeptIndex) -> None:
    world = fused.scene.world
    texts = list(TEXT_OF.values())
    np.testing.assert_allclose(fused.embedded(texts, "document"), world.gallery.old, rtol=1e-6)
    town.server.received.clear()
    pulled = instant.embedded(texts, "document")
    asked = {text for request in town.server.received for text in request.texts}
    assert asked == {PREFIX + text for text in texts}
    refilled = KeptIndex.of(instant.scene, instant.upgrade, pulled)  # as if every item had been written anew
    assert refilled.right(refilled.ask()) > instant.scene.right(instant.scene.ask(instant.scene.old))


def test_what_cannot_be_answered_says_why(town: Town, instant: KeptIndex) -> None:
    client, query = instant.scene.client, f"{instant.upgrade}-query"

    def refused(status: int, slug: str, **body: object) -> str:
        given = {"model": query, "input": QUERY_TEXTS[0], **body}
        return str(problem(client.post("/v1/embeddings", json=given), status, slug))

    assert "12 dimensions" in refused(422, "validation-error", dimensions=1536)
    assert "upg-…-query" in refused(422, "validation-error", model="text-embedding-3-small")
    refused(422, "validation-error", input=[1, 2, 3])
    refused(422, "validation-error", input=[])
    refused(404, "not-found", model=f"upg-{'0' * 32}-query")
    town.server.then("few")
    assert "0 vectors for 1 texts" in refused(502, "embedder-wrong")
    town.server.then("429 Retry-After: 2")
    given = {"model": query, "input": QUERY_TEXTS[0]}
    answer = client.post("/v1/embeddings", json=given)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    wait_until(lambda: client.post("/v1/embeddings", json=given).is_success, "the pause to be over")


def test_an_embedder_that_stalls_holds_up_nobody_else(town: Town, instant: KeptIndex) -> None:
    client, body = instant.scene.client, {"model": f"{instant.upgrade}-query", "input": QUERY_TEXTS[0]}
    town.server.received.clear()
    town.server.then("stall")
    stalled: list[httpx.Response | Exception] = []

    def ask() -> None:
        with httpx.Client(base_url=client.base_url, timeout=PATIENCE_SECONDS) as own:
            try:
                stalled.append(own.post("/v1/embeddings", json=body))
            except httpx.HTTPError as error:
                stalled.append(error)

    thread = Thread(target=ask, daemon=True)
    thread.start()
    wait_until(lambda: town.server.received, "the embedder to be asked")
    problem(client.post("/v1/embeddings", json=body), 429, "overloaded")
    instant.scene.ask(instant.scene.old)
    assert client.get("/models").is_success
    town.server.let_go()
    thread.join(PATIENCE_SECONDS)
    (answer,) = stalled
    assert isinstance(answer, httpx.Response)
    assert answer.is_success  # asked again once the connection was broken off
