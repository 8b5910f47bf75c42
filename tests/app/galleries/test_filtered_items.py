"""Listing, exporting and deleting those items that a filter lets through, held to what the oracle of filters says."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from random import Random
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.composition import compose
from app.settings import Settings
from app.storage.lance_table import ROW_ID, Table
from tests.app.filters import oracle
from tests.app.filters.oracle import PlainItem
from tests.serving import serving

ARROW = "application/vnd.apache.arrow.stream"
ITEMS = "/galleries/g/items"
STORED = oracle.many_items(120, seed=3)


def put(client: httpx.Client, *items: PlainItem) -> None:
    rows = [{"id": one.id, "embedding": [1.0], "label": one.label, "payload": one.payload} for one in items]
    client.put(ITEMS, params={"model": "m"}, json=rows).raise_for_status()


def laid_out(client: httpx.Client) -> None:
    client.post("/models", json={"id": "m", "dimension": 1, "metric": "l2"}).raise_for_status()
    client.post("/galleries", json={"id": "g", "model": "m"}).raise_for_status()


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service whose gallery `g` holds STORED, which no test changes."""
    with serving(Settings(data_dir=tmp_path_factory.mktemp("data"))) as client:
        laid_out(client)
        put(client, *STORED)
        yield client


def listed(client: httpx.Client, filter: dict[str, Any], limit: int) -> list[str]:
    """The ids on all pages."""
    ids: list[str] = []
    query: dict[str, Any] = {"filter": json.dumps(filter), "limit": limit, "fields": ""}
    while True:
        page = client.get(ITEMS, params=query).raise_for_status().json()
        assert len(page["items"]) <= limit
        ids += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            return ids
        assert len(page["items"]) == limit
        query["cursor"] = page["next_cursor"]


def exported(client: httpx.Client, filter: dict[str, Any]) -> list[str]:
    query = {"filter": json.dumps(filter), "fields": "label"}
    answer = client.get(ITEMS, params=query, headers={"accept": ARROW}).raise_for_status()
    table = pa.ipc.open_stream(io.BytesIO(answer.content)).read_all()
    ids: list[str] = table.column("id").to_pylist()
    labels = {one.id: one.label for one in STORED}
    assert table.column("label").to_pylist() == [labels[id] for id in ids]
    return ids


@hypothesis_settings(max_examples=40, deadline=None)
@given(filter=oracle.filters([one.id for one in STORED]), limit=st.integers(1, 50))
def test_pages_and_exports_hold_exactly_what_a_filter_lets_through(
    stored: httpx.Client, filter: dict[str, Any], limit: int
) -> None:
    expected = sorted(one.id for one in STORED if oracle.holds(filter, one))
    assert sorted(listed(stored, filter, limit)) == expected
    assert sorted(exported(stored, filter)) == expected


def test_a_rare_item_is_on_the_first_page_and_exported_alone(stored: httpx.Client) -> None:
    filter = {"id": {"in": ["i117", "i3"]}}
    page = stored.get(ITEMS, params={"filter": json.dumps(filter), "limit": 2}).json()
    assert ([item["id"] for item in page["items"]], page["next_cursor"]) == (["i3", "i117"], None)
    assert sorted(exported(stored, filter)) == ["i117", "i3"]
    assert exported(stored, {"id": {"eq": "none"}}) == []


def test_an_item_that_is_let_through_throughout_is_listed_once_whatever_is_written_between_pages(
    client: httpx.Client,
) -> None:
    laid_out(client)
    random = Random(1)
    stay = [PlainItem(f"stay-{number}", "x") for number in range(30)]
    others = [PlainItem(f"other-{number}", "xy"[number % 2]) for number in range(60)]
    put(client, *(item for number in range(30) for item in (stay[number], *others[2 * number : 2 * number + 2])))
    query: dict[str, Any] = {"filter": '{"label": {"eq": "x"}}', "limit": 4}
    seen: list[str] = []
    while True:
        page = client.get(ITEMS, params=query).raise_for_status().json()
        assert {item["label"] for item in page["items"]} <= {"x"}
        seen += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
        put(
            client,
            *random.sample(stay, 3),
            *(PlainItem(one.id, random.choice("xy")) for one in random.sample(others, 5)),
        )
    assert len(set(seen)) == len(seen)
    assert {one.id for one in stay} <= set(seen)


EMPTY_AMONG = {"or": [{"label": {"eq": "x"}}, {"not": {"not": {}}}]}


def test_a_filter_that_is_wrong_is_refused_where_it_stands(stored: httpx.Client) -> None:
    for accept in ("*/*", ARROW):
        answer = stored.get(ITEMS, params={"filter": '{"label": {"is": "x"}}'}, headers={"accept": accept})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["parameter"] == "filter"
    for body in ({}, {"ids": None}, {"ids": ["a"], "filter": {"label": {"eq": "x"}}}):
        answer = stored.post(f"{ITEMS}/delete", json=body)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "")
    for wrong, place in (
        ({"label": {"is": 1}}, "/filter/label/is"),
        ({}, "/filter"),
        ({"and": [{}]}, "/filter"),
        (EMPTY_AMONG, "/filter"),
    ):
        answer = stored.post(f"{ITEMS}/delete", json={"filter": wrong})
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, place)
    assert len(listed(stored, {}, 1000)) == len(STORED)


def test_a_filter_deletes_what_it_lets_through_and_nothing_else(client: httpx.Client) -> None:
    laid_out(client)
    put(client, *STORED)
    left = list(STORED)
    for filter in (
        {"label": {"eq": "x"}},
        {"label": {"eq": "x"}},
        {"not": {"payload.a": {"exists": True}}, "label": {"exists": False}},
        {"id": {"in": ["i5", "i7", "nobody"]}},
        {"id": {"exists": True}},
    ):
        gone = [one for one in left if oracle.holds(filter, one)]
        answer = client.post(f"{ITEMS}/delete", json={"filter": filter})
        assert answer.raise_for_status().json() == {"deleted": len(gone)}
        left = [one for one in left if one not in gone]
        assert sorted(listed(client, {}, 1000)) == sorted(one.id for one in left)


@pytest.mark.parametrize("looked_up_at_once", [4096, 1])
def test_an_item_that_is_changed_while_a_filter_deletes_is_judged_by_what_it_is_then(
    client: httpx.Client, settings: Settings, monkeypatch: pytest.MonkeyPatch, looked_up_at_once: int
) -> None:
    monkeypatch.setattr("app.storage.lance_table._LOOKED_UP_AT_ONCE", looked_up_at_once)
    laid_out(client)
    put(client, *(PlainItem(f"i{number}", "old") for number in range(6)))
    crosswalk = compose(settings)
    items = crosswalk.galleries.store(crosswalk.galleries.info("g")).items
    asked: list[int] = []

    def matching(version: int) -> np.ndarray:
        """The old ones; while they are looked for, one is made new, and there comes another."""
        rows: np.ndarray = items.where("label = 'old'", ["id"], version=version).column(ROW_ID).to_numpy()
        if not asked:
            put(client, PlainItem("i3", "new"), PlainItem("late", "old"))
        asked.append(version)
        return rows.astype(np.int64)

    assert items.delete_rows(matching) == 6
    assert len(asked) == 2
    assert _labels(items) == {"i3": "new"}
    crosswalk.close()


def _labels(items: Table) -> dict[str, str]:
    return {row["id"]: row["label"] for row in items.where("true", ["id", "label"]).to_pylist()}
