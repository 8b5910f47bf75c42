"""The rows that filters let through follow every write, as of whichever version is asked for, in any memory."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.filters import UNLABELLED, Filter, FilteredRows, RowLabels
from app.storage.lance_table import ROW_ID, Table
from tests.app.filters import oracle
from tests.app.filters.oracle import PlainItem

IDS = [f"i{number}" for number in range(8)]
SCHEMA = pa.schema([pa.field("id", pa.string(), nullable=False), ("label", pa.string()), ("payload", pa.string())])
PLENTY, LITTLE, NOTHING = 2**28, 3_000, 0  # bytes: all columns stay; some make room for others; none fits


@dataclass
class WrittenTable:
    """A table of items, and what it held in each of its versions."""

    table: Table
    versions: dict[int, dict[str, PlainItem]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.versions[self.table.version] = {}

    @property
    def newest(self) -> int:
        return max(self.versions)

    def put(self, items: Sequence[PlainItem]) -> None:
        cells = {"id": [one.id for one in items], "label": [one.label for one in items]}
        rows = pa.table({**cells, "payload": [one.text for one in items]}, schema=SCHEMA)
        before = self.versions[self.newest]
        self.table.upsert(SCHEMA, rows.to_batches())
        self.versions[self.table.version] = before | {one.id: one for one in items}

    def delete(self, ids: Sequence[str]) -> None:
        before = self.versions[self.newest]
        self.table.delete(ids)
        self.versions[self.table.version] = {id: one for id, one in before.items() if id not in ids}

    def found(self, filtered: FilteredRows, filter: dict[str, Any], version: int) -> list[str]:
        """The ids of the items that a filter lets through as of a version."""
        rows = filtered.rows("g", lambda: Table(self.table.uri), Filter.of(filter), version)
        known = self.table.where("true", ["id"], version=version).to_pylist()
        by_row = {row[ROW_ID]: row["id"] for row in known}
        return sorted(by_row.values() if rows is None else (by_row[row] for row in rows.tolist()))

    def expected(self, filter: dict[str, Any], version: int) -> list[str]:
        return sorted(id for id, one in self.versions[version].items() if oracle.holds(filter, one))


@pytest.fixture
def written(tmp_path: Path) -> WrittenTable:
    return WrittenTable(Table.create(tmp_path / "items.lance", [SCHEMA.field("label"), SCHEMA.field("payload")]))


@settings(max_examples=12)
@given(data=st.data())
def test_rows_follow_every_write_in_any_memory(data: st.DataObject) -> None:
    several = [FilteredRows(room) for room in (PLENTY, LITTLE, NOTHING)]
    items = st.lists(oracle.items(st.sampled_from(IDS)), min_size=1, max_size=6, unique_by=lambda one: one.id)
    kept = data.draw(st.lists(oracle.filters(IDS), min_size=1, max_size=3))
    with tempfile.TemporaryDirectory() as folder:
        columns = [SCHEMA.field("label"), SCHEMA.field("payload")]
        world = WrittenTable(Table.create(Path(folder) / "items.lance", columns))
        for _ in range(data.draw(st.integers(2, 6))):
            if data.draw(st.integers(0, 3)):
                world.put(data.draw(items))
            else:
                world.delete(data.draw(st.lists(st.sampled_from(IDS), max_size=3)))
            filter = data.draw(st.sampled_from(kept) | oracle.filters(IDS))
            version = data.draw(st.sampled_from(sorted(world.versions)[-2:]))
            expected = world.expected(filter, version)
            for filtered in several:
                assert world.found(filtered, filter, version) == expected


def test_the_same_filter_gets_the_same_rows_until_something_is_written(written: WrittenTable) -> None:
    written.put([PlainItem("a", "x"), PlainItem("b", "y")])
    filtered, only = FilteredRows(PLENTY), Filter.of({"label": {"eq": "x"}})

    def rows() -> object:
        return filtered.rows("g", lambda: Table(written.table.uri), only, written.newest)

    first = rows()
    assert rows() is first
    written.put([PlainItem("c", "x")])
    assert rows() is not first


def test_fields_are_asked_for_one_after_another_while_there_are_no_items_yet(written: WrittenTable) -> None:
    filtered = FilteredRows(PLENTY)
    for number in range(3):
        written.delete(["nobody"])
        assert written.found(filtered, {f"payload.{'abc'[number]}": {"exists": False}}, written.newest) == []
    written.put([PlainItem("a", None, {"n": 1})])
    assert written.found(filtered, {"not": {"payload.a": {"exists": True}}}, written.newest) == ["a"]


def test_one_is_not_true_though_python_takes_them_for_equal(written: WrittenTable) -> None:
    written.put([PlainItem("number", None, {"n": 1}), PlainItem("truth", None, {"n": True})])
    filtered = FilteredRows(PLENTY)
    for value, expected in ((1, ["number"]), (True, ["truth"]), (1.0, ["number"])):
        assert written.found(filtered, {"payload.n": {"eq": value}}, written.newest) == expected


def test_what_happened_too_long_ago_to_be_told_is_read_anew(written: WrittenTable) -> None:
    written.put([PlainItem("a", "x")])
    filtered, only = FilteredRows(PLENTY), {"label": {"eq": "x"}}
    assert written.found(filtered, only, written.newest) == ["a"]
    for number in range(3):
        written.put([PlainItem(f"b{number}", "x")])
    lance.dataset(written.table.uri).cleanup_old_versions(retain_versions=1)
    assert written.found(filtered, only, written.newest) == written.expected(only, written.newest)


def test_many_small_writes_leave_few_blocks(written: WrittenTable) -> None:
    written.put([PlainItem(f"i{number}", "x", {"n": number}) for number in range(40)])
    filtered, only = FilteredRows(PLENTY), {"payload.n": {"lt": 20}}
    for number in range(30):
        written.put([PlainItem(f"i{number}", "x", {"n": number + 1})])
        assert written.found(filtered, only, written.newest) == written.expected(only, written.newest)
    (columns,) = filtered._galleries.values()
    blocks = columns._states[-1].blocks
    assert len(blocks) <= 3
    assert sum(len(block) for block in blocks) == 40
    assert sum(len(block.rows) for block in blocks) <= 80


def test_columns_stay_within_the_memory_that_is_set(written: WrittenTable) -> None:
    written.put([PlainItem(f"i{number}", "x", {"n": number, "m": str(number)}) for number in range(500)])
    filtered = FilteredRows(40_000)
    for number in range(20):
        for name in ("payload.n", "payload.m", "id", "label"):
            numbers = [number] if name.startswith("payload.") else []
            only = {name: {"in": [*numbers, str(number), "x", f"i{number}"]}}
            assert written.found(filtered, only, written.newest) == written.expected(only, written.newest)
        columns = sum(one.nbytes() for one in filtered._galleries.values())
        assert 0 < columns <= 30_000


def test_what_did_not_fit_is_tried_again_after_some_time(written: WrittenTable) -> None:
    written.put([PlainItem(f"i{number}", None, {"n": "x" * 100 + str(number)}) for number in range(200)])
    filtered, only = FilteredRows(20_000), {"payload.n": {"exists": True}}
    assert len(written.found(filtered, only, written.newest)) == 200
    (columns,) = filtered._galleries.values()
    assert not columns.fields()
    written.delete([f"i{number}" for number in range(2, 200)])
    for number in range(200):  # filters that are asked for the first time
        written.found(filtered, {"payload.n": {"eq": number}}, written.newest)
    assert columns.fields()
    assert written.found(filtered, only, written.newest) == ["i0", "i1"]


@settings(max_examples=12)
@given(data=st.data())
def test_labels_follow_every_write_in_any_memory(data: st.DataObject) -> None:
    several = [FilteredRows(room) for room in (PLENTY, LITTLE, NOTHING)]
    items = st.lists(oracle.items(st.sampled_from(IDS)), min_size=1, max_size=6, unique_by=lambda one: one.id)
    with tempfile.TemporaryDirectory() as folder:
        columns = [SCHEMA.field("label"), SCHEMA.field("payload")]
        world = WrittenTable(Table.create(Path(folder) / "items.lance", columns))
        for _ in range(data.draw(st.integers(2, 6))):
            if data.draw(st.integers(0, 3)):
                world.put(data.draw(items))
            else:
                world.delete(data.draw(st.lists(st.sampled_from(IDS), max_size=3)))
            version = data.draw(st.sampled_from(sorted(world.versions)[-2:]))
            known = world.table.where("true", ["id"], version=version).to_pylist()
            expected = {row[ROW_ID]: world.versions[version][row["id"]].label for row in known}
            for filtered in several:
                labels = filtered.labels("g", lambda: Table(world.table.uri), version)
                assert labels.rows.tolist() == sorted(row for row, label in expected.items() if label is not None)
                codes = dict(zip(labels.rows.tolist(), labels.codes.tolist(), strict=True))
                pairs = {(expected[row], code) for row, code in codes.items()}
                assert len(pairs) == len({label for label, _ in pairs}) == len({code for _, code in pairs})
                assert (labels.allowed is None) == (2 * len(labels) > len(expected))


def test_labels_are_of_one_version_and_known_by_their_codes(written: WrittenTable) -> None:
    written.put([PlainItem("a", "x"), PlainItem("b", None), PlainItem("c", "y"), PlainItem("d", "x")])
    rows = {row["id"]: row[ROW_ID] for row in written.table.where("true", ["id"]).to_pylist()}
    filtered, first = FilteredRows(PLENTY), written.newest

    def labels(version: int) -> RowLabels:
        return filtered.labels("g", lambda: Table(written.table.uri), version)

    before = labels(first)
    assert labels(first) is before
    x, unlabelled, y, same, stranger = before.of(np.array([rows[id] for id in "abcd"] + [10**9])).tolist()
    assert x == same != y
    assert (unlabelled, stranger, before.allowed, len(before)) == (UNLABELLED, UNLABELLED, None, 3)
    assert before.with_code(x).tolist() == sorted([rows["a"], rows["d"]])
    assert before.count(x) == 2
    assert before.without([x]).tolist() == [rows["c"]]
    written.put([PlainItem("b", "z")])
    assert len(labels(written.newest)) == 4
