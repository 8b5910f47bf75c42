"""The store under galleries and datasets, held to a dictionary that does the same."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest

from app.storage import lance_table
from app.storage.lance_table import (
    ROW_ID,
    Changes,
    Table,
    TableGone,
    VersionGone,
    embedding_column,
    embedding_model,
    vector_type,
    vectors_of,
)

COLUMNS = [pa.field("label", pa.string()), pa.field("n", pa.int64())]
WHOLE = pa.schema([pa.field("id", pa.string()), *COLUMNS])


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table.create(tmp_path / "rows.lance", COLUMNS)


def put(table: Table, *rows: tuple[str, str | None, int | None]) -> lance_table.Written:
    columns = [list(column) for column in zip(*rows, strict=True)]
    return table.upsert(WHOLE, [pa.record_batch(columns, schema=WHOLE)])


def contents(table: Table) -> dict[str, tuple[str | None, int | None]]:
    return {row["id"]: (row["label"], row["n"]) for batch in table.scan() for row in batch.to_pylist()}


def row_ids(table: Table) -> dict[str, int]:
    return {row["id"]: row[ROW_ID] for batch in table.scan(["id"]) for row in batch.to_pylist()}


def test_upsert_inserts_new_ids_updates_known_ones_and_says_how_many(table: Table) -> None:
    assert (put(table, ("a", "x", 1), ("b", None, 2)).inserted, table.count()) == (2, 2)
    done = put(table, ("b", "y", 3), ("c", "z", None))
    assert (done.inserted, done.updated, done.version) == (1, 1, table.version)
    assert contents(table) == {"a": ("x", 1), "b": ("y", 3), "c": ("z", None)}


def test_columns_left_out_keep_their_values_and_are_null_in_new_rows(table: Table) -> None:
    put(table, ("a", "x", 1))
    schema = pa.schema([WHOLE.field("id"), WHOLE.field("n")])
    table.upsert(schema, [pa.record_batch([["a", "b"], [5, 6]], schema=schema)])
    assert contents(table) == {"a": ("x", 5), "b": (None, 6)}


def test_row_keeps_its_row_id_through_updates_and_compaction(table: Table) -> None:
    put(table, *((name, None, 0) for name in "abc"))
    before = row_ids(table)
    for number in range(70):
        put(table, ("b", str(number), number))
    assert len(table.fragments(table.version)) < 70
    assert row_ids(table) == before


def test_id_written_again_after_its_deletion_is_another_row(table: Table) -> None:
    put(table, ("a", None, 1))
    before = row_ids(table)["a"]
    assert table.delete(["a", "a", "nobody"]) == 1
    put(table, ("a", None, 2))
    assert row_ids(table)["a"] != before


def test_rows_are_read_by_id_and_by_row_whatever_the_id_holds(table: Table) -> None:
    names = ["it's", 'a"b', "ü\\n", "%_", ""]
    put(table, *((name, name, place) for place, name in enumerate(names)))
    assert sorted(table.by_id(names, ["label"]).column("label").to_pylist()) == sorted(names)
    assert table.by_id(["nobody"]).num_rows == table.by_id([]).num_rows == 0
    rows = np.array([row_ids(table)["it's"], 10**12], np.int64)
    assert table.by_row(rows, ["id"]).column("id").to_pylist() == ["it's"]
    assert table.by_row(np.empty(0, np.int64), ["id"]).num_rows == 0


def test_column_is_added_once_whoever_asks(table: Table) -> None:
    put(table, ("a", None, 1))
    field = pa.field(embedding_column("m"), vector_type(3))
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: Table(table.uri).ensure_column(field), range(6)))
    assert table.schema.names.count(field.name) == 1
    assert table.count(f"`{field.name}` IS NULL") == 1


def test_column_has_a_value_from_the_first_row_that_has_one(table: Table) -> None:
    assert not table.has_value("never")
    put(table, ("a", None, None), ("b", None, None))
    assert not table.has_value("n")
    put(table, ("b", None, 0))
    assert table.has_value("n")
    assert not table.has_value("label")
    table.delete(["b"])
    assert not table.has_value("n")


def test_model_names_survive_as_column_names() -> None:
    for model in ("minilm", "text-embedding-3.large", "a.b_c-d.e"):
        assert "." not in embedding_column(model)
        assert embedding_model(embedding_column(model)) == model
    assert embedding_model("label") is None


def test_vectors_of_a_column_skip_nulls() -> None:
    column = pa.chunked_array([pa.array([[1, 2], None], vector_type(2)), pa.array([None, [3, 4]], vector_type(2))])
    places, vectors = vectors_of(column)
    assert places.tolist() == [0, 3]
    assert vectors.tolist() == [[1, 2], [3, 4]]
    sliced = pa.array([None, [1, 2], None, [3, 4]], vector_type(2)).slice(2)
    places, vectors = vectors_of(sliced)
    assert (places.tolist(), vectors.tolist()) == ([1], [[3, 4]])


@pytest.mark.parametrize("seed", range(3))
def test_changes_turn_what_was_into_what_is_across_compactions(table: Table, seed: int) -> None:
    """A follower that knows nothing but changes holds, after each look, what the table holds."""
    rng = np.random.default_rng(seed)
    followed: dict[int, tuple[str, int | None]] = {}
    version = table.version
    for step in range(90):
        names = [f"i{number}" for number in rng.choice(30, rng.integers(1, 6), replace=False)]
        if rng.random() < 0.3:
            table.delete(names)
        else:
            put(table, *((name, None, step) for name in names))
        if rng.random() < 0.25:
            version = _follow(followed, table.changes(version, ["id", "n"]))
            assert followed == _whole(table)
    _follow(followed, table.changes(version, ["id", "n"]))
    assert followed == _whole(table)
    assert not table.changes(table.version)


def test_changes_see_rows_that_gained_a_column(table: Table) -> None:
    put(table, ("a", None, 1), ("b", None, 2))
    version = table.version
    table.ensure_column(pa.field("more", pa.int64()))
    schema = pa.schema([WHOLE.field("id"), pa.field("more", pa.int64())])
    table.upsert(schema, [pa.record_batch([["b"], [7]], schema=schema)])
    changes = table.changes(version, ["id", "n", "more", "never"])
    written = {row["id"]: (row["n"], row["more"]) for batch in changes.written for row in batch.to_pylist()}
    assert written["b"] == (2, 7)
    assert len(changes.removed) == 0


def test_version_that_was_cleaned_up_is_gone_and_a_tagged_one_is_not(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lance_table, "_KEEP_VERSIONS", timedelta(0))
    put(table, ("a", None, 0))
    old = table.version
    put(table, ("b", None, 0))
    tagged = table.version
    table.tag("kept", old)
    table.tag("kept", tagged)
    for number in range(70):
        put(table, (f"c{number}", None, number))
    with pytest.raises(VersionGone):
        table.changes(old)
    assert sum(batch.num_rows for batch in table.changes(tagged).written) == 70
    assert table.count(version=tagged) == 2
    assert table.tags() == ["kept"]
    table.untag("kept")
    table.untag("kept")
    assert table.tags() == []


def test_writers_of_the_same_ids_at_once_leave_one_row_each(table: Table) -> None:
    put(table, ("0", None, -1))

    def write(writer: int) -> None:
        for number in range(4):
            put(Table(table.uri), *((str(name), str(writer), number) for name in range(3)))

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(write, range(5)))
    assert sorted(contents(table)) == ["0", "1", "2"]
    assert table.count() == 3


def test_writers_go_on_while_fragments_are_merged_under_them(table: Table) -> None:
    """Every write answers, and none is lost, though compaction and cleaning-up happen in the middle of them."""

    def write(writer: int) -> None:
        for number in range(30):
            put(Table(table.uri), (f"{writer}-{number}", None, number))
            if number % 5 == 4:
                Table(table.uri).delete([f"{writer}-{number}"])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert sorted(contents(table)) == sorted(f"{w}-{n}" for w in range(4) for n in range(30) if n % 5 != 4)
    assert len(lance.dataset(table.uri).get_fragments()) < 100


def _follow(followed: dict[int, tuple[str, int | None]], changes: Changes) -> int:
    for row in changes.removed.tolist():
        followed.pop(row, None)
    for batch in changes.written:
        followed.update({row[ROW_ID]: (row["id"], row["n"]) for row in batch.to_pylist()})
    return changes.version


def _whole(table: Table) -> dict[int, tuple[str, int | None]]:
    return {row[ROW_ID]: (row["id"], row["n"]) for batch in table.scan() for row in batch.to_pylist()}


def test_tags_come_and_go_while_others_are_made_removed_and_listed(table: Table) -> None:
    put(table, ("a", None, 0))

    def pin(number: int) -> None:
        for turn in range(25):
            with table.pinned(f"export-{number}-{turn}") as version:
                assert f"export-{number}-{turn}" in table.tags()
                assert table.count(version=version) == 1

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(pin, number) for number in range(4)]:
            done.result()
    assert table.tags() == []


def test_a_table_that_is_removed_while_it_is_pinned_has_no_tag_left_to_remove(table: Table) -> None:
    put(table, ("a", None, 0))
    with table.pinned("export"):
        shutil.rmtree(table.uri)


ROWS = pa.record_batch([["a"], ["x"], [1]], schema=WHOLE)
EVERY_USE: dict[str, Callable[[Table], object]] = {
    "open": lambda table: Table(table.uri),
    "version": lambda table: table.version,
    "schema": lambda table: table.schema,
    "columns": lambda table: table.columns(),
    "has": lambda table: table.has("n"),
    "has_value": lambda table: table.has_value("n"),
    "ensure_column": lambda table: table.ensure_column(pa.field("more", pa.int64())),
    "upsert": lambda table: table.upsert(WHOLE, [ROWS]),
    "upsert_over": lambda table: table.upsert_over(lambda _: pa.RecordBatchReader.from_batches(WHOLE, [ROWS])),
    "update_over": lambda table: table.update_over(lambda _: pa.RecordBatchReader.from_batches(WHOLE, [ROWS])),
    "update": lambda table: table.update(WHOLE, [ROWS]),
    "known": lambda table: table.known(pa.chunked_array([["a"]])),
    "delete": lambda table: table.delete(["a"]),
    "delete_rows": lambda table: table.delete_rows(lambda _: np.array([0])),
    "check": lambda table: table.check(),
    "check a version": lambda table: table.check(1),
    "count": lambda table: table.count(),
    "by_id": lambda table: table.by_id(["a"]),
    "by_row": lambda table: table.by_row(np.array([0]), ["n"]),
    "where": lambda table: table.where("true"),
    "scan": lambda table: list(table.scan()),
    "rows_after": lambda table: table.rows_after(-1, 1, version=1),
    "fragments": lambda table: table.fragments(1),
    "changes": lambda table: table.changes(1),
    "tag": lambda table: table.tag("kept", 1),
    "tags": lambda table: table.tags(),
}


@pytest.mark.parametrize("use", EVERY_USE.values(), ids=EVERY_USE)
def test_every_use_of_a_table_that_was_removed_says_so(use: Callable[[Table], object], table: Table) -> None:
    put(table, ("a", "x", 1))
    shutil.rmtree(table.uri)
    with pytest.raises(TableGone, match="there is no table at"):
        use(table)


def test_a_table_that_goes_while_it_is_scanned_says_so(table: Table) -> None:
    schema = pa.schema([pa.field("id", pa.string())])
    for part in range(4):
        table.upsert(schema, [pa.record_batch([[f"{part}-{row}" for row in range(5_000)]], schema=schema)])
    scan = table.scan(batch_rows=64, ahead_bytes=1)
    next(scan)
    shutil.rmtree(table.uri)
    with pytest.raises(TableGone):
        list(scan)


def test_a_version_that_is_gone_from_a_table_that_is_there_is_no_table_gone(table: Table) -> None:
    with pytest.raises(ValueError, match="not found"):
        table.count(version=7)
