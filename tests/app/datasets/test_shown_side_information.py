"""A dataset that was registered without side-information takes that of its rows, in the dimension that they show."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import httpx
import numpy as np
import pyarrow as pa
import pytest

from app.storage.lance_table import Table, Written
from tests.e2e.user import ARROW, NPZ, PARQUET, arrow, npz, parquet
from tests.waiting import PATIENCE_SECONDS


@pytest.fixture
def dataset(client: httpx.Client) -> httpx.Client:
    assert client.post("/datasets", json={"id": "d"}).status_code == 201
    return client


def put(client: httpx.Client, *rows: dict[str, object]) -> httpx.Response:
    return client.put("/datasets/d/rows", json={"rows": list(rows)})


def shown(client: httpx.Client) -> object:
    return client.get("/datasets/d").json()["side_information"]


def test_the_first_rows_show_the_dimension_and_later_ones_keep_to_it(dataset: httpx.Client) -> None:
    assert shown(dataset) is None
    assert put(dataset, {"id": "a"}, {"id": "b", "side_information": [1, 2, 3]}).is_success
    assert shown(dataset) == {"dimension": 3}
    refused = put(dataset, {"id": "c", "side_information": [1, 2]})
    assert refused.status_code == 422
    assert "3 are expected" in refused.text
    assert dataset.get("/datasets/d").json()["rows"] == 2
    assert put(dataset, {"id": "c", "side_information": [4, 5, 6]}, {"id": "a", "side_information": None}).is_success


def test_the_registration_may_be_repeated_after_rows_have_shown_a_dimension(dataset: httpx.Client) -> None:
    assert put(dataset, {"id": "a", "side_information": [1, 2, 3]}).is_success
    assert dataset.post("/datasets", json={"id": "d"}).status_code == 200
    assert dataset.post("/datasets", json={"id": "d", "side_information": {"dimension": 3}}).status_code == 200
    assert dataset.post("/datasets", json={"id": "d", "side_information": {"dimension": 4}}).status_code == 409


@pytest.mark.parametrize(("stored", "left"), [(False, None), (True, {"dimension": 3})])
def test_rows_that_could_not_be_stored_leave_no_dimension_unless_some_row_has_side_information_by_then(
    dataset: httpx.Client, monkeypatch: pytest.MonkeyPatch, stored: bool, left: object
) -> None:
    upsert = Table.upsert

    def failing(table: Table, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Written:
        if stored:
            upsert(table, schema, batches)
        raise OSError(errno.EIO, "the disk does not write")

    with monkeypatch.context() as patched:
        patched.setattr(Table, "upsert", failing)
        assert put(dataset, {"id": "a", "side_information": [1, 2, 3]}).is_server_error
    assert shown(dataset) == left
    assert put(dataset, {"id": "b", "side_information": [1, 2, 3, 4]}).is_success is not stored


def test_rows_written_while_a_failed_request_takes_the_dimension_back_give_it_again(
    dataset: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    upsert, has_value = Table.upsert, Table.has_value
    given, agreed, looked, written = Event(), Event(), Event(), Event()

    def in_turn(table: Table, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Written:
        rows = list(batches)
        if rows[0].column("id").to_pylist() == ["fails"]:
            given.set()
            assert agreed.wait(PATIENCE_SECONDS)
            raise OSError(errno.EIO, "the disk does not write")
        agreed.set()
        assert looked.wait(PATIENCE_SECONDS)
        stored = upsert(table, schema, rows)
        written.set()
        return stored

    def before_they_are_written(table: Table, column: str) -> bool:
        found = has_value(table, column)
        looked.set()
        assert written.wait(PATIENCE_SECONDS)
        return found

    monkeypatch.setattr(Table, "upsert", in_turn)
    monkeypatch.setattr(Table, "has_value", before_they_are_written)
    with ThreadPoolExecutor(1) as other:
        failing = other.submit(put, dataset, {"id": "fails", "side_information": [1, 2, 3]})
        assert given.wait(PATIENCE_SECONDS)
        assert put(dataset, {"id": "b", "side_information": [1, 2, 3]}).is_success
        assert failing.result().is_server_error
    assert shown(dataset) == {"dimension": 3}


def test_rows_of_unlike_lengths_are_refused_and_show_nothing(dataset: httpx.Client) -> None:
    refused = put(dataset, {"id": "a", "side_information": [1, 2, 3]}, {"id": "b", "side_information": [1]})
    assert refused.status_code == 422
    assert shown(dataset) is None
    assert put(dataset, {"id": "a", "side_information": [1]}).is_success
    assert shown(dataset) == {"dimension": 1}


@pytest.mark.parametrize("vector", [[], [0.0] * 65_537], ids=["of nothing", "too long"])
def test_a_dimension_that_no_vector_may_have_is_refused(dataset: httpx.Client, vector: list[float]) -> None:
    refused = put(dataset, {"id": "a", "side_information": vector})
    assert refused.status_code == 422
    assert "1 to 65,536 are taken" in refused.text


def test_rows_that_show_nothing_are_told_what_to_do(dataset: httpx.Client) -> None:
    refused = put(dataset, {"id": "a", "side_information": None})
    assert refused.status_code == 422
    assert "register the dataset with" in refused.text
    assert "would show its dimension" in refused.text


VECTORS = [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
FIXED = pa.table({"id": ["a", "b"], "side_information": pa.array(VECTORS, pa.list_(pa.float32(), 3))})
VARIABLE = pa.table({"id": ["a", "b"], "side_information": pa.array(VECTORS, pa.list_(pa.float64()))})


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        (PARQUET, parquet(FIXED)),
        (PARQUET, parquet(VARIABLE)),
        (ARROW, arrow(FIXED)),
        (ARROW, arrow(VARIABLE)),
        (NPZ, npz(id=["a", "b"], side_information=np.array(VECTORS))),
    ],
    ids=["parquet, fixed", "parquet, variable", "arrow, fixed", "arrow, variable", "npz"],
)
def test_every_format_shows_it(dataset: httpx.Client, media_type: str, body: bytes) -> None:
    answer = dataset.put("/datasets/d/rows", content=body, headers={"content-type": media_type})
    assert answer.is_success, answer.text
    assert shown(dataset) == {"dimension": 3}
