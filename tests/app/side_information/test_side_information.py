"""Side-information over HTTP: encoders that are trained to make it, and storing it with items that are there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest

from app.artifacts.folder import UpgradeArtifacts
from app.composition import compose
from app.settings import Settings
from app.upgrades.states import Event
from models.portable import Transformation, save_transformation
from tests.app.crossings import affine
from tests.app.galleries.upgraded import OLD, Upgraded
from tests.command import run_command
from tests.e2e.user import ARROW, NPZ, PARQUET, arrow, npz, parquet, problem

SIDE = 2
ENCODER: dict[str, Any] = {"id": "side-v1", "dataset": "photos", "architecture": "small-resnet", "dimension": 16}


@pytest.fixture
def deployed(client: httpx.Client) -> httpx.Client:
    return _with_model_and_dataset(client)


@pytest.fixture
def each_deployed(each_client: httpx.Client) -> httpx.Client:
    """On SQLite and on PostgreSQL in turn."""
    return _with_model_and_dataset(each_client)


def _with_model_and_dataset(client: httpx.Client) -> httpx.Client:
    """A model, and a dataset of images and texts."""
    for path, body in (("/models", {"id": "old", "dimension": 4, "metric": "cosine"}), ("/datasets", {"id": "photos"})):
        assert client.post(path, json=body).status_code == 201
    row = {"id": "a", "image": "aGk=", "text": "hi"}
    assert client.put("/datasets/photos/rows", json={"rows": [row]}).is_success
    return client


def train(client: httpx.Client, *, model: str = "old", key: str | None = None, **more: Any) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return client.post(f"/models/{model}/side-information", json={**ENCODER, **more}, headers=headers)


def test_an_encoder_is_registered_as_a_model_and_shows_its_training(each_deployed: httpx.Client) -> None:
    answer = train(each_deployed)
    assert (answer.status_code, answer.headers["location"]) == (202, "/models/side-v1")
    assert answer.json()["training"]["image_size"] == 32
    model = each_deployed.get("/models/side-v1").json()
    assert (model["dimension"], model["metric"], model["modality"]) == (16, "cosine", "image")
    assert (model["side_information_for"], model["training"]["state"]) == ("old", "queued")
    assert model["training"]["progress"]["step"] == "train_side_information"
    assert model in each_deployed.get("/models").json()["items"]
    (listed,) = each_deployed.get("/models/old/side-information").json()["items"]
    assert listed == answer.json() | {"progress": listed["progress"]}
    waiting = problem(each_deployed.get("/models/side-v1/artifact"), 409, "wrong-state")
    assert waiting["state"] == "queued"


def test_a_repeated_request_with_its_key_starts_nothing_twice(deployed: httpx.Client) -> None:
    first, second = (train(deployed, key="k") for _ in range(2))
    assert (second.status_code, second.json()) == (202, first.json())
    problem(train(deployed, key="k", dimension=8), 422, "idempotency-key-reused")
    taken = problem(train(deployed), 409, "id-taken")
    assert "its training is queued" in taken["detail"]


def test_a_cancelled_training_may_be_started_anew(each_deployed: httpx.Client) -> None:
    train(each_deployed)
    for _ in range(2):
        assert each_deployed.post("/models/side-v1/cancel").json()["training"]["state"] == "cancelled"
    assert "trains it anew" in problem(each_deployed.get("/models/side-v1/artifact"), 409, "wrong-state")["detail"]
    assert problem(train(each_deployed, dimension=8), 409, "id-taken")["differing"] == ["dimension"]
    assert train(each_deployed, architecture="small-bert").status_code == 202
    assert each_deployed.get("/models/side-v1").json()["modality"] == "text"


def test_a_model_that_is_not_being_trained_as_an_encoder_is_not_cancelled(deployed: httpx.Client) -> None:
    problem(deployed.post("/models/old/cancel"), 409, "wrong-state")
    problem(deployed.post("/models/nobody/cancel"), 404, "not-found")


def test_what_is_needed_stays_and_an_encoder_is_removed_as_a_model(each_deployed: httpx.Client) -> None:
    train(each_deployed)
    assert problem(each_deployed.delete("/models/old"), 409, "in-use")["used_by"] == [
        "its encoder of side-information side-v1"
    ]
    assert problem(each_deployed.delete("/datasets/photos"), 409, "in-use")["used_by"] == [
        "the training of model side-v1"
    ]
    assert "/models/side-v1/cancel" in problem(each_deployed.delete("/models/side-v1"), 409, "in-use")["detail"]
    each_deployed.post("/models/side-v1/cancel")
    assert each_deployed.delete("/models/side-v1").status_code == 204
    assert each_deployed.get("/models/old/side-information").json()["items"] == []
    assert each_deployed.delete("/models/old").status_code == 204
    assert each_deployed.delete("/datasets/photos").status_code == 204


@pytest.mark.parametrize(
    ("more", "where"),
    [
        ({"architecture": "resnet-of-no-kind"}, "/architecture"),
        ({"dimension": 0}, "/dimension"),
        ({"training": {"batch": 3}}, "/training/batch"),
        ({"training": {"epoch": 3}}, "/training/epoch"),
        ({"training": {"mirrored": False}, "architecture": "small-bert"}, "/training/mirrored"),
        ({"id": "old"}, "/id"),
        ({"dataset": "empty"}, "/dataset"),
    ],
)
def test_a_wrong_request_is_refused_at_its_place(deployed: httpx.Client, more: dict[str, Any], where: str) -> None:
    assert deployed.post("/datasets", json={"id": "empty"}).status_code == 201
    refused = problem(train(deployed, **more), 422, "validation-error")
    assert refused["errors"][0]["pointer"] == where
    assert deployed.get("/models/old/side-information").json()["items"] == []


def test_what_is_not_there_is_said(deployed: httpx.Client) -> None:
    problem(train(deployed, model="nobody"), 404, "not-found")
    problem(train(deployed, dataset="nothing"), 404, "not-found")
    problem(deployed.get("/models/nobody/side-information"), 404, "not-found")
    deployed.post("/models", json={"id": "side-v1", "dimension": 16, "metric": "cosine"})
    assert "not trained as an encoder" in problem(train(deployed), 409, "id-taken")["detail"]


def test_it_is_done_by_the_command_too(client: httpx.Client, tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        done = run_command(*arguments, "--url", str(client.base_url))
        assert done.returncode == 0, done.stderr
        return done.stdout

    client.post("/models", json={"id": "old", "dimension": 1, "metric": "l2"})
    client.post("/datasets", json={"id": "photos"})
    client.put("/datasets/photos/rows", json={"rows": [{"id": "a", "text": "hi"}]})
    options = ("--id", "side", "--dataset", "photos", "--architecture", "small-bert", "--epochs", "3")
    assert run("models", "train-side-information", "old", *options) == "side\n"
    (listed,) = json.loads(run("models", "side-information", "old"))["items"]
    assert (listed["dimension"], listed["training"]["epochs"], listed["training"]["tokens"]) == (128, 3, 64)
    assert json.loads(run("models", "cancel", "side"))["training"]["state"] == "cancelled"
    client.post("/galleries", json={"id": "shop", "model": "old"})
    client.put("/galleries/shop/items?model=old", json={"items": [{"id": "a", "embedding": [1.0]}]})
    file = tmp_path / "side.json"
    file.write_text('{"items": [{"id": "a", "side_information": [1, 2]}]}')
    assert json.loads(run("galleries", "side-information", "shop", str(file), "--dimension", "2"))["updated"] == 1


# Storing side-information with items that are there.


class Crossed(Upgraded):
    """A gallery whose crossing reads side-information."""

    @property
    def h(self) -> Transformation:
        return affine(self.crosswalk.models.space("old"), self.crosswalk.models.space("new"), SIDE)

    @property
    def plain(self) -> Transformation:
        return affine(self.crosswalk.models.space("old"), self.crosswalk.models.space("new"), seed=1)


@pytest.fixture
def shop(client: httpx.Client, settings: Settings) -> Iterator[Crossed]:
    crosswalk = compose(settings)
    yield Crossed(client, crosswalk)
    crosswalk.close()


def give(shop: Upgraded, places: range, *, dimension: int | None = SIDE, scale: float = 1.0) -> httpx.Response:
    """Gives items side-information that tells their place."""
    items = [{"id": shop.ids[place], "side_information": [scale * place] * SIDE} for place in places]
    query = {} if dimension is None else {"dimension": dimension}
    return shop.client.put("/galleries/shop/side-information", params=query, json={"items": items})


def side_of(shop: Upgraded, place: int) -> Any:
    return shop.client.get(f"/galleries/shop/items/{shop.ids[place]}").json()["side_information"]


def test_items_get_side_information_and_keep_everything_else(shop: Crossed) -> None:
    before = shop.client.get(f"/galleries/shop/items/{shop.ids[3]}").json()
    assert give(shop, range(10)).json() == {"updated": 10, "items": 40, "items_without": 30}
    after = shop.client.get(f"/galleries/shop/items/{shop.ids[3]}").json()
    assert after == before | {"side_information": [3.0, 3.0]}
    assert give(shop, range(5, 12), dimension=None, scale=2).json()["items_without"] == 28
    assert (side_of(shop, 4), side_of(shop, 5), side_of(shop, 20)) == ([4, 4], [10, 10], None)
    assert shop.client.get("/galleries/shop").json()["side_information"] == {"dimension": SIDE}
    assert shop.client.post("/galleries", json={"id": "shop", "model": "old"}).status_code == 200
    items = [{"id": "new", "embedding": [1.0] * OLD, "side_information": [7.0] * SIDE}]
    assert shop.client.put("/galleries/shop/items?model=old", json={"items": items}).is_success


@pytest.mark.parametrize("media_type", [PARQUET, ARROW, NPZ])
def test_every_bulk_form_is_taken(shop: Crossed, media_type: str) -> None:
    vectors = np.arange(6, dtype=np.float32).reshape(3, SIDE)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), SIDE)
    table = pa.table({"id": shop.ids[:3], "side_information": lists})
    bodies = {PARQUET: parquet(table), ARROW: arrow(table), NPZ: npz(id=shop.ids[:3], side_information=vectors)}
    url, headers = "/galleries/shop/side-information", {"content-type": media_type}
    answer = shop.client.put(url, params={"dimension": SIDE}, content=bodies[media_type], headers=headers)
    assert answer.json()["updated"] == 3
    assert [side_of(shop, place) for place in range(3)] == vectors.tolist()


def test_an_unknown_id_refuses_the_whole_request(shop: Crossed) -> None:
    items = [{"id": one, "side_information": [1.0] * SIDE} for one in (shop.ids[0], "stranger", shop.ids[1], "other")]
    url = "/galleries/shop/side-information"
    refused = problem(shop.client.put(url, params={"dimension": SIDE}, json={"items": items}), 422, "invalid-rows")
    assert [(error["row"], error["id"]) for error in refused["errors"]] == [(1, "stranger"), (3, "other")]
    assert side_of(shop, 0) is None
    assert shop.client.get("/galleries/shop").json()["side_information"] is None


def test_a_wrong_dimension_is_refused_and_the_first_request_must_say_it(shop: Crossed) -> None:
    assert "?dimension=N" in problem(give(shop, range(3), dimension=None), 422, "validation-error")["detail"]
    problem(give(shop, range(3), dimension=5), 422, "invalid-rows")
    assert shop.client.get("/galleries/shop").json()["side_information"] is None
    give(shop, range(3))
    assert "has 2 dimensions, not 5" in problem(give(shop, range(3), dimension=5), 422, "validation-error")["detail"]
    wrong = {"items": [{"id": shop.ids[0], "side_information": [1.0] * 3}]}
    problem(shop.client.put("/galleries/shop/side-information", json=wrong), 422, "invalid-rows")
    missing = {"items": [{"id": shop.ids[0]}]}
    problem(shop.client.put("/galleries/shop/side-information", json=missing), 422, "invalid-rows")
    problem(shop.client.put("/galleries/nothing/side-information", json=wrong), 404, "not-found")


def test_a_transformed_generation_follows_at_once(shop: Crossed) -> None:
    """Items are found where `chosen` puts them from then on; those without stay where `plain` does."""
    shop.upgrade(None, uncertain=False)
    side = np.repeat(np.arange(40, dtype=np.float32)[:, None], SIDE, axis=1)

    def nearest(vectors: Any) -> list[str]:
        body = {"gallery": "shop", "model": "new", "k": 1, "vectors": np.asarray(vectors).tolist()}
        results = shop.post("/search", body)["results"]
        assert all(hits[0]["score"] < 1e-3 for hits in results)  # squared distances
        return [hits[0]["id"] for hits in results]

    assert nearest(shop.plain.apply(shop.old)) == shop.ids
    assert give(shop, range(10)).is_success
    assert nearest(shop.h.apply(shop.old[:10], side[:10])) == shop.ids[:10]
    assert nearest(shop.plain.apply(shop.old[10:])) == shop.ids[10:]
    assert give(shop, range(5), scale=3).is_success
    assert nearest(shop.h.apply(shop.old[:5], 3 * side[:5])) == shop.ids[:5]


def test_side_information_must_fit_the_crossing_that_is_pushed_into_queries_while_the_gallery_is_rewritten(
    shop: Crossed,
) -> None:
    steps = shop.crosswalk.upgrade_steps
    upgrade = shop.post("/models/old/upgrade", {"to": "new", "dataset": "pairs", "galleries": ["shop"]}, 202)["id"]
    steps.begin(upgrade)
    artifacts = UpgradeArtifacts(shop.crosswalk.settings.artifacts_dir, upgrade)
    save_transformation(shop.h, artifacts.chosen)
    save_transformation(shop.plain, artifacts.plain)
    with shop.crosswalk.database.session() as session:
        steps.advance(session, upgrade, Event.TRAINED, learned={})
        steps.advance(session, upgrade, Event.ACCEPTED, proofs={"shop": {"advice": []}})
    refused = problem(give(shop, range(3), dimension=SIDE + 3), 422, "validation-error")
    assert f"read side-information of {SIDE} dimensions, not of {SIDE + 3}" in refused["detail"]
    assert give(shop, range(3)).json()["updated"] == 3
