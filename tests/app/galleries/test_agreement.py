"""What must agree before it is stored or served: dimensions of side-information, and artifacts with their checksums."""

from __future__ import annotations

from typing import Any, cast

import httpx

from app.artifacts.crossings import open_crossing
from app.artifacts.folder import UpgradeArtifacts
from app.composition import compose
from app.settings import Settings
from models.portable import Transformation
from tests.app.crossings import affine
from tests.app.galleries.upgraded import Upgraded


class ReadingSide(Upgraded):
    """Its crossing reads side-information of three dimensions, which no item has yet."""

    @property
    def h(self) -> Transformation:
        return affine(self.crosswalk.models.space("old"), self.crosswalk.models.space("new"), 3)

    @property
    def plain(self) -> Transformation:
        return super().h


def test_side_information_that_the_crossing_cannot_read_is_refused_and_search_goes_on(
    client: httpx.Client, settings: Settings
) -> None:
    crosswalk = compose(settings)
    scene = ReadingSide(client, crosswalk)
    scene.upgrade(uncertain=False)
    url = "/galleries/shop/side-information"
    rows = [{"id": scene.ids[0], "side_information": [1.0, 0.0]}]
    refused = client.put(url, params={"dimension": 2}, json={"items": rows})
    assert refused.status_code == 422, refused.text
    assert "3 dimensions, not of 2" in refused.json()["detail"]
    rows = [{"id": scene.ids[0], "side_information": [1.0, 0.0, 0.5]}]
    taken = client.put(url, params={"dimension": 3}, json={"items": rows})
    assert taken.status_code == 200, taken.text
    query = {"gallery": "shop", "model": "new", "vectors": scene.new[:1].tolist(), "k": 3}
    assert client.post("/search", json=query).json()["route"] == "transformed"
    crosswalk.close()


def test_an_upgrade_whose_side_information_has_two_dimensions_is_refused(upgraded: Upgraded) -> None:
    upgraded.post("/galleries", {"id": "other", "model": "old", "side_information": {"dimension": 3}}, 201)
    item = {"id": "a", "embedding": upgraded.old[0].tolist()}
    assert upgraded.client.put("/galleries/other/items?model=old", json=[item]).is_success
    upgraded.post("/datasets", {"id": "beside", "side_information": {"dimension": 2}}, 201)
    row = {"id": "a", "embedding.new": upgraded.new[0].tolist(), "side_information": [1.0, 2.0]}
    assert upgraded.client.put("/datasets/beside/rows", json={"rows": [row]}).is_success
    problem = upgraded.post("/models/old/upgrade", {"to": "new", "dataset": "beside", "galleries": ["other"]}, 422)
    assert "dataset 'beside' has 2, gallery 'other' has 3" in problem["detail"]
    assert upgraded.client.get("/upgrades").json()["items"] == []


def test_a_corrupted_artifact_is_refused_by_its_checksum_and_says_what_to_do(upgraded: Upgraded) -> None:
    upgrade = upgraded.upgrade()
    weights = next(UpgradeArtifacts(upgraded.crosswalk.settings.artifacts_dir, upgrade).chosen.glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    cast(Any, open_crossing).cache_clear()  # as in a service that was started since
    query = {"gallery": "shop", "model": "new", "vectors": upgraded.new[:1].tolist()}
    answer = upgraded.client.post("/search", json=query)
    assert answer.status_code == 500
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert answer.json()["type"] == "/problems/corrupt-artifact"
    assert upgraded.client.post(
        "/search", json=query | {"model": "old", "vectors": upgraded.old[:1].tolist()}
    ).is_success
