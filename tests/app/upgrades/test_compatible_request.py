"""A model trained compatible: how it is registered, when its queries are answered, and what stays as it was."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest

from app.composition import compose
from app.settings import Settings
from tests.app.upgrades.training import ARCHITECTURE, NEW_DIMENSION, OLD_DIMENSION, Training

QUERIES = np.random.default_rng(1).normal(size=(7, NEW_DIMENSION)).astype(np.float32)


def _problem(answer: httpx.Response, status: int, slug: str) -> str:
    assert answer.status_code == status, answer.text
    assert answer.json()["type"] == f"/problems/{slug}"
    return str(answer.json()["detail"])


def _untouched(training: Training) -> Any:
    names = [one["id"] for one in training.client.get("/galleries").json()["items"]]
    galleries = [training.client.get(f"/galleries/{name}").json() for name in names]
    return galleries, [training.client.get(f"/galleries/{name}/generations").json() for name in names]


def test_the_model_is_registered_when_training_starts(each_training: Training) -> None:
    upgrade = each_training.start()
    model = each_training.client.get("/models/new").json()
    assert (model["dimension"], model["metric"], model["modality"]) == (NEW_DIMENSION, "cosine", "image")
    assert (model["trained_by"], model["compatible_with"]) == (upgrade, None)
    each_training.train(upgrade)
    each_training.accept(upgrade)
    assert each_training.client.get("/models/new").json()["compatible_with"] == "old"


def test_the_answer_shows_what_was_asked_with_the_model_as_an_id(training: Training) -> None:
    upgrade = training.client.get(f"/upgrades/{training.start(instance_weights=True)}").json()
    assert (upgrade["from"], upgrade["to"]) == ("old", "new")
    assert (upgrade["strategy"], upgrade["state"]) == ("compatible", "queued")
    assert upgrade["architecture"] == ARCHITECTURE
    assert upgrade["training"]["epochs"] == 90
    assert upgrade["instance_weights"]["learning_rate"] == 0.2
    assert upgrade["progress"]["step"] == "train_compatible"


@pytest.mark.parametrize(("activate", "expected"), [("when_accepted", "active"), ("manually", "ready")])
def test_acceptance_leads_to_ready_without_a_gallery_being_touched(
    each_training: Training, activate: str, expected: str
) -> None:
    before = _untouched(each_training)
    upgrade = each_training.accepted(activate=activate)
    assert each_training.state(upgrade) == expected
    assert each_training.search(QUERIES).json()["route"] == "compatible"
    assert _untouched(each_training) == before


def test_going_back_and_forth_closes_and_opens_the_route_and_touches_no_gallery(each_training: Training) -> None:
    before = _untouched(each_training)
    upgrade = each_training.accepted()
    answer = each_training.search(QUERIES).json()
    for _ in range(2):
        for _ in range(2):  # Twice is harmless.
            assert each_training.post(f"/upgrades/{upgrade}/rollback")["state"] == "rolled_back"
        detail = _problem(each_training.search(QUERIES), 409, "no-route")
        assert f"POST /upgrades/{upgrade}/activate" in detail
        for _ in range(2):
            assert each_training.post(f"/upgrades/{upgrade}/activate")["state"] == "active"
        assert each_training.search(QUERIES).json() == answer
    assert _untouched(each_training) == before


def test_rolling_back_needs_no_gallery_to_be_there_still(training: Training) -> None:
    upgrade = training.accepted()
    assert training.client.delete("/galleries/shop").status_code == 204
    assert training.post(f"/upgrades/{upgrade}/rollback")["state"] == "rolled_back"


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
def test_search_is_that_of_zero_padded_old_vectors(client: httpx.Client, settings: Settings, metric: Any) -> None:
    crosswalk = compose(settings)
    training = Training(client, crosswalk, metric)
    training.accepted()
    answer = training.search(QUERIES).json()
    assert (answer["route"], answer["exact"], answer["generation"]) == ("compatible", True, 1)
    assert answer["note"] == f"vectors of old zero-padded from {OLD_DIMENSION} to {NEW_DIMENSION} dimensions"
    padded = np.zeros((len(training.ids), NEW_DIMENSION))
    padded[:, :OLD_DIMENSION] = training.vectors
    queries = QUERIES.astype(np.float64)
    if metric == "cosine":
        queries, padded = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (queries, padded))
    products = queries @ padded.T
    scores = -np.linalg.norm(queries[:, None] - padded[None], axis=2) if metric == "l2" else products
    for row, hits in enumerate(answer["results"]):
        nearest = np.argsort(-scores[row])[:5]
        assert [hit["id"] for hit in hits] == [training.ids[place] for place in nearest]
        expected = np.abs(scores[row][nearest]) if metric == "l2" else scores[row][nearest]
        np.testing.assert_allclose([hit["score"] for hit in hits], expected, rtol=1e-4, atol=1e-5)
    crosswalk.close()


def test_same_dimension_is_said_to_need_no_padding(training: Training) -> None:
    training.accepted(to={"id": "new", "architecture": ARCHITECTURE, "dimension": OLD_DIMENSION})
    answer = training.search(QUERIES[:, :OLD_DIMENSION]).json()
    assert (answer["route"], answer["exact"]) == ("compatible", True)
    assert "as they are" in answer["note"]


def test_every_gallery_in_the_old_space_can_be_searched_later_ones_too(training: Training) -> None:
    upgrade = training.accepted()
    training.gallery("stock")
    assert training.search(QUERIES, gallery="stock").json()["route"] == "compatible"
    training.post(f"/upgrades/{upgrade}/rollback")
    assert upgrade in _problem(training.search(QUERIES, gallery="stock"), 409, "no-route")


def test_nothing_answers_before_the_gate_has_accepted(training: Training) -> None:
    upgrade = training.start()
    assert "queued" in _problem(training.search(QUERIES), 409, "no-route")
    training.train(upgrade)
    assert "evaluating" in _problem(training.search(QUERIES), 409, "no-route")
    training.reject(upgrade)
    detail = _problem(training.search(QUERIES), 409, "no-route")
    assert upgrade in detail
    assert "rejected" in detail
    assert training.client.get("/models/new").json()["compatible_with"] is None


def test_items_of_the_new_model_are_refused_with_what_to_do(training: Training) -> None:
    training.accepted()
    body = {"items": [{"id": "x", "embedding": [0.0] * NEW_DIMENSION}]}
    detail = _problem(training.client.put("/galleries/shop/items?model=new", json=body), 422, "validation-error")
    assert "keeps vectors of 'old'" in detail
    assert 'POST /models/old/upgrade with {"to": "new", "strategy": "forward"}' in detail


def test_one_upgrade_of_a_gallery_at_a_time_whatever_its_strategy(training: Training) -> None:
    upgrade = training.start()
    training.post("/models", {"id": "other", "dimension": 3, "metric": "cosine"}, 201)
    training.put_rows([{"id": "a", "embeddings": {"other": [1.0, 0.0, 0.0]}}])
    forward = {"to": "other", "dataset": "photos", "galleries": ["shop"]}
    assert upgrade in _problem(training.client.post("/models/old/upgrade", json=forward), 409, "conflict")
    again = training.ask(to={"id": "newer", "architecture": ARCHITECTURE})
    assert upgrade in _problem(again, 409, "conflict")
    assert training.client.get("/models/newer").status_code == 404, "what was refused left its model behind"


def test_of_many_that_start_at_once_one_starts(each_training: Training) -> None:
    with ThreadPoolExecutor(6) as pool:
        statuses = sorted(pool.map(lambda _: each_training.ask().status_code, range(6)))
    assert statuses == [202, 409, 409, 409, 409, 409]


def test_a_running_upgrade_keeps_its_dataset_and_gallery(training: Training) -> None:
    training.start()
    for url in ("/datasets/photos", "/galleries/shop"):
        _problem(training.client.delete(url), 409, "in-use")


def test_idempotency_key_starts_it_once(training: Training) -> None:
    answers = [
        training.client.post("/models/old/upgrade", json=training.body(), headers={"Idempotency-Key": "k"})
        for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json() == answers[1].json()
    assert len(training.client.get("/upgrades").json()["items"]) == 1


def _cancel(training: Training, upgrade: str) -> None:
    training.post(f"/upgrades/{upgrade}/cancel")


def _fail(training: Training, upgrade: str) -> None:
    training.begin(upgrade)
    training.fail(upgrade)


def _reject(training: Training, upgrade: str) -> None:
    training.train(upgrade)
    training.reject(upgrade)


@pytest.mark.parametrize("end", [_cancel, _fail, _reject])
def test_a_model_whose_training_came_to_nothing_is_trained_anew_under_its_id(each_training: Training, end: Any) -> None:
    first = each_training.start()
    end(each_training, first)
    second = each_training.start()
    assert each_training.client.get("/models/new").json()["trained_by"] == second
    each_training.train(second)
    each_training.accept(second)
    assert each_training.search(QUERIES).json()["route"] == "compatible"


def test_ids_that_are_taken_are_refused_and_say_by_what(training: Training) -> None:
    training.post("/models", {"id": "black-box", "dimension": NEW_DIMENSION, "metric": "cosine"}, 201)
    detail = _problem(training.ask(to={"id": "black-box", "architecture": ARCHITECTURE}), 409, "id-taken")
    assert "registered, not trained here" in detail
    upgrade = training.accepted()
    assert f"upgrade {upgrade}, which trains it, is active" in _problem(training.ask(), 409, "id-taken")


def test_anew_means_the_same_dimension_and_no_vectors_of_it(training: Training) -> None:
    _cancel(training, training.start())
    other = training.ask(to={"id": "new", "architecture": ARCHITECTURE, "dimension": 32})
    assert f"{NEW_DIMENSION} dimensions" in _problem(other, 409, "id-taken")
    assert other.json()["differing"] == ["dimension"]
    training.put_rows([{"id": "a", "embeddings": {"new": [0.5] * NEW_DIMENSION}}])
    assert "dataset photos holds vectors of it" in _problem(training.ask(), 409, "id-taken")


@pytest.mark.parametrize("end", [_cancel, _fail])
def test_a_model_never_trained_can_be_removed_and_history_still_names_it(each_training: Training, end: Any) -> None:
    upgrade = each_training.start()
    assert upgrade in _problem(each_training.client.delete("/models/new"), 409, "in-use")
    end(each_training, upgrade)
    assert each_training.client.delete("/models/new").status_code == 204
    assert each_training.client.get(f"/upgrades/{upgrade}").json()["to"] == "new"


def test_a_trained_model_that_was_rejected_can_be_removed_and_history_still_names_it(training: Training) -> None:
    upgrade = training.start()
    _reject(training, upgrade)
    assert training.client.delete("/models/new").status_code == 204
    assert training.client.get(f"/upgrades/{upgrade}").json()["to"] == "new"
