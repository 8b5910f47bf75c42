"""Items are listed each exactly once, whatever is written meanwhile, and exported as they are at one moment."""

from __future__ import annotations

import base64
import io
import json
import secrets
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest

from app.composition import Crosswalk, compose
from app.galleries.listing import EXPORT_TAG
from app.leftovers import sweep_leftovers
from app.settings import Settings
from app.storage.lance_table import Table
from tests.waiting import wait_until

ARROW = "application/vnd.apache.arrow.stream"
ITEMS = "/galleries/g/items"


@pytest.fixture
def crosswalk(client: httpx.Client, settings: Settings) -> Iterator[Crosswalk]:
    """Beside the service; it has model `m` of two dimensions, and gallery `g` of it, with side-information."""
    client.post("/models", json={"id": "m", "dimension": 2, "metric": "l2"}).raise_for_status()
    new = {"id": "g", "model": "m", "side_information": {"dimension": 1}}
    client.post("/galleries", json=new).raise_for_status()
    crosswalk = compose(settings)
    yield crosswalk
    crosswalk.close()


def put(client: httpx.Client, *names: str, value: float = 1.0, **more: Any) -> None:
    items = [{"id": name, "embedding": [value, 0.1], **more} for name in names]
    client.put(ITEMS, params={"model": "m"}, json=items).raise_for_status()


def page(client: httpx.Client, **query: Any) -> tuple[list[dict[str, Any]], str | None]:
    answer = client.get(ITEMS, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"], answer.json()["next_cursor"]


def export(client: httpx.Client, **query: Any) -> pa.Table:
    answer = client.get(ITEMS, params=query, headers={"accept": ARROW})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == ARROW
    return pa.ipc.open_stream(io.BytesIO(answer.content)).read_all()


def items_of(crosswalk: Crosswalk) -> Table:
    return crosswalk.galleries.store(crosswalk.galleries.info("g")).items


def refused(client: httpx.Client, parameter: str, accept: str = "*/*", **query: Any) -> bool:
    answer = client.get(ITEMS, params=query, headers={"accept": accept})
    return answer.status_code == 422 and answer.json()["errors"][0]["parameter"] == parameter


def test_an_item_that_is_there_throughout_is_listed_once_whatever_is_written_between_pages(
    client: httpx.Client, crosswalk: Crosswalk
) -> None:
    rng = np.random.default_rng(0)
    stay = [f"stay-{number:03d}" for number in range(60)]
    put(client, *(name for number in range(60) for name in (stay[number], f"go-{number:03d}")))
    listed: list[str] = []
    cursor: str | None = None
    for number in range(1_000):
        found, cursor = page(client, limit=7, **({} if cursor is None else {"cursor": cursor}))
        listed += [item["id"] for item in found]
        if cursor is None:
            break
        put(client, *rng.choice(stay, 5, replace=False), value=float(number), label=str(number))
        put(client, f"late-{number}")
        gone = [f"go-{one:03d}" for one in rng.choice(60, 4, replace=False)]
        client.post(f"{ITEMS}/delete", json={"ids": gone}).raise_for_status()
    assert sorted(name for name in listed if name.startswith("stay")) == stay
    assert len(set(listed)) == len(listed)


def test_rows_are_found_behind_a_gap_of_any_width(client: httpx.Client, crosswalk: Crosswalk) -> None:
    names = [f"i-{number}" for number in range(300)]
    put(client, *names)
    client.post(f"{ITEMS}/delete", json={"ids": names[5:290]}).raise_for_status()
    items = items_of(crosswalk)
    rows = np.sort(items.where("true", ["id"]).column("_rowid").to_numpy().astype(np.int64))
    for limit in (1, 4, 5, 6, 15, 16):
        walked, after = [], -1
        while len(part := items.rows_after(after, limit, version=items.version)):
            assert len(part) <= limit
            walked += part.tolist()
            after = walked[-1]
        assert walked == rows.tolist()


def test_a_list_shows_the_fields_asked_for_and_vectors_as_they_were_put(
    client: httpx.Client, crosswalk: Crosswalk
) -> None:
    put(client, "a", label="x", payload={"n": [1, None]}, side_information=[0.5])
    put(client, "b", value=2.0)
    plain = [{"id": "a", "label": "x", "payload": {"n": [1, None]}}, {"id": "b", "label": None, "payload": None}]
    assert page(client) == (plain, None)
    assert page(client, fields="")[0] == [{"id": "a"}, {"id": "b"}]
    shown, _ = page(client, fields="side_information,label", vectors="m", limit=1)
    assert shown == [
        {"id": "a", "label": "x", "side_information": [0.5], "embedding": [1.0, pytest.approx(0.1, abs=1e-7)]}
    ]


def test_what_is_not_known_is_refused_where_it_stands(client: httpx.Client, crosswalk: Crosswalk) -> None:
    client.post("/models", json={"id": "other", "dimension": 2, "metric": "l2"}).raise_for_status()
    assert refused(client, "fields", fields="label,colour")
    assert refused(client, "vectors", vectors="other")
    assert refused(client, "vectors", ARROW, vectors="other")
    assert refused(client, "limit", ARROW, limit=5)
    assert client.get("/galleries/none/items", headers={"accept": ARROW}).status_code == 404
    put(client, "a", "b")
    cursor = page(client, limit=1)[1]
    client.post("/galleries", json={"id": "h", "model": "m"}).raise_for_status()
    for accept in ("application/json", ARROW):
        none = client.get("/galleries/h/items", params={"fields": "side_information"}, headers={"accept": accept})
        assert (none.status_code, none.json()["errors"][0]["parameter"]) == (422, "fields")
    assert client.get("/galleries/h/items", params={"cursor": cursor}).status_code == 400
    for forged in ("x", "-1", "1.5", "9" * 19, "9" * 500):
        key = base64.urlsafe_b64encode(json.dumps([ITEMS, forged]).encode()).decode()
        assert client.get(ITEMS, params={"cursor": key}).status_code == 400
    last = base64.urlsafe_b64encode(json.dumps([ITEMS, str(2**62)]).encode()).decode()
    assert page(client, cursor=last) == ([], None)
    assert not items_of(crosswalk).tags()


def test_an_export_is_put_back_as_it_is(client: httpx.Client, crosswalk: Crosswalk) -> None:
    for number in range(5):
        put(client, f"i-{number}", value=number, label=None if number == 2 else str(number), payload={"n": number})
    whole = export(client, vectors="m", fields="label,payload,side_information")
    assert whole.schema.field("embedding").metadata == {b"model": b"m"}
    client.post(f"{ITEMS}/delete", json={"ids": whole.column("id").to_pylist()}).raise_for_status()
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, whole.schema) as stream:
        stream.write_table(whole)
    back = client.put(ITEMS, params={"model": "m"}, content=sink.getvalue(), headers={"content-type": ARROW})
    assert back.json()["inserted"] == 5
    order = [("id", "ascending")]
    again = export(client, vectors="m", fields="label,payload,side_information")
    assert again.sort_by(order).equals(whole.sort_by(order))


