"""The items of a gallery: stamped vectors, and what a generation sees change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from app.artifacts.crossings import Crossing
from app.galleries.lineage import Lineage
from app.galleries.store import GalleryStore, WrittenItems
from app.storage.lance_table import StoredRows, embedding_column, vector_type
from tests.app.crossings import affine, space

A, B = space("a", 2), space("b", 3)
H = affine(A, B)
FIRST = Lineage(("a",), (2,))
SECOND = Lineage(("a", "b"), (2, 3), (Crossing(H, H),))


@pytest.fixture
def store(tmp_path: Path) -> GalleryStore:
    return GalleryStore.create(tmp_path / "g", "a", 2, None)


def put(store: GalleryStore, model: str, dimension: int, newer: tuple[str, ...] = (), **vectors: float) -> WrittenItems:
    schema = pa.schema([pa.field("id", pa.string()), pa.field("embedding", vector_type(dimension))])
    cells = pa.array([[value] * dimension for value in vectors.values()], vector_type(dimension))

    def batches() -> Iterator[pa.RecordBatch]:
        yield pa.RecordBatch.from_arrays([pa.array(vectors), cells], schema=schema)

    return store.put(model, dimension, lambda: newer, schema, batches)


def projected(store: GalleryStore, line: Lineage) -> dict[int, list[float]]:
    vectors: dict[int, list[float]] = {}
    for part in store.project(line):
        vectors |= dict(zip(part.rows.tolist(), part.vectors.tolist(), strict=True))
    return vectors


def test_creating_twice_opens_what_is_there(store: GalleryStore) -> None:
    put(store, "a", 2, x=1.0)
    assert GalleryStore.create(store.folder, "a", 2, None).items.count() == 1
    store.destroy()
    assert not store.folder.exists()


def test_where_an_items_vector_changes_newer_models_vectors_of_it_are_dropped_and_counted(store: GalleryStore) -> None:
    put(store, "a", 2, x=1.0, y=1.0)
    put(store, "b", 3, x=2.0, y=2.0, z=2.0)
    done = put(store, "a", 2, ("b", "never-seen"), x=3.0)
    assert (done.inserted, done.updated, done.dropped) == (0, 1, {"b": 1})
    rows = {row["id"]: row for row in store.items.where("true").to_pylist()}
    a, b = embedding_column("a"), embedding_column("b")
    assert (rows["x"][a], rows["x"][b]) == ([3.0] * 2, None)
    assert (rows["y"][a], rows["y"][b]) == ([1.0] * 2, [2.0] * 3)


def test_items_put_again_unchanged_keep_newer_models_vectors_and_so_does_one_that_had_none(store: GalleryStore) -> None:
    put(store, "a", 2, x=1.0, y=1.0)
    put(store, "b", 3, x=2.0, y=2.0, z=2.0)
    done = put(store, "a", 2, ("b",), y=9.0, x=1.0, z=5.0, new=6.0)
    assert (done.inserted, done.updated, done.dropped) == (1, 3, {"b": 1})
    rows = {row["id"]: row[embedding_column("b")] for row in store.items.where("true").to_pylist()}
    assert rows == {"x": [2.0] * 3, "y": None, "z": [2.0] * 3, "new": None}


def test_a_backfill_that_comes_between_looking_and_writing_is_not_lost(
    store: GalleryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "a", 2, x=1.0)
    put(store, "b", 3, y=0.0)
    look = StoredRows.of
    looked: list[bool] = []

    def of(self: StoredRows, ids: pa.Array, columns: Sequence[str]) -> pa.Table:
        found = look(self, ids, columns)
        if not looked:
            looked.append(True)
            put(store, "b", 3, x=2.0)  # somebody else's, after x was looked up as an item without b
        return found

    monkeypatch.setattr(StoredRows, "of", of)
    put(store, "a", 2, ("b",), x=1.0)
    rows = {row["id"]: row[embedding_column("b")] for row in store.items.where("true").to_pylist()}
    assert looked
    assert rows["x"] == [2.0] * 3


@pytest.mark.parametrize("line", [FIRST, SECOND], ids=["first", "second"])
def test_following_the_changes_leads_to_the_projection(store: GalleryStore, line: Lineage) -> None:
    put(store, "a", 2, x=1.0, y=1.0, gone=1.0)
    version, followed = store.items.version, projected(store, line)
    put(store, "b", 3, x=2.0, z=2.0)
    put(store, "a", 2, ("b",), y=4.0, new=4.0)
    store.items.delete(["gone"])
    put(store, "a", 2, ("b",), gone=5.0)
    changes, written = store.changes(line, version)
    for row in changes.removed.tolist():
        followed.pop(row, None)
    for part in written:
        followed |= dict(zip(part.rows.tolist(), part.vectors.tolist(), strict=True))
    assert followed == projected(store, line)
    assert changes.version == store.items.version
    assert store.changes(line, changes.version)[1] == []


def test_item_that_lost_every_vector_of_a_space_is_among_the_removed(store: GalleryStore) -> None:
    put(store, "a", 2, x=0.0)
    put(store, "b", 3, x=2.0)
    version = store.items.version
    only_b = Lineage(("b",), (3,))
    (row,) = projected(store, only_b)
    put(store, "a", 2, ("b",), x=1.0)
    changes, written = store.changes(only_b, version)
    assert changes.removed.tolist() == [row]
    assert written == []
    assert np.array_equal(list(projected(store, FIRST)), [row])


def test_version_is_read_with_the_columns_that_it_had(store: GalleryStore) -> None:
    put(store, "a", 2, x=1.0)
    version, before = store.items.version, projected(store, SECOND)
    put(store, "b", 3, x=2.0)
    parts = [part for part in store.project(SECOND, version=version) if len(part.rows)]
    assert [part.vectors.tolist() for part in parts] == [list(before.values())]
    assert not parts[0].native.any()


def test_first_vectors_of_a_newer_model_that_come_while_an_older_one_changes_are_dropped(store: GalleryStore) -> None:
    put(store, "a", 2, x=1.0)
    schema = pa.schema([pa.field("id", pa.string()), pa.field("embedding", vector_type(2))])
    changed = pa.RecordBatch.from_arrays([pa.array(["x"]), pa.array([[2.0, 2.0]], vector_type(2))], schema=schema)
    asked: list[str] = []

    def newer() -> tuple[str, ...]:
        """Meanwhile, another writer brings the first vector of `b`, of the item as it was before."""
        if not asked:
            put(store, "b", 3, x=1.0)
        asked.append("b")
        return ("b",)

    done = store.put("a", 2, newer, schema, lambda: iter([changed]))
    (item,) = store.items.by_id(["x"]).to_pylist()
    assert item[embedding_column("a")] == [2.0, 2.0]
    assert item[embedding_column("b")] is None
    assert done.dropped == {"b": 1}
    assert len(asked) == 2
