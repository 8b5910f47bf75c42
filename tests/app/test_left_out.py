"""What a JSON row leaves out keeps its value, whatever the other rows of the body have; `null` clears it."""

from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ITEM: dict[str, Any] = {"label": "billing", "payload": {"page": 3}, "side_information": [1.0, 2.0]}
ROW: dict[str, Any] = {
    "label": "billing",
    "text": "where is it?",
    "side_information": [1.0, 2.0],
    "embeddings": {"m": [1.0, 0.0], "n": [3.0]},
}


@pytest.fixture
def stored(client: httpx.Client) -> httpx.Client:
    for model, dimension in (("m", 2), ("n", 1)):
        assert client.post("/models", json={"id": model, "dimension": dimension, "metric": "l2"}).is_success
    side = {"side_information": {"dimension": 2}}
    assert client.post("/galleries", json={"id": "g", "model": "m", **side}).is_success
    assert client.post("/datasets", json={"id": "d", **side}).is_success
    return client


def put_items(client: httpx.Client, *rows: dict[str, Any]) -> None:
    body = [{"embedding": [0.5, 0.5], **row} for row in rows]
    answer = client.put("/galleries/g/items", params={"model": "m"}, json=body)
    assert answer.is_success, answer.text


@pytest.mark.parametrize("member", list(ITEM))
def test_an_item_keeps_the_member_that_only_another_row_of_the_body_has(stored: httpx.Client, member: str) -> None:
    put_items(stored, {"id": "kept", **ITEM})
    put_items(stored, {"id": "kept"}, {"id": "other", **ITEM}, {"id": "new"})
    assert stored.get("/galleries/g/items/kept").json()[member] == ITEM[member]
    assert stored.get("/galleries/g/items/new").json()[member] is None
    put_items(stored, {"id": "kept", member: None}, {"id": "other"})
    assert stored.get("/galleries/g/items/kept").json()[member] is None
    assert stored.get("/galleries/g/items/other").json()[member] == ITEM[member]


def flat(row: dict[str, Any]) -> dict[str, Any]:
    vectors = {f"embedding.{model}": vector for model, vector in (row.get("embeddings") or {}).items()}
    return {name: value for name, value in row.items() if name != "embeddings"} | vectors


CELLS: dict[str, Any] = {name: st.sampled_from([None, value]) for name, value in ROW.items() if name != "embeddings"}
VECTORS = {model: st.sampled_from([None, vector]) for model, vector in ROW["embeddings"].items()}
MEMBERS = st.fixed_dictionaries(
    {},
    optional=CELLS | {"embeddings": st.fixed_dictionaries({}, optional=VECTORS)},
)
BODIES = st.lists(st.dictionaries(st.sampled_from("abc"), MEMBERS, min_size=1), min_size=1, max_size=4)


@given(bodies=BODIES)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_datasets_hold_what_each_row_last_gave_of_each_member(
    stored: httpx.Client, bodies: list[dict[str, Any]]
) -> None:
    assert stored.delete("/datasets/d").is_success
    assert stored.post("/datasets", json={"id": "d", "side_information": {"dimension": 2}}).is_success
    expected: dict[str, dict[str, Any]] = {}
    for body in bodies:
        answer = stored.put("/datasets/d/rows", json=[{"id": name, **row} for name, row in body.items()])
        assert answer.is_success, answer.text
        for name, row in body.items():
            expected.setdefault(name, {}).update(flat(row))
    told = stored.get("/datasets/d").json()
    assert told["rows"] == len(expected)
    assert told["labelled"] == sum(row.get("label") is not None for row in expected.values())
    for model in "mn":
        held = sum(row.get(f"embedding.{model}") is not None for row in expected.values())
        assert told["embeddings"].get(model, 0) == held
