"""Labels and payloads change without the vectors: those of every model stay to the bit, and searches see the change."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest

from app.galleries.store import GalleryStore
from app.problems import InvalidRows
from app.storage.lance_table import ROW_ID, Table, embedding_column
from tests.app.galleries.upgraded import ITEMS as ITEMS_IN_ALL
from tests.app.galleries.upgraded import Upgraded

ARROW = "application/vnd.apache.arrow.stream"
ITEMS = "/galleries/shop/items"


def items_of(upgraded: Upgraded) -> Table:
    return upgraded.crosswalk.galleries.store(upgraded.crosswalk.galleries.info("shop")).items


def vectors_of_items(upgraded: Upgraded) -> dict[str, tuple[int, tuple[bytes | None, ...]]]:
    """Of each item, its row id and the bytes of its vectors."""
    rows = items_of(upgraded).where("true")
    names = [name for name in rows.column_names if name.startswith("embedding@")]
    return {
        row["id"]: (
            row[ROW_ID],
            tuple(None if row[name] is None else np.asarray(row[name], np.float32).tobytes() for name in names),
        )
        for row in rows.to_pylist()
    }


def hit(upgraded: Upgraded, place: int, model: str = "new") -> dict[str, Any]:
    """What a search says of an item, by its own vector."""
    vectors = upgraded.new if model == "new" else upgraded.old
    body = {"gallery": "shop", "model": model, "k": 40, "vectors": vectors[place : place + 1].tolist()}
    (results,) = upgraded.post("/search", body)["results"]
    return next(one for one in results if one["id"] == upgraded.ids[place])


def patched(upgraded: Upgraded, rows: list[dict[str, Any]]) -> httpx.Response:
    return upgraded.client.patch(ITEMS, json={"items": rows})


@pytest.mark.parametrize("bulk", [False, True])
def test_searches_of_every_model_see_a_change_and_no_vector_changes(upgraded: Upgraded, bulk: bool) -> None:
    upgraded.upgrade()
    upgraded.put("new", range(3))
    hit(upgraded, 1), hit(upgraded, 9)  # by now what they say is kept
    before, old_score, new_score = (
        vectors_of_items(upgraded),
        hit(upgraded, 9, "old")["score"],
        hit(upgraded, 9)["score"],
    )
    change = {"label": "other", "payload": {"n": 1}}
    for place in (1, 9):
        if bulk:
            assert patched(upgraded, [{"id": upgraded.ids[place], **change}]).json() == {"updated": 1}
        else:
            shown = upgraded.client.patch(f"{ITEMS}/{upgraded.ids[place]}", json=change)
            assert (shown.json()["label"], shown.json()["payload"]) == ("other", {"n": 1})
        for model in ("old", "new"):
            found = hit(upgraded, place, model)
            assert (found["label"], found["payload"]) == ("other", {"n": 1})
    assert vectors_of_items(upgraded) == before
    assert (hit(upgraded, 9, "old")["score"], hit(upgraded, 9)["score"]) == (old_score, new_score)
    assert upgraded.generation(2)["native_items"] == 3


def embedded(upgraded: Upgraded, places: range) -> None:
    """Items whose texts the service itself had the new model's embedder read."""
    texts = {upgraded.ids[place]: f"text {place}" for place in places}
    patched(upgraded, [{"id": item, "payload": {"body": text}} for item, text in texts.items()])
    vectors = upgraded.new[places.start : places.stop]
    assert upgraded.crosswalk.items.re_embed("shop", "new", texts, vectors, "body") == len(places)


def natives(upgraded: Upgraded) -> set[str]:
    """The items that have a vector which the new model really made."""
    rows = items_of(upgraded).where("true", ["id", embedding_column("new")])
    return {row["id"] for row in rows.to_pylist() if row[embedding_column("new")] is not None}


