"""What is too little to learn a crossing from is refused when it is asked for."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.e2e.user import checked, problem

VECTOR = {"old": [1.0, 0.0], "new": [0.0, 1.0, 0.0]}
ASKED: dict[str, Any] = {"to": "new", "dataset": "pairs", "galleries": ["shop"], "method": "orthogonal"}


@pytest.fixture
def shop(client: httpx.Client) -> httpx.Client:
    """An empty gallery of the old model, and an empty dataset."""
    for model, vector in VECTOR.items():
        checked(client.post("/models", json={"id": model, "dimension": len(vector), "metric": "cosine"}))
    checked(client.post("/galleries", json={"id": "shop", "model": "old"}))
    for dataset in ("pairs", "judged"):
        checked(client.post("/datasets", json={"id": dataset}))
    return client


def _items(client: httpx.Client, *ids: str) -> None:
    rows = [{"id": one, "embedding": VECTOR["old"], "label": "one"} for one in ids]
    checked(client.put("/galleries/shop/items?model=old", json=rows))


def _rows(client: httpx.Client, *ids: str, models: tuple[str, ...] = ("new",), dataset: str = "pairs") -> None:
    rows = [{"id": one, "embeddings": {model: VECTOR[model] for model in models}} for one in ids]
    checked(client.put(f"/datasets/{dataset}/rows", json=rows))


def _refused(client: httpx.Client, **changes: Any) -> dict[str, Any]:
    refusal = problem(client.post("/models/old/upgrade", json=ASKED | changes), 422, "validation-error")
    assert checked(client.get("/upgrades"))["items"] == []
    return refusal


NAMES = [f"i{place}" for place in range(12)]


def test_an_empty_gallery_is_refused_and_an_unnamed_one_left_out(shop: httpx.Client) -> None:
    _rows(shop, *NAMES, models=("old", "new"))
    assert "empty" in _refused(shop)["detail"]
    assert "empty" in _refused(shop, galleries=None)["detail"]
    checked(shop.post("/galleries", json={"id": "full", "model": "old"}))
    item = {"id": "a", "embedding": VECTOR["old"], "label": "one"}
    checked(shop.put("/galleries/full/items?model=old", json=[item]))
    assert "empty" in _refused(shop, galleries=["full", "shop"])["detail"]
    started = checked(shop.post("/models/old/upgrade", json=ASKED | {"galleries": None}), 202)
    assert started["galleries"] == ["full"]


def test_an_empty_dataset_and_one_of_other_ids_are_refused(shop: httpx.Client) -> None:
    _items(shop, *NAMES)
    assert "no vectors" in _refused(shop)["detail"]
    _rows(shop, *(f"other-{name}" for name in NAMES))
    refusal = _refused(shop)
    assert "for 0 of them" in refusal["detail"]
    assert refusal["errors"][0]["pointer"] == "/dataset"


def test_too_few_pairs_are_refused_and_as_many_as_are_needed_are_not(shop: httpx.Client) -> None:
    _items(shop, *NAMES[:3])
    _rows(shop, *NAMES)
    _rows(shop, *NAMES[3:7], models=("old", "new"))
    assert "for 7 of them" in _refused(shop)["detail"]
    _items(shop, NAMES[8])
    checked(shop.post("/models/old/upgrade", json=ASKED), 202)


def test_an_evaluation_set_is_looked_at_too(shop: httpx.Client) -> None:
    _items(shop, *NAMES)
    _rows(shop, *NAMES)
    assert "no vectors" in _refused(shop, evaluation="judged")["detail"]
    _rows(shop, "unknown", dataset="judged")
    assert _refused(shop, evaluation="judged")["errors"][0]["pointer"] == "/evaluation"
