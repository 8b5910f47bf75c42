"""A model that was trained here embeds by itself, with no connection configured: real images of digits, read from a
store of the user's own or from payloads."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.settings import Settings
from app.storage.lance_table import embedding_column
from models import embedding_model
from tests.e2e.studio import lists
from tests.e2e.user import SETTLED, checked, problem
from tests.workers.workshop import Workshop, workshop
from tests.worlds import Floats

ITEMS, PAIRS, BROKEN = 300, 120, 7
GATE = {"metric": "cmc@1", "require": {"at_least": 0.1}}
UPGRADE = {"method": "ridge", "gate": GATE, "fused": False}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """A workshop whose new model is trained on digits; of the images to be embedded later, one is broken."""
    folder = tmp_path_factory.mktemp("trained")
    shelf = folder / "shelf"
    shelf.mkdir()
    connections = folder / "connections.toml"
    connections.write_text(f'[shelf]\nkind = "files"\nfolder = "{shelf}"\n')
    with workshop(Settings(data_dir=folder / "data", connections=connections)) as made:
        made.put_items(range(ITEMS))
        made.put_rows(made.dataset, range(600), made.pictures.old[:600])
        write_shelf(made, shelf / "digits.parquet")
        yield made


@pytest.fixture(scope="module")
def embedded(shop: Workshop) -> Floats:
    """What the new model, once it is trained, makes of the items' images."""
    body = {"to": shop.new, "galleries": [shop.gallery], "pairs": PAIRS}
    upgrade = shop.train(training={"epochs": 4}, dry_run=True)
    refused = problem(shop.client.post(f"/models/{shop.old}/upgrade", json=body), 422, "validation-error")
    assert "has no weights to embed with" in refused["detail"]
    assert shop.ends(upgrade)["report"] is not None
    model = embedding_model.load(shop.artifacts(upgrade).model)
    assert checked(shop.client.get(f"/models/{shop.new}"))["embedder"] == {
        "kind": "trained_here",
        "run": upgrade,
        "reads": "image",
    }
    again = {"id": shop.new, "dimension": model.card.dimension, "metric": "l2", "modality": "image"}
    assert shop.client.post("/models", json=again).status_code == 200  # registered so, though it has an embedder now
    vectors: Floats = model.embed(shop.pictures.inputs[:ITEMS])
    return vectors


def images(shop: Workshop) -> list[bytes]:
    """The items' images, of which one is cut short."""
    return [
        shop.pictures.inputs[place][:40] if place == BROKEN else shop.pictures.inputs[place]  # type: ignore[misc]
        for place in range(ITEMS)
    ]


def write_shelf(shop: Workshop, path: Path) -> None:
    known = {"id": shop.ids[:ITEMS], "label": [str(code) for code in shop.pictures.codes[:ITEMS]]}
    vectors = {"vector": lists(shop.pictures.old[:ITEMS]), "picture": pa.array(images(shop), pa.binary())}
    pq.write_table(pa.table(known | vectors), path)


def settled(shop: Workshop, gallery: str, **more: Any) -> dict[str, Any]:
    """An upgrade of a gallery to the model that was trained here, once it has settled."""
    body = {"to": shop.new, "galleries": [gallery], **UPGRADE, **more}
    upgrade = str(shop.post(f"/models/{shop.old}/upgrade", body, 202)["id"])
    while shop.upgrade(upgrade)["state"] not in SETTLED:
        shop.step()
    return shop.upgrade(upgrade)


def close_to_the_models_own(shop: Workshop, embedded: Floats, by_id: dict[str, Any]) -> bool:
    assert shop.ids[BROKEN] not in by_id
    wanted = np.stack([embedded[shop.ids.index(one)] for one in by_id])
    np.testing.assert_allclose(np.array(list(by_id.values()), np.float32), wanted, rtol=1e-4, atol=1e-5)
    return True