def test_a_vector_that_an_embedder_made_of_another_text_goes_and_is_to_be_embedded_again(upgraded: Upgraded) -> None:
    upgraded.upgrade()
    upgraded.put("new", range(10, 12))
    embedded(upgraded, range(6))
    before = vectors_of_items(upgraded)
    ids = upgraded.ids
    rows: list[dict[str, Any]] = [
        {"id": ids[0], "payload": {"body": "another text"}},
        {"id": ids[1], "payload": {"body": "text 1", "page": 2}},
        {"id": ids[2], "label": "x"},
        {"id": ids[3], "payload": None},
        {"id": ids[10], "payload": {"body": "what was put is another's to know"}},
    ]
    assert patched(upgraded, rows).json() == {"updated": 5, "dropped": {"new": 1}}
    assert natives(upgraded) == {*ids[1:6], *ids[10:12]}
    after = vectors_of_items(upgraded)
    assert {item for item in ids if after[item] != before[item]} == {ids[0]}
    assert upgraded.generation(2)["native_items"] == 7
    shown = upgraded.client.patch(f"{ITEMS}/{ids[4]}", json={"payload": {"body": "another text"}}).json()
    assert set(shown["embeddings"]) == {"old"}
    assert {ids[0], ids[4]} <= {one["id"] for one in upgraded.backfill(limit=ITEMS_IN_ALL)["next"]}
    assert hit(upgraded, 0)["payload"] == {"body": "another text"}


def test_a_put_with_another_text_drops_what_an_embedder_made_and_one_of_the_model_itself_takes_its_place(
    upgraded: Upgraded,
) -> None:
    upgraded.upgrade()
    embedded(upgraded, range(3))

    def put(model: str, place: int, text: str) -> dict[str, int]:
        vectors = upgraded.old if model == "old" else upgraded.new
        row = {"id": upgraded.ids[place], "embedding": vectors[place].tolist(), "payload": {"body": text}}
        answer = upgraded.client.put(ITEMS, params={"model": model}, json={"items": [row]})
        assert answer.is_success, answer.text
        return dict(answer.json().get("dropped", {}))

    assert put("old", 0, "text 0") == {}
    assert put("old", 0, "another text") == {"new": 1}
    assert put("new", 1, "another text") == {}
    assert put("old", 1, "and another") == {}  # the vector of `new` is the user's own by now
    assert natives(upgraded) == {upgraded.ids[1], upgraded.ids[2]}


def test_a_retired_transformation_is_needed_again_once_a_text_is_another(upgraded: Upgraded) -> None:
    upgraded.upgrade()
    embedded(upgraded, range(len(upgraded.ids)))
    upgraded.crosswalk.retirement.after_put(upgraded.crosswalk.galleries.info("shop"), "new")
    assert upgraded.generation(2)["retired_at"] is not None
    patched(upgraded, [{"id": upgraded.ids[0], "label": "x"}])
    assert upgraded.generation(2)["retired_at"] is not None
    patched(upgraded, [{"id": upgraded.ids[0], "payload": {"body": "another text"}}])
    assert upgraded.generation(2)["retired_at"] is None


def test_what_a_row_leaves_out_stays_and_null_clears_it(upgraded: Upgraded) -> None:
    one, two, three = upgraded.ids[1:4]
    rows: list[dict[str, Any]] = [
        {"id": one, "label": "x", "payload": {"a": 1, "b": 2}},
        {"id": two, "label": 7},
        {"id": three, "label": None},
    ]
    assert patched(upgraded, rows).json() == {"updated": 3}
    rows = [
        {"id": one, "payload": {"c": 3}},
        {"id": two, "label": True, "payload": {}},
        {"id": three, "payload": {"d": 4}},
    ]
    assert patched(upgraded, rows).json() == {"updated": 3}
    found = {row["id"]: (row["label"], row["payload"]) for row in items_of(upgraded).where("true").to_pylist()}
    assert found[one] == ("x", '{"c":3}')
    assert found[two] == ("true", "{}")
    assert found[three] == (None, '{"d":4}')
    answer = upgraded.client.patch(f"{ITEMS}/{one}", json={"label": None})
    assert (answer.json()["label"], answer.json()["payload"]) == (None, {"c": 3})
    assert len(found) == len(upgraded.ids)


