"""Side-information made here, seen from outside: an encoder trained without labels, and an upgrade that reads its
vectors, though some items have none."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from app.artifacts.crossings import Crossing
from models import embedding_model
from models.portable import Space, load_transformation
from tests.e2e.conftest import ServiceInside
from tests.e2e.studio import SMALL, Studio, lists
from tests.e2e.user import PARQUET, checked, parquet, problem
from tests.pictures import OLD
from tests.waiting import wait_until
from tests.worlds import Floats

SIDE, NEW, ITEMS, HAVING, PAIRS = 24, 64, 600, 480, 300
TRAINING = {"epochs": 3, "batch": 128, "image_size": 16, "mirrored": False, "least_area": 0.6, "workers": 0}


@dataclass(frozen=True)
class Prepared:
    """A gallery of which most items have side-information, upgraded. side: (600, 24), new: (600, 64) float32."""

    studio: Studio
    encoder: dict[str, Any]
    side: Floats
    new: Floats
    upgraded: dict[str, Any]
    data: Path

    @property
    def crossing(self) -> Crossing:
        source, target = Space(self.studio.old, OLD, "l2"), Space(self.studio.new, NEW, "l2")
        folder = self.data / "artifacts" / self.upgraded["id"]
        chosen, plain = (
            load_transformation(folder / name, source=source, target=target) for name in ("chosen", "plain")
        )
        return Crossing(chosen, plain)

    def give(self, places: range) -> dict[str, Any]:
        """Gives items their side-information."""
        s = self.studio
        return give(s, places, self.side)

    def nearest(self, vectors: Floats) -> list[str]:
        return [ids[0] for ids in self.studio.search(vectors, self.studio.new, 1).ids]


def _pixels(raw: bytes | str) -> Floats:
    assert isinstance(raw, bytes)
    return np.asarray(Image.open(io.BytesIO(raw)), np.float32).ravel() / np.float32(16)


def give(studio: Studio, places: range, side: Floats) -> dict[str, Any]:
    table = pa.table({"id": [studio.ids[place] for place in places], "side_information": lists(side[list(places)])})
    url, headers = f"/galleries/{studio.gallery}/side-information", {"content-type": PARQUET}
    answer = studio.client.put(url, params={"dimension": SIDE}, content=parquet(table), headers=headers)
    return dict(checked(answer))


@pytest.fixture(scope="session")
def prepared(client: httpx.Client, service: ServiceInside, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    s = Studio(client)
    labels = [str(code) for code in s.pictures.codes[:ITEMS]]
    items = pa.table({"id": s.ids[:ITEMS], "label": labels, "embedding": lists(s.pictures.old[:ITEMS])})
    s.put_body(parquet(items), PARQUET)
    s.put_rows(s.dataset, range(ITEMS), None)
    encoder = f"{s.new}-side"
    body = {"id": encoder, "dataset": s.dataset, "architecture": SMALL, "dimension": SIDE, "training": TRAINING}
    s.post(f"/models/{s.old}/side-information", body, 202)

    def trained() -> bool:
        state = s.get(f"/models/{encoder}")["training"]
        assert state["state"] not in ("failed", "cancelled"), state["reason"]
        return bool(state["state"] == "ready")

    wait_until(trained, "the encoder to be trained")
    path = tmp_path_factory.mktemp("downloaded") / "encoder.zip"
    path.write_bytes(client.get(f"/models/{encoder}/artifact").raise_for_status().content)
    side = embedding_model.load(path).embed(s.pictures.inputs[:ITEMS])
    assert give(s, range(HAVING), side)["items_without"] == ITEMS - HAVING
    new = np.stack([_pixels(raw) for raw in s.pictures.inputs[:ITEMS]])
    s.post("/models", {"id": s.new, "dimension": NEW, "metric": "l2"}, 201)
    some = np.random.default_rng(0).permutation(ITEMS)[:PAIRS].tolist()
    s.put_rows(s.dataset, some, None, **{f"embedding.{s.new}": lists(new[some])})
    upgrade = s.start()
    return Prepared(s, s.get(f"/models/{encoder}"), side, new, s.reaches(upgrade, "active"), service.data)


def test_the_encoder_is_a_model_of_its_own(prepared: Prepared) -> None:
    s, encoder = prepared.studio, prepared.encoder
    assert (encoder["side_information_for"], encoder["dimension"], encoder["modality"]) == (s.old, SIDE, "image")
    assert encoder["training"] == {"state": "ready", "progress": None, "reason": None}
    (listed,) = s.get(f"/models/{s.old}/side-information")["items"]
    losses = [epoch["loss"] for epoch in listed["learned"]["epochs"]]
    assert losses[-1] < losses[0]
    assert prepared.side.shape == (ITEMS, SIDE)


def test_the_upgrade_reads_side_information_and_counts_what_has_none(prepared: Prepared) -> None:
    report = prepared.upgraded["report"]
    learned, proof = report["learned"], report["galleries"][prepared.studio.gallery]
    assert learned["uses_side_information"]
    lacking = [place for place in np.random.default_rng(0).permutation(ITEMS)[:PAIRS].tolist() if place >= HAVING]
    assert learned["pairs_without_side_information"] == len(lacking) > 0
    assert proof["items_without_side_information"] == ITEMS - HAVING
    assert learned["stand_in"]["share"] == pytest.approx(1 - HAVING / ITEMS)
    assert proof["basis"]["gallery_rows"] == ITEMS
    url, headers = f"/upgrades/{prepared.upgraded['id']}/report", {"accept": "text/html"}
    page = prepared.studio.client.get(url, headers=headers).text
    assert f"{ITEMS - HAVING} items have no side-information" in page
    assert "20.0 % of the items have no side-information" in page


def test_items_with_side_information_are_crossed_with_it_and_the_others_without(prepared: Prepared) -> None:
    s, has = prepared.studio, np.arange(ITEMS) < HAVING
    transformed = prepared.crossing.apply(s.pictures.old[:ITEMS], prepared.side, has)
    assert prepared.nearest(transformed) == s.ids[:ITEMS]
    plain = prepared.crossing.plain.apply(s.pictures.old[:ITEMS])
    assert np.linalg.norm(transformed[has] - prepared.new[:HAVING], axis=1).mean() < (
        0.95 * np.linalg.norm(plain[has] - prepared.new[:HAVING], axis=1).mean()
    )


def test_side_information_that_comes_after_the_switch_moves_the_items(prepared: Prepared) -> None:
    s = prepared.studio
    late = range(HAVING, HAVING + 40)
    assert prepared.give(late)["updated"] == 40
    transformed = prepared.crossing.chosen.apply(s.pictures.old[list(late)], prepared.side[list(late)])
    assert prepared.nearest(transformed) == [s.ids[place] for place in late]
    scores = s.search(transformed, s.new, 1).scores
    assert max(score for (score,) in scores) < 1e-2


def test_what_is_wrong_is_refused_and_changes_nothing(prepared: Prepared) -> None:
    s, before = prepared.studio, prepared.studio.item(prepared.studio.ids[1])
    url = f"/galleries/{s.gallery}/side-information"
    for wrong in (
        {"id": "nobody", "side_information": [0.0] * SIDE},
        {"id": s.ids[0], "side_information": [0.0]},
        {"id": s.ids[0], "side_information": [float("nan")] * SIDE},
        {"id": s.ids[0]},
    ):
        body = json.dumps({"items": [{"id": s.ids[1], "side_information": [0.0] * SIDE}, wrong]})
        answer = s.client.put(url, content=body, headers={"content-type": "application/json"})
        assert problem(answer, 422, "invalid-rows")["errors"][0]["row"] == 1
    assert s.item(s.ids[1]) == before
