"""Filters over HTTP: every way of searching finds the nearest of the items that a filter lets through."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from app.settings import Settings
from tests.app.search.fused_world import fused_world
from tests.serving import serving

NPY = {"content-type": "application/x-npy"}
LANGUAGES = ("de", "fr", "en")


def _items(count: int) -> list[dict[str, Any]]:
    return [
        {
            "id": f"i{number}",
            "embedding": [1, number],
            "label": ("billing", "shipping", None)[number % 3],
            "payload": None
            if number % 11 == 0
            else {
                "price": number / 2,
                "lang": [LANGUAGES[number % 3], LANGUAGES[number % 2]],
                "seen": {"at": None if number % 2 else f"2026-01-{number % 28 + 1:02}"},
                "a.b": {"c": number == 17},
            },
        }
        for number in range(count)
    ]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with serving(Settings(data_dir=tmp_path_factory.mktemp("data"))) as client:
        client.post("/models", json={"id": "m", "dimension": 2, "metric": "ip"}).raise_for_status()
        client.post("/galleries", json={"id": "g", "model": "m"}).raise_for_status()
        client.put("/galleries/g/items?model=m", json={"items": _items(60)}).raise_for_status()
        yield client


def _found(client: httpx.Client, filter: dict[str, Any], k: int = 100) -> list[str]:
    """The ids found, which every way of searching agrees on: the highest numbers are nearest."""
    asked: dict[str, Any] = {"gallery": "g", "model": "m", "k": k}
    text = json.dumps(filter)
    body = io.BytesIO()
    np.save(body, np.array([[0, 1]], np.float32))
    url = {**asked, "filter": text}
    one = client.get("/search", params={**url, "vector": "0,1"})
    many = client.post("/search", json={**asked, "vectors": [[0, 1]], "filter": filter})
    binary = client.post("/search", params=url, content=body.getvalue(), headers=NPY)
    results = one.raise_for_status().json()["results"]
    assert many.raise_for_status().json()["results"] == [results]
    assert binary.raise_for_status().json()["results"] == [results]
    return [hit["id"] for hit in results]


def _named(numbers: list[int]) -> list[str]:
    return [f"i{number}" for number in sorted(numbers, reverse=True)]


@pytest.mark.parametrize(
    ("filter", "numbers"),
    [
        ({}, list(range(60))),
        ({"label": {"eq": "billing"}}, list(range(0, 60, 3))),
        ({"payload.[1]": {"exists": False}, "payload.[2]": {"exists": False}}, list(range(60))),
        ({"label": {"exists": False}}, list(range(2, 60, 3))),
        ({"id": {"in": ["i3", "i4", "nobody"]}}, [3, 4]),
        ({"payload.price": {"gte": 3, "lt": 5}}, [6, 7, 8, 9]),
        ({"payload.lang": {"in": ["en"]}, "label": {"eq": "billing"}}, []),
        ({"payload.lang": {"eq": "en"}, "payload.price": {"lte": 5}}, [2, 5, 8]),
        ({"payload.seen.at": {"gte": "2026-01-27"}}, [26, 54]),
        ({"payload.seen.at": {"exists": True}, "payload.price": {"lt": 4}}, [2, 4, 6]),
        ({"payload.`a.b`.c": {"eq": True}}, [17]),
        ({"payload.`a.b`": {"exists": False}}, [0, 11, 22, 33, 44, 55]),
        ({"or": [{"id": {"eq": "i1"}}, {"not": {"payload.price": {"lt": 29}}}]}, [0, 1, 11, 22, 33, 44, 55, 58, 59]),
        ({"payload.nowhere": {"exists": True}}, []),
        ({"not": {}}, []),
    ],
)
def test_every_way_of_searching_finds_what_a_filter_lets_through(
    client: httpx.Client, filter: dict[str, Any], numbers: list[int]
) -> None:
    assert _found(client, filter) == _named(numbers)
    assert _found(client, filter, k=2) == _named(numbers)[:2]


def test_a_bad_filter_is_refused_before_anything_is_looked_for(client: httpx.Client) -> None:
    bad = {"and": [{"label": {"eq": "x"}}, {"payload.price": {"gte": True}}]}
    asked = {"gallery": "g", "model": "m"}
    body = client.post("/search", json={**asked, "vectors": [[0, 1]], "filter": bad})
    assert body.status_code == 422
    assert [error["pointer"] for error in body.json()["errors"]] == ["/filter/and/1/payload.price/gte"]
    for answer in (
        client.get("/search", params={**asked, "vector": "0,1", "filter": json.dumps(bad)}),
        client.post("/search", params={**asked, "filter": json.dumps(bad)}, content=b"", headers=NPY),
    ):
        assert answer.status_code == 422
        (error,) = answer.json()["errors"]
        assert (error["parameter"], error["pointer"]) == ("filter", "/and/1/payload.price/gte")
    none = client.post("/search", json={**asked, "vectors": [[0, 1]], "filter": ["label"]})
    assert none.json()["errors"][0]["pointer"] == "/filter"


def test_one_item_in_many_is_found_whatever_is_near_and_whatever_is_written(settings: Settings) -> None:
    rare = {"payload.rare": {"eq": True}}
    with serving(settings) as client:
        client.post("/models", json={"id": "m", "dimension": 2, "metric": "ip"}).raise_for_status()
        client.post("/galleries", json={"id": "g", "model": "m"}).raise_for_status()

        def put(numbers: range, payload: dict[str, Any]) -> None:
            items = [{"id": f"i{number}", "embedding": [1, number], "payload": payload} for number in numbers]
            client.put("/galleries/g/items?model=m", json={"items": items}).raise_for_status()

        put(range(5_000), {"rare": False})
        assert _found(client, rare) == []
        put(range(7, 8), {"rare": True})
        assert _found(client, rare) == ["i7"]
        assert len(_found(client, {"not": rare}, k=1_000)) == 1_000
        put(range(9_000, 9_001), {"rare": [False, True]})
        assert _found(client, rare) == ["i9000", "i7"]
        client.post("/galleries/g/items/delete", json={"ids": ["i7"]}).raise_for_status()
        assert _found(client, rare) == ["i9000"]
        put(range(9_000, 9_001), {})
        assert _found(client, rare) == []


def test_filters_go_with_every_route(settings: Settings) -> None:
    with fused_world(settings, "cosine", "cosine", exactly=False) as world:
        asked = {"gallery": "g", "model": "new", "k": 100, "vectors": world.q_new.tolist()}
        some = {f"i{row}" for row in range(0, 60, 7)}
        for route in ("instant", "cascade"):
            every = world.client.post("/search", json={**asked, "route": route}).raise_for_status().json()
            only = {"id": {"in": sorted(some)}}
            few = world.client.post("/search", json={**asked, "route": route, "filter": only}).raise_for_status().json()
            assert few["route"] == route
            for whole, filtered in zip(every["results"], few["results"], strict=True):
                assert [hit["id"] for hit in filtered] == [hit["id"] for hit in whole if hit["id"] in some]
