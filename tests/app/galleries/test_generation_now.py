"""A transformed generation as it is now, against the same computed from the items."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest

from app.artifacts.crossings import Crossing
from app.galleries.generation_now import GenerationNow
from app.galleries.lineage import Lineage, Projected
from app.galleries.store import GalleryStore
from app.storage.lance_table import vector_type
from tests.app.crossings import affine, space

H = affine(space("a", 2), space("b", 3))
LINE = Lineage(("a", "b"), (2, 3), (Crossing(H, H),))


@pytest.fixture
def store(tmp_path: Path) -> GalleryStore:
    return GalleryStore.create(tmp_path / "g", "a", 2, None)


def put(store: GalleryStore, model: str, dimension: int, stale: tuple[str, ...] = (), **vectors: float) -> None:
    schema = pa.schema([pa.field("id", pa.string()), pa.field("embedding", vector_type(dimension))])
    cells = pa.array([[value] * dimension for value in vectors.values()], vector_type(dimension))
    batch = pa.RecordBatch.from_arrays([pa.array(vectors), cells], schema=schema)
    store.put(model, dimension, lambda: stale, schema, lambda: iter([batch]))


def written(store: GalleryStore) -> int:
    """Writes the generation down; the version of the items that it holds."""
    generation = store.generation(2, 3)
    generation.commit(generation.write_fragment(iter(store.project(LINE))))
    return store.items.version


def vectors(parts: Iterable[Projected]) -> dict[int, tuple[list[float], bool]]:
    """By row; rounded, since a product rounds otherwise in another batch."""
    return {
        row: (vector, native)
        for part in parts
        for row, vector, native in zip(
            part.rows.tolist(), part.vectors.round(4).tolist(), part.native.tolist(), strict=True
        )
    }


def test_generation_is_level_with_whatever_was_written_since(store: GalleryStore) -> None:
    put(store, "a", 2, x=1.0, y=2.0, gone=3.0, back=4.0)
    put(store, "b", 3, back=5.0)
    since = written(store)
    put(store, "b", 3, x=6.0, new=7.0)
    put(store, "a", 2, ("b",), back=8.0, late=9.0)
    store.items.delete(["gone"])
    current = GenerationNow.of(store, LINE, 2, since)
    scanned = vectors(current.scan())
    assert scanned == vectors(store.project(LINE))
    standings = current.standings()
    assert dict(zip(standings.rows.tolist(), standings.native.tolist(), strict=True)) == {
        row: native for row, (_, native) in scanned.items()
    }
    np.testing.assert_array_equal(standings.uncertainty[standings.native], 0)
    assert np.isnan(standings.uncertainty[~standings.native]).all()


def test_generation_whose_history_is_lost_is_computed_anew(store: GalleryStore) -> None:
    put(store, "a", 2, x=1.0, y=2.0)
    since = written(store)
    put(store, "b", 3, x=6.0)
    lance.dataset(store.items.uri).cleanup_old_versions(older_than=timedelta(0))
    current = GenerationNow.of(store, LINE, 2, since)
    assert current.generation is None
    assert vectors(current.scan()) == vectors(store.project(LINE))
    assert sorted(current.standings().native.tolist()) == [False, True]