def pairs_of(shop: Workshop, upgrade: dict[str, Any]) -> dict[str, Any]:
    """What the service embedded, by id."""
    rows = shop.crosswalk.datasets.store(upgrade["dataset"]).rows
    return {row["id"]: row[embedding_column(shop.new)] for batch in rows.scan() for row in batch.to_pylist()}


@pytest.fixture(scope="module")
def from_store(shop: Workshop, embedded: Floats) -> dict[str, Any]:
    """An upgrade whose pairs are all images that a store holds."""
    store = {"connection": "shelf", "table": "digits.parquet", "id": "id", "vector": "vector", "label": "label"}
    shop.post("/galleries", {"id": "mute", "model": shop.old, "store": store}, 201)
    shop.post("/galleries", {"id": "shown", "model": shop.old, "store": {**store, "image": "picture"}}, 201)
    body = {"to": shop.new, "galleries": ["mute"], "pairs": ITEMS}
    refused = problem(shop.client.post(f"/models/{shop.old}/upgrade", json=body), 422, "validation-error")
    assert "register a gallery whose `store` names its `image`" in refused["errors"][0]["message"]
    upgrade = settled(shop, "shown", pairs=ITEMS, activate="manually")
    assert upgrade["state"] == "ready", upgrade["reason"]
    return upgrade


def test_pairs_are_images_of_a_store_that_the_model_embeds_itself(
    shop: Workshop, embedded: Floats, from_store: dict[str, Any]
) -> None:
    pairs, spent = pairs_of(shop, from_store), from_store["spent"]
    assert len(pairs) == ITEMS - 1
    assert (spent["items"], spent["tokens"]) == (ITEMS - 1, 0)
    assert close_to_the_models_own(shop, embedded, pairs)


def test_images_in_payloads_make_pairs_and_a_backfill(
    shop: Workshop, embedded: Floats, from_store: dict[str, Any]
) -> None:
    payloads = [f'{{"scan": "{base64.b64encode(image).decode()}"}}' for image in images(shop)]
    shop.put_items(range(ITEMS), payload=payloads)
    tokens = {"to": shop.new, "galleries": [shop.gallery], "pairs": PAIRS, "text": "scan", "budget": {"tokens": 9}}
    refused = problem(shop.client.post(f"/models/{shop.old}/upgrade", json=tokens), 422, "validation-error")
    assert refused["errors"][0]["pointer"] == "/budget/tokens"
    upgrade = settled(shop, shop.gallery, pairs=PAIRS, text="scan", budget={"items": 100})
    assert upgrade["state"] == "active", upgrade["reason"]
    assert (from_store["spent"]["items"], upgrade["spent"]) == (ITEMS - 1, None)  # they are the same images
    assert close_to_the_models_own(shop, embedded, pairs_of(shop, upgrade))
    query = {"gallery": shop.gallery, "model": shop.new, "route": "reranked", "vectors": embedded[:1].tolist()}
    for url, body in (("/search", query), ("/v1/embeddings", {"model": f"{upgrade['id']}-query", "input": "a seven"})):
        refused = problem(shop.client.post(url, json=body), 409, "no-route")
        assert "trained here, which workers load" in refused["detail"]
    run = shop.post(f"/galleries/{shop.gallery}/backfill", {"text": "scan"}, 202)["id"]
    assert shop.step() == "backfill"
    done = shop.get(f"/galleries/{shop.gallery}/backfills/{run}")
    assert done["state"] == "done", done["reason"]
    assert "1 have no image that can be decoded in the field 'scan'" in done["reason"]
    items = {one: shop.item(one)["embeddings"].get(shop.new) for one in shop.ids[:ITEMS]}
    assert items.pop(shop.ids[BROKEN]) is None
    assert close_to_the_models_own(shop, embedded, items)
    assert shop.get(f"/galleries/{shop.gallery}/backfill")["native_items"] == ITEMS - 1
