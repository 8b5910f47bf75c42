"""What a gateway removes when it starts: what nothing names, once it is old; nothing that is named or may be soon."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from app.composition import Crosswalk, compose
from app.galleries.schemas import NewGallery
from app.galleries.store import GalleryStore
from app.leftovers import sweep_leftovers
from app.registry.schemas import NewModel
from app.settings import Settings
from app.storage.migrate import migrate

AGED_SECONDS = 2 * 24 * 3600


@pytest.fixture
def crosswalk(settings: Settings) -> Iterator[Crosswalk]:
    made = compose(settings)
    migrate(made.database)
    yield made
    made.close()


def aged(folder: Path) -> Path:
    """A folder with a file in it, both untouched for long."""
    folder.mkdir(parents=True)
    (folder / "file").write_bytes(b"left")
    for path in (folder / "file", folder):
        age(path)
    return folder


def age(path: Path) -> None:
    long_ago = time.time() - AGED_SECONDS
    os.utime(path, (long_ago, long_ago))


@pytest.mark.parametrize("kind", ["uploads/upload-x", "galleries/x-01", "datasets/x-01", "artifacts/upg-x"])
def test_a_folder_that_nothing_names_is_removed_once_it_is_old(kind: str, crosswalk: Crosswalk) -> None:
    left = aged(crosswalk.settings.data_dir / kind)
    fresh = crosswalk.settings.data_dir / f"{kind}-fresh"
    fresh.mkdir()
    sweep_leftovers(crosswalk)
    assert not left.exists()
    assert fresh.exists()


def test_an_old_folder_with_a_file_that_is_written_to_stays(crosswalk: Crosswalk) -> None:
    folder = aged(crosswalk.settings.uploads_dir / "upload-slow")
    os.utime(folder / "file")
    sweep_leftovers(crosswalk)
    assert folder.exists()


def test_a_gallery_that_is_registered_stays_however_old_it_is(crosswalk: Crosswalk) -> None:
    store = gallery(crosswalk)
    for path in (*store.folder.iterdir(), store.folder):
        age(path)
    sweep_leftovers(crosswalk)
    assert crosswalk.galleries.get("faq").items == 1


def test_of_a_gallery_at_rest_what_no_generation_points_at_is_removed(crosswalk: Crosswalk) -> None:
    store = gallery(crosswalk)
    for name in ("generations/2.lance", "indexes/1/old-index", "indexes/2/.partial-index"):
        (store.folder / name).mkdir(parents=True)
    store.items.tag("generation-2-2", 2)
    store.items.tag("of-an-operator", 2)
    sweep_leftovers(crosswalk)
    assert [*store.folder.glob("generations/*"), *store.folder.glob("indexes/*/*")] == []
    assert store.items.tags() == ["of-an-operator"]


def test_of_a_gallery_whose_index_is_being_built_everything_stays(crosswalk: Crosswalk) -> None:
    store = gallery(crosswalk)
    (store.folder / "indexes/1/.partial-index").mkdir(parents=True)
    with crosswalk.database.session() as session:
        crosswalk.jobs.enqueue(session, "reindex", "index faq 1", {"gallery": "faq", "generation": 1})
    sweep_leftovers(crosswalk)
    assert (store.folder / "indexes/1/.partial-index").exists()


def gallery(crosswalk: Crosswalk) -> GalleryStore:
    """Gallery `faq` with one item."""
    crosswalk.models.create(NewModel(id="old", dimension=2, metric="cosine"))
    crosswalk.galleries.create(NewGallery(id="faq", model="old"))
    store = crosswalk.galleries.store(crosswalk.galleries.info("faq"))
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.ones(2, np.float32)), 2)
    batch = pa.record_batch({"id": ["a"], "embedding": vectors})
    store.put("old", 2, (), batch.schema, lambda: iter([batch]))
    return store
