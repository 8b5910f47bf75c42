"""Items found are read once, within a bound of memory, and never as they were before a change."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from app.search.found_items import FoundItem, FoundItems
from app.storage.lance_table import ROW_ID, Table

ROWS = ["a", "b", "c"]


class Items:
    """A table of items, and how often it was opened."""

    def __init__(self, folder: Path) -> None:
        self.table = Table.create(
            folder / "items.lance", [pa.field("label", pa.string()), pa.field("payload", pa.string())]
        )
        self.opened = 0
        self.put(ROWS, "first")

    def put(self, ids: Sequence[str], label: str) -> None:
        cells = {"id": list(ids), "label": [label] * len(ids), "payload": ['{"n": 1}'] * len(ids)}
        rows = pa.table(cells, schema=pa.schema([(name, pa.string()) for name in cells]))
        self.table.upsert(rows.schema, rows.to_batches())

    def __call__(self) -> Table:
        self.opened += 1
        return self.table

    def rows(self, *names: str) -> np.ndarray:
        rows = {row["id"]: row[ROW_ID] for row in self.table.where("true", ["id"]).to_pylist()}
        return np.array([rows[name] for name in names or ROWS if name in rows])


@pytest.fixture
def items(tmp_path: Path) -> Items:
    return Items(tmp_path)


def labels(found: FoundItems, items: Items, version: int) -> list[str | None]:
    rows = items.rows()
    by_row = found.of("g", items, rows, np.full(len(rows), version), items.table.version)
    return [by_row[row].label for row in rows.tolist() if row in by_row]


def test_what_was_found_before_is_not_read_again(items: Items) -> None:
    found = FoundItems(10**6)
    assert labels(found, items, 1) == labels(found, items, 1) == ["first"] * 3
    assert items.opened == 1
    one = next(iter(found.of("g", items, items.rows()[:1], np.array([1]), 2).values()))
    assert one.before_score + b"0.5" + one.after_score == b'{"id":"a","score":0.5,"label":"first","payload":{"n":1}}'


def test_a_row_may_come_twice(items: Items) -> None:
    rows = np.repeat(items.rows(), 2)
    found = FoundItems(10**6)
    unknown, known = (found.of("g", items, rows, np.ones(len(rows), np.int64), 2) for _ in range(2))
    assert unknown == known
    assert sorted(known) == sorted(items.rows().tolist())
    assert items.opened == 1


def test_a_row_of_a_later_version_is_read_anew_as_of_the_version_that_is_searched(items: Items) -> None:
    found = FoundItems(10**6)
    labels(found, items, 1)
    items.put(["b"], "second")
    assert labels(found, items, 2) == ["first", "second", "first"]
    before = FoundItems(10**6).of("g", items, items.rows(), np.array([1, 1, 1]), 2)
    assert {one.label for one in before.values()} == {"first"}


def test_galleries_do_not_share_rows(items: Items, tmp_path: Path) -> None:
    found, other = FoundItems(10**6), Items(tmp_path / "other")
    other.put(ROWS, "theirs")
    rows = np.intersect1d(items.rows(), other.rows())
    labels(found, items, 1)
    assert {
        one.label for one in found.of("h", other, rows, np.ones(len(rows), np.int64), other.table.version).values()
    } == {"theirs"}


@pytest.mark.parametrize("room", [0, 1_000])
def test_memory_is_bounded_and_what_does_not_fit_is_read_again(items: Items, room: int) -> None:
    found = FoundItems(room)
    for _ in range(3):
        assert labels(found, items, 1) == ["first"] * 3
    assert items.opened == 3


def test_an_item_that_never_fits_takes_the_place_of_no_other(items: Items) -> None:
    found = FoundItems(8_000)
    labels(found, items, 1)
    items.put(["large"], "x" * 10_000)
    large = items.rows("large")
    for _ in range(3):
        assert len(found.of("g", items, large, np.ones(1, np.int64), items.table.version)) == 1
    opened = items.opened
    assert labels(found, items, 1) == ["first"] * 3
    assert items.opened == opened


def test_bytes_are_counted_and_not_characters() -> None:
    payloads = (json.dumps({"of": character * 1_000}, ensure_ascii=False) for character in "a😀")
    narrow, wide = (FoundItem.of("a", None, payload).nbytes for payload in payloads)
    assert narrow >= 1_000
    assert wide >= narrow + 3_000
