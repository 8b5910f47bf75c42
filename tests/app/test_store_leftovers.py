"""What a gateway removes from an object store when it starts: what nothing names; nothing that is named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from app.composition import Crosswalk, compose
from app.galleries.info import generation_tag
from app.galleries.listing import EXPORT_TAG
from app.galleries.schemas import NewGallery
from app.galleries.store import GalleryStore
from app.registry.schemas import NewModel
from app.settings import Settings
from app.storage.migrate import migrate
from app.storage.object_store import ObjectStore, StoredObject
from app.store_leftovers import sweep_store
from app.sweeping import sweeping
from tests.waiting import wait_until


@pytest.fixture
def crosswalk(storage_url: str, settings: Settings) -> Iterator[Crosswalk]:
    made = compose(settings.model_copy(update={"storage_url": storage_url}))
    migrate(made.database)
    yield made
    made.close()


def gallery(crosswalk: Crosswalk) -> GalleryStore:
    crosswalk.models.create(NewModel(id="m", dimension=2, metric="l2"))
    crosswalk.galleries.create(NewGallery(id="g", model="m"))
    return crosswalk.galleries.store(crosswalk.galleries.info("g"))


def left(crosswalk: Crosswalk, *keys: str) -> ObjectStore:
    """The store, with objects that nothing names."""
    store = ObjectStore(str(crosswalk.settings.storage_url))
    for key in keys:
        store.upload(Path(__file__), key)
    return store


FOLDERS = ("galleries/x-01/items.lance/data/1", "datasets/x-01/rows.lance/data/1", "artifacts/upg-x/chosen/card.json")


def test_folders_that_this_database_does_not_name_are_left_and_told(crosswalk: Crosswalk) -> None:
    store = left(crosswalk, *FOLDERS)
    with capture_logs() as lines:
        sweep_store(compose(crosswalk.settings.model_copy(update={"leftover_seconds": 0.0}), crosswalk.database))
    assert [one.key for one in store.listed("")] == sorted(FOLDERS), "a service on another database may name them"
    told = str(lines)
    assert all(key.split("/")[1] in told for key in FOLDERS)


def test_what_no_generation_points_at_is_removed_and_the_gallery_stays_whole(crosswalk: Crosswalk) -> None:
    store = gallery(crosswalk)
    kept = {one.key for one in left(crosswalk).listed("")}
    folder = f"galleries/{store.folder.name}"
    store.items.tag(generation_tag(1, store.items.version + 7), store.items.version)
    objects = left(
        crosswalk,
        f"{folder}/generations/2.lance/data/1",
        f"{folder}/indexes/1/7-0123456789abcdef/manifest.json",
        f"{folder}/samples/1-5.json",
    )
    sweep_store(crosswalk)
    assert {one.key for one in objects.listed("")} == kept | {f"{folder}/samples/1-5.json"}
    assert store.items.count() == 0


def test_tag_of_an_export_that_was_cut_off_is_removed_once_it_is_old(crosswalk: Crosswalk) -> None:
    store = gallery(crosswalk)
    store.items.tag(f"{EXPORT_TAG}x", store.items.version)
    sweep_store(crosswalk)
    assert store.items.tags() == [f"{EXPORT_TAG}x"]
    sweep_store(compose(crosswalk.settings.model_copy(update={"leftover_seconds": 0.0}), crosswalk.database))
    assert store.items.tags() == []


def test_gallery_that_cannot_be_looked_at_keeps_no_other_from_being_swept(
    crosswalk: Crosswalk, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = gallery(crosswalk).folder.name
    crosswalk.galleries.create(NewGallery(id="h", model="m"))
    second = crosswalk.galleries.info("h").folder
    leftovers = [f"galleries/{folder}/generations/2.lance/data/1" for folder in (first, second)]
    objects, listed = left(crosswalk, *leftovers), ObjectStore.listed

    def failing(store: ObjectStore, folder: str) -> list[StoredObject]:
        if first in folder:
            raise OSError("cannot be looked at")
        return listed(store, folder)

    with monkeypatch.context() as patched:
        patched.setattr(ObjectStore, "listed", failing)
        sweep_store(crosswalk)
    assert [objects.holds_any(key.rpartition("/")[0]) for key in leftovers] == [True, False]


def test_store_is_swept_by_one_of_the_processes_that_share_a_data_directory(crosswalk: Crosswalk) -> None:
    leftover = f"galleries/{gallery(crosswalk).folder.name}/generations/2.lance"

    def swept() -> bool:
        return not objects.holds_any(leftover)

    objects = left(crosswalk, f"{leftover}/data/1")
    with sweeping(crosswalk):
        wait_until(swept, "the leftover to go")
        left(crosswalk, f"{leftover}/data/1")
        with sweeping(crosswalk):
            pass
    assert not swept(), "one sweep is enough for a gateway"
    with sweeping(crosswalk):
        wait_until(swept, "the leftover to go with the next start")