def test_an_export_is_of_one_version_and_lets_go_of_it(
    client: httpx.Client, crosswalk: Crosswalk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.galleries.listing._BATCH_ROWS", 3)
    monkeypatch.setattr("app.storage.lance_table._KEEP_VERSIONS", timedelta(0))
    names = [f"i-{number}" for number in range(20)]
    put(client, *names, value=1.0)
    parts = crosswalk.listing.export("g", (), "m")
    taken = [next(parts), next(parts)]
    put(client, *names, value=2.0)
    items = items_of(crosswalk)
    for _ in range(70):  # enough fragments to have them merged, and old versions cleaned up
        put(client, "late")
    assert [tag.startswith(EXPORT_TAG) for tag in items.tags()] == [True]
    whole = pa.ipc.open_stream(io.BytesIO(b"".join([*taken, *parts]))).read_all()
    assert sorted(whole.column("id").to_pylist()) == sorted(names)
    assert {vector[0] for vector in whole.column("embedding").to_pylist()} == {1.0}
    assert items.tags() == []


def test_a_client_that_goes_away_ends_its_export(
    client: httpx.Client, crosswalk: Crosswalk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.galleries.listing._BATCH_ROWS", 1)
    # More than the buffers of both ends of a connection hold, which would take the whole export otherwise.
    put(client, *(f"i-{number}" for number in range(1_000)), payload={"text": secrets.token_hex(12_000)})
    items = items_of(crosswalk)
    with client.stream("GET", ITEMS, headers={"accept": ARROW}) as answer:
        parts = answer.iter_raw(1_000)  # kept for as long as the export is to go on: dropping it ends the connection
        next(parts)
        wait_until(lambda: len(items.tags()) == 1, "the export to hold its version")
    wait_until(lambda: not items.tags(), "the export to end")
    assert client.head(ITEMS, headers={"accept": ARROW}).status_code == 200
    wait_until(lambda: not items.tags(), "the export of a HEAD request to end")


def test_what_an_export_that_was_cut_off_held_is_swept(
    client: httpx.Client, crosswalk: Crosswalk, settings: Settings
) -> None:
    put(client, "a")
    items = items_of(crosswalk)
    items.tag(f"{EXPORT_TAG}of-one-that-died", items.version)
    sweep_leftovers(crosswalk)
    assert len(items.tags()) == 1
    later = compose(settings.model_copy(update={"leftover_seconds": 0.0}))
    sweep_leftovers(later)
    later.close()
    assert items.tags() == []