def test_changes_come_in_every_bulk_format(upgraded: Upgraded) -> None:
    table = pa.table({"id": upgraded.ids[:2], "payload": pa.array([{"n": 1}, None], pa.struct({"n": pa.int64()}))})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    answer = upgraded.client.patch(ITEMS, content=sink.getvalue(), headers={"content-type": ARROW})
    assert answer.json() == {"updated": 2}
    lines = "\n".join(json.dumps({"id": id, "label": "n"}) for id in upgraded.ids[:3])
    answer = upgraded.client.patch(ITEMS, content=lines, headers={"content-type": "application/x-ndjson"})
    assert answer.json() == {"updated": 3}
    assert (hit(upgraded, 0, "old")["label"], hit(upgraded, 0, "old")["payload"]) == ("n", {"n": 1})


@pytest.mark.parametrize(
    ("rows", "column"),
    [
        ([{"id": "item-01", "label": "x"}, {"id": "none", "label": "x"}], "id"),
        ([{"id": "item-01", "label": "x"}, {"id": "item-02", "label": 3.5}], "label"),
        ([{"id": "item-01", "label": "x"}, {"id": "item-02", "payload": [1]}], "payload"),
        ([{"id": "item-01", "label": "x"}, {"id": "item-01", "label": "y"}], "id"),
    ],
)
def test_one_bad_row_refuses_them_all(upgraded: Upgraded, rows: list[dict[str, Any]], column: str) -> None:
    version = items_of(upgraded).version
    answer = patched(upgraded, rows)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-rows")
    assert (answer.json()["errors"][0]["row"], answer.json()["errors"][0]["column"]) == (1, column)
    assert items_of(upgraded).version == version


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, ""),
        ({"label": 3.5}, "/label"),
        ({"label": "a\nb"}, "/label"),
        ({"label": {}}, "/label"),
        ({"payload": []}, "/payload"),
        ({"payload": {"text": "x" * 70_000}}, "/payload"),
        ({"embedding": [1, 2, 3]}, "/embedding"),
    ],
)
def test_what_is_wrong_with_a_change_is_told_at_its_place(
    upgraded: Upgraded, body: dict[str, Any], pointer: str
) -> None:
    version = items_of(upgraded).version
    answer = upgraded.client.patch(f"{ITEMS}/item-01", json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert items_of(upgraded).version == version


def test_rows_that_change_nothing_and_items_that_are_not_there_are_refused(upgraded: Upgraded) -> None:
    assert patched(upgraded, [{"id": "item-01"}]).status_code == 422
    assert patched(upgraded, [{"id": "item-01", "embedding": [1, 2, 3]}]).status_code == 422
    for item in ("none", "x" * 600, "%01"):
        assert upgraded.client.patch(f"{ITEMS}/{item}", json={"label": "x"}).status_code == 404
    assert upgraded.client.patch("/galleries/none/items/a", json={"label": "x"}).status_code == 404


def test_an_item_that_is_deleted_while_it_is_changed_is_told_and_not_made_anew(upgraded: Upgraded) -> None:
    store: GalleryStore = upgraded.crosswalk.galleries.store(upgraded.crosswalk.galleries.info("shop"))
    batch = pa.record_batch({"id": upgraded.ids[:2], "label": ["x", "y"]})
    tries: list[bool] = []

    def batches() -> Iterator[pa.RecordBatch]:
        yield batch

    def deleted_amid(unknown: np.ndarray) -> None:
        tries.append(bool(unknown.any()))
        if unknown.any():
            raise InvalidRows("none")
        store.items.delete(upgraded.ids[:1])

    with pytest.raises(InvalidRows):
        store.change(batch.schema, batches, deleted_amid)
    assert tries == [False, True]
    assert upgraded.client.get(f"{ITEMS}/{upgraded.ids[0]}").status_code == 404
    assert upgraded.client.get(f"{ITEMS}/{upgraded.ids[1]}").json()["label"] != "y"


@pytest.mark.parametrize("format", ["application/merge-patch+json", "application/json-patch+json"])
def test_a_format_that_means_merging_is_refused(upgraded: Upgraded, format: str) -> None:
    body = json.dumps({"payload": {"extra": 1}})
    answer = upgraded.client.patch(f"{ITEMS}/{upgraded.ids[0]}", content=body, headers={"content-type": format})
    assert (answer.status_code, answer.json()["accepted"]) == (415, ["application/json"])
