"""Judged queries of a dataset: what is taken in every format, what is refused and where, and what is kept."""

from __future__ import annotations

import json
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest

from tests.e2e.user import ARROW, NPZ, PARQUET, arrow, checked, npz, parquet, problem


@pytest.fixture
def dataset(client: httpx.Client) -> httpx.Client:
    for model, dimension in (("m.1", 2), ("m.2", 3)):
        checked(client.post("/models", json={"id": model, "dimension": dimension, "metric": "cosine"}), 201)
    checked(client.post("/datasets", json={"id": "d"}), 201)
    return client


def put(client: httpx.Client, *queries: dict[str, Any]) -> httpx.Response:
    return client.put("/datasets/d/queries", json={"queries": list(queries)})


def counts(client: httpx.Client) -> dict[str, Any]:
    return dict(checked(client.get("/datasets/d"))["queries"])


def test_queries_are_apart_from_rows_and_keep_what_a_later_body_leaves_out(dataset: httpx.Client) -> None:
    assert counts(dataset) == {"count": 0, "judged": 0, "embeddings": {}}
    done = checked(
        put(dataset, {"id": "a", "relevant": ["x"], "embeddings": {"m.1": [1, 0]}}, {"id": "b", "relevant": {"x": 2}})
    )
    assert done == {"inserted": 2, "updated": 0}
    assert checked(put(dataset, {"id": "b", "embeddings": {"m.2": [1, 0, 0]}})) == {"inserted": 0, "updated": 1}
    assert counts(dataset) == {"count": 2, "judged": 2, "embeddings": {"m.1": 1, "m.2": 1}}
    assert checked(dataset.get("/datasets/d"))["rows"] == 0
    checked(put(dataset, {"id": "a", "relevant": None}))
    assert counts(dataset)["judged"] == 1
    assert "dataset d" in problem(dataset.delete("/models/m.2"), 409, "in-use")["detail"]
    assert dataset.delete("/datasets/d/queries").status_code == 204
    assert counts(dataset)["count"] == 0
    assert dataset.delete("/datasets/d").status_code == 204
    problem(put(dataset, {"id": "a"}), 404, "not-found")
    problem(dataset.delete("/datasets/d/queries"), 404, "not-found")


IDS, VECTORS = pa.array(["a", "b"]), pa.array([[1.0, 0.0], [0.0, 1.0]], pa.list_(pa.float32(), 2))


def table(relevant: pa.Array) -> pa.Table:
    return pa.table({"id": IDS, "embedding.m.1": VECTORS, "relevant": relevant})


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        (PARQUET, parquet(table(pa.array([["x", "y"], ["z"]])))),
        (ARROW, arrow(table(pa.array([[("x", 2)], [("y", 0), ("z", 1)]], pa.map_(pa.string(), pa.int8()))))),
        (PARQUET, parquet(table(pa.array([{"x": 2.0, "y": None}, {"x": None, "y": 1.0}])))),
        (ARROW, arrow(table(pa.array(['["x"]', '{"y": 1}'])))),
        (NPZ, npz(id=["a", "b"], relevant=['["x"]', '{"y": 1}'], **{"embedding.m.1": np.eye(2)})),
    ],
    ids=["lists", "maps", "structs, as pandas writes dicts", "JSON texts", "npz"],
)
def test_every_format_says_which_items_are_relevant(dataset: httpx.Client, media_type: str, body: bytes) -> None:
    checked(dataset.put("/datasets/d/queries", content=body, headers={"content-type": media_type}))
    assert counts(dataset) == {"count": 2, "judged": 2, "embeddings": {"m.1": 2}}


@pytest.mark.parametrize(
    ("relevant", "said"),
    [
        ("x", "is not valid JSON"),
        ('"x"', "neither a list"),
        (7, "a list of ids, or an object"),
        ([7], "no string"),
        (["x", "x"], "names item 'x' twice"),
        ([""], "0 characters"),
        ({"x": 0.5}, "no whole number"),
        ({"x": True}, "no whole number"),
        ({"x": 1001}, "beyond 1000"),
        ([f"item-{place:060}" for place in range(1500)], "at most 65536"),
    ],
    ids=lambda value: json.dumps(value)[:30],
)
def test_what_names_no_relevant_items_is_refused_with_its_place(
    dataset: httpx.Client, relevant: Any, said: str
) -> None:
    refused = problem(put(dataset, {"id": "a"}, {"id": "b", "relevant": relevant}), 422, "invalid-rows")
    (error,) = refused["errors"]
    assert (error["row"], error["id"], error["column"]) == (1, "b", "relevant")
    assert said in error["message"]
    assert counts(dataset)["count"] == 0


def test_columns_of_rows_are_none_of_queries(dataset: httpx.Client) -> None:
    refused = problem(put(dataset, {"id": "a", "label": "l"}), 422, "invalid-rows")
    assert "embedding.m.1, embedding.m.2, relevant" in refused["detail"]
    refused = problem(put(dataset, {"id": "a", "embeddings": {"m.1": [1, 2, 3]}}), 422, "invalid-rows")
    assert refused["errors"][0]["column"] == "embedding.m.1"
