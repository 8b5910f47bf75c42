"""The items of a gallery: stamped vectors, and what a generation sees change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from app.artifacts.crossings import Crossing
from app.galleries.lineage import Lineage
from app.galleries.store import GalleryStore
from app.storage.lance_table import embedding_column, vector_type
from tests.app.crossings import affine, space

A, B = space("a", 2), space("b", 3)
H = affine(A, B)
FIRST = Lineage(("a",), (2,))
SECOND = Lineage(("a", "b"), (2, 3), (Crossing(H, H),))


@pytest.fixture
def store(tmp_path: Path) -> GalleryStore:
    return GalleryStore.create(tmp_path / "g", "a", 2, None)


def put(store: GalleryStore, model: str, dimension: int, stale: tuple[str, ...] = (), **vectors: float) -> None:
    schema = pa.schema([pa.field("id", pa.string()), pa.field("embedding", vector_type(dimension))])
    cells = pa.array([[value] * dimension for value in vectors.values()], vector_type(dimension))

    def batches() -> Iterator[pa.RecordBatch]:
        yield pa.RecordBatch.from_arrays([pa.array(vectors), cells], schema=schema)

    store.put(model, dimension, stale, schema, batches())


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


def test_stale_vectors_are_dropped_from_the_items_written_and_from_no_other(store: GalleryStore) -> None:
    put(store, "a", 2, x=1.0, y=1.0)
    put(store, "b", 3, x=2.0, y=2.0, z=2.0)
    put(store, "a", 2, ("b", "never-seen"), x=3.0)
    rows = {row["id"]: row for row in store.items.where("true").to_pylist()}
    a, b = embedding_column("a"), embedding_column("b")
    assert (rows["x"][a], rows["x"][b]) == ([3.0] * 2, None)
    assert (rows["y"][a], rows["y"][b]) == ([1.0] * 2, [2.0] * 3)
    assert (rows["z"][a], rows["z"][b]) == (None, [2.0] * 3)


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
