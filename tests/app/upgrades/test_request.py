"""What may be asked of an upgrade: every field that is wrong is named, and what is left out is filled in."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from app.upgrades.schemas import asked_by
from tests.app.upgrades.training import ARCHITECTURE, OLD_DIMENSION, Training

TO: dict[str, Any] = {"id": "new", "architecture": "small-resnet"}
COMPATIBLE: dict[str, Any] = {"strategy": "compatible", "to": TO, "dataset": "d"}
FORWARD: dict[str, Any] = {"to": "new", "dataset": "d"}


@pytest.mark.parametrize(
    ("body", "pointer", "message"),
    [
        (COMPATIBLE | {"method": "ridge"}, "/method", "'ridge' is a method of strategy `forward`"),
        (COMPATIBLE | {"method": "nonsense"}, "/method", "random_walk"),
        (COMPATIBLE | {"to": "new"}, "/to", "trains a new model"),
        (COMPATIBLE | {"to": {"id": "new"}}, "/to/architecture", "missing"),
        (COMPATIBLE | {"to": {**TO, "architecture": "resnet9"}}, "/to/architecture", "resnet18"),
        (COMPATIBLE | {"to": {**TO, "architecture": {"local": "../etc"}}}, "/to/architecture", "plain name"),
        (COMPATIBLE | {"to": {**TO, "architecture": 3}}, "/to/architecture", "preset"),
        (COMPATIBLE | {"to": {**TO, "architecture": {"timm": "resnet18"}}}, "/to/dimension", "give `dimension`"),
        (COMPATIBLE | {"to": {**TO, "modality": "text"}}, "/to/modality", "embeds image"),
        (COMPATIBLE | {"to": {**TO, "metric": "euclid"}}, "/to/metric", "cosine"),
        (COMPATIBLE | {"training": {"epochs": 0}}, "/training/epochs", "greater"),
        (COMPATIBLE | {"training": {"epoch": 3}}, "/training/epoch", "not known"),
        (COMPATIBLE | {"training": {"damping": 1}}, "/training/damping", "less than 1"),
        (COMPATIBLE | {"training": {"validation": 0.9}}, "/training/validation", "less"),
        (COMPATIBLE | {"instance_weights": {"momentum": 1}}, "/instance_weights/momentum", "less than 1"),
        (COMPATIBLE | {"instance_weights": 3}, "/instance_weights", "an object"),
        (COMPATIBLE | {"to": {**TO, "architecture": "small-bert"}, "training": {"image_size": 64}},
         "/training/image_size", "no images"),
        (FORWARD | {"training": {"epochs": 3}}, "/training", "`training` is of strategy `compatible`"),
        (FORWARD | {"instance_weights": True}, "/instance_weights", "strategy `compatible`"),
        (FORWARD | {"method": "random_walk"}, "/method", "strategy `compatible`"),
        (FORWARD | {"to": TO}, "/to", "strategy `compatible`"),
        (FORWARD | {"strategy": "sideways"}, "/strategy", "forward, compatible"),
        (FORWARD | {"strategy": None}, "/strategy", "forward, compatible"),
        (FORWARD | {"extra": 1}, "/extra", "not known"),
        ({"to": "new"}, "/dataset", "unless `pairs`"),
        (FORWARD | {"budget": {"items": 9}}, "/budget", "no pairs are to be embedded"),
        ({"to": "new", "pairs": 9, "budget": {}}, "/budget", "give at least one"),
        ({"to": "new", "pairs": 9, "budget": {"money": 0}}, "/budget/money", "greater"),
        ({"to": "new", "pairs": 7}, "/pairs", "greater"),
    ],
)  # fmt: skip
def test_a_field_that_is_wrong_is_named(
    shared_client: httpx.Client, body: dict[str, Any], pointer: str, message: str
) -> None:
    answer = shared_client.post("/models/old/upgrade", json=body)
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["pointer"] == pointer
    assert message in error["message"]


def test_what_is_left_out_is_the_papers() -> None:
    request = asked_by(COMPATIBLE).model_dump()
    assert request["method"] == "random_walk"
    training = request["training"]
    assert (training["epochs"], training["batch"], training["learning_rate"]) == (90, 1024, 0.1)
    assert (training["weight_decay"], training["momentum"], training["schedule"]) == (1e-4, 0.9, "step")
    assert (training["patience"], training["image_size"]) == (30, 32)
    assert request["to"]["dimension"] == 128
    assert request["instance_weights"] is None


@pytest.mark.parametrize(
    ("changes", "path", "expected"),
    [
        ({"method": "auto"}, ("method",), "random_walk"),
        ({"training": {"epochs": 2}}, ("training", "patience"), 10),
        ({"training": {"schedule": "one_cycle"}}, ("training", "patience"), None),
        ({"training": {"patience": None}}, ("training", "patience"), None),
        ({"to": {**TO, "architecture": "resnet18"}}, ("training", "image_size"), 224),
        ({"to": {**TO, "architecture": "small-bert"}}, ("training", "image_size"), None),
        ({"to": {**TO, "architecture": "small-bert"}}, ("to", "modality"), "text"),
        ({"instance_weights": True}, ("instance_weights", "learning_rate"), 0.2),
        ({"instance_weights": False}, ("instance_weights",), None),
        ({"instance_weights": {"warm_up": 5}}, ("instance_weights", "warm_up"), 5),
    ],
)
def test_what_is_left_out_is_filled_in_and_stays_when_stored(
    changes: dict[str, Any], path: tuple[str, ...], expected: object
) -> None:
    request = asked_by(COMPATIBLE | changes)
    stored = request.model_dump(mode="json")
    value: Any = stored
    for step in path:
        value = value[step]
    assert value == expected
    assert asked_by(stored) == request


def test_fewer_dimensions_than_the_old_model_are_refused(training: Training) -> None:
    answer = training.ask(to={"id": "new", "architecture": ARCHITECTURE, "dimension": OLD_DIMENSION - 1})
    assert answer.status_code == 422
    assert "at least as many dimensions as the old one" in answer.json()["detail"]
    assert answer.json()["errors"][0]["pointer"] == "/to/dimension"
    assert training.client.get("/models/new").status_code == 404


def test_another_metric_than_the_old_models_is_refused(training: Training) -> None:
    answer = training.ask(to={"id": "new", "architecture": ARCHITECTURE, "metric": "l2"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/to/metric"


def test_dataset_without_what_the_architecture_embeds_is_refused(training: Training) -> None:
    answer = training.ask(to={"id": "new", "architecture": "small-bert"})
    assert answer.status_code == 422
    assert "no row with `text`" in answer.json()["detail"]
    assert answer.json()["errors"][0]["pointer"] == "/dataset"


def test_datasets_without_labels_are_refused(training: Training) -> None:
    training.post("/datasets", {"id": "bare"}, 201)
    training.put_rows([{"id": "a", "image": "aGk="}], "bare")
    for field in ("dataset", "evaluation"):
        answer = training.ask(**{field: "bare"})
        assert answer.status_code == 422
        assert "no row with `label`" in answer.json()["detail"]
        assert answer.json()["errors"][0]["pointer"] == f"/{field}"


def test_both_strategies_are_documented_with_an_example_that_is_valid(shared_client: httpx.Client) -> None:
    document = shared_client.get("/openapi.json").json()
    content = document["paths"]["/models/{model}/upgrade"]["post"]["requestBody"]["content"]["application/json"]
    shapes = {one["$ref"].rpartition("/")[2] for one in content["schema"]["anyOf"]}
    assert shapes == {"ForwardUpgrade", "CompatibleUpgrade"}
    examples = {name: asked_by(example["value"]) for name, example in content["examples"].items()}
    assert {name: example.strategy for name, example in examples.items()} == {
        "forward": "forward",
        "compatible": "compatible",
    }
