"""What a gateway removes when it starts: what nothing names, once it is old; nothing that is named or may be soon."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sqlalchemy import update
from structlog.testing import capture_logs

from app.composition import Crosswalk, compose
from app.embedders.kept_vectors import KeptVectors
from app.embedders.protocol import EmbedderCall
from app.embedders.tables import KeptVectorRow
from app.galleries.schemas import NewGallery
from app.galleries.store import GalleryStore
from app.index.milvus import COLLECTION, CollectionName
from app.index.milvus_server import MilvusServer
from app.leftovers import forget_counts_of_gone, leftovers, sweep_leftovers
from app.registry.schemas import NewModel
from app.settings import Settings
from app.storage.database import utc_now
from app.storage.migrate import migrate
from app.sweeping import sweeping
from models.portable import check_seal, publish, seal
from tests.services import free_port
from tests.waiting import wait_until

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


@pytest.mark.parametrize(
    "kind", ["uploads/upload-x", "galleries/x-01", "datasets/x-01", "artifacts/upg-x", "artifacts/enc-x"]
)
def test_a_folder_that_nothing_names_is_removed_once_it_is_old(kind: str, crosswalk: Crosswalk) -> None:
    left = aged(crosswalk.settings.data_dir / kind)
    fresh = crosswalk.settings.data_dir / f"{kind}-fresh"
    fresh.mkdir()
    assert list(leftovers(crosswalk)) == [left]
    sweep_leftovers(crosswalk)
    assert not left.exists()
    assert fresh.exists()


SEALED_BESIDE = ("artifacts/upg-x/model/card.json", "spaces/model.npz", "galleries/x-01/samples/sample.json")
SEALED_IN_A_FOLDER = (
    "galleries/x-01/items.lance",
    "galleries/x-01/generations/2.lance",
    "datasets/x-01/rows.lance",
)


@pytest.mark.parametrize("name", SEALED_BESIDE)
def test_unfinished_file_is_removed_once_it_is_old(
    name: str, crosswalk: Crosswalk, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = crosswalk.settings.data_dir / name
    path.parent.mkdir(parents=True)
    left = cut_off(lambda: publish(path, b"whole", sealed=True), monkeypatch)
    assert len(left) == 2  # the file's and its checksum's
    only_these_are_swept_once_old(crosswalk, left)
    assert check_seal(path)


@pytest.mark.parametrize("name", SEALED_IN_A_FOLDER)
def test_unfinished_checksum_of_a_table_is_removed_once_it_is_old(
    name: str, crosswalk: Crosswalk, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = crosswalk.settings.data_dir / name
    file, sums = table / "data" / "1.lance", table.with_name(f"{table.name}.sha256")
    for folder in (file.parent, sums):
        folder.mkdir(parents=True)
    file.write_bytes(b"whole")
    left = cut_off(lambda: seal(file, sums), monkeypatch)
    assert len(left) == 1
    only_these_are_swept_once_old(crosswalk, left)
    assert check_seal(file, sums)


WRITES_FOR_EVER = """
import sys, time
import lance, pyarrow as pa

def batches():
    for _ in range(20):
        yield pa.record_batch({"number": pa.array(range(500_000))})
    time.sleep(600)

lance.write_dataset(pa.RecordBatchReader.from_batches(pa.schema({"number": pa.int64()}), batches()), sys.argv[1])
"""


@pytest.mark.parametrize("name", SEALED_IN_A_FOLDER)
def test_what_a_table_that_was_being_written_leaves_is_removed_once_it_is_old(name: str, crosswalk: Crosswalk) -> None:
    path = crosswalk.settings.data_dir / name
    writer = subprocess.Popen([sys.executable, "-c", WRITES_FOR_EVER, str(path)])
    try:
        wait_until(lambda: any(path.glob("data/.tmp*")), "a file to be begun")
    finally:
        writer.kill()
        writer.wait()
    only_these_are_swept_once_old(crosswalk, list(path.glob("data/.tmp*")))


def cut_off(write: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Writes, and leaves what is there where a process is killed right before it puts a written file into its place."""
    written: list[Path] = []
    replace = Path.replace

    def noted(path: Path, target: Path) -> Path:
        written.append(path)
        return replace(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", noted)
        write()
    for path in written:
        path.write_bytes(b"part")
    return sorted(written)


def only_these_are_swept_once_old(crosswalk: Crosswalk, left: list[Path]) -> None:
    there = {path for path in crosswalk.settings.data_dir.rglob("*") if "crosswalk.db" not in path.name}
    assert list(leftovers(crosswalk)) == []
    for path in there:
        if path.is_file():
            age(path)
    assert sorted(leftovers(crosswalk)) == left
    sweep_leftovers(crosswalk)
    assert {path for path in there if not path.exists()} == set(left)


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


def test_a_damaged_gallery_is_swept_without_being_opened(crosswalk: Crosswalk) -> None:
    store = gallery(crosswalk)
    store.items.tag("generation-2-2", 2)
    (store.folder / "generations/2.lance").mkdir(parents=True)
    for manifest in store.folder.glob("items.lance/_versions/*.manifest"):
        manifest.write_bytes(b"no manifest")
    assert len(list(leftovers(crosswalk))) == 2
    sweep_leftovers(crosswalk)
    assert list(leftovers(crosswalk)) == []


def test_what_cannot_be_removed_stays_and_the_rest_goes(crosswalk: Crosswalk, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck, other = (aged(crosswalk.settings.artifacts_dir / name) for name in ("upg-1", "upg-2"))
    remove = shutil.rmtree

    def refusing(path: Path, ignore_errors: bool = False) -> None:
        if path == stuck:
            raise PermissionError(f"{path} is somebody else's")
        remove(path, ignore_errors=ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", refusing)
    sweep_leftovers(crosswalk)
    assert stuck.exists()
    assert not other.exists()


def test_gallery_that_cannot_be_looked_at_keeps_no_service_from_starting(
    crosswalk: Crosswalk, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery(crosswalk)
    left = aged(crosswalk.settings.artifacts_dir / "upg-1")

    def busy(*_: object) -> None:
        raise OSError("the disk does not answer")

    monkeypatch.setattr("app.leftovers.unnamed_in", busy)
    sweep_leftovers(crosswalk)
    assert not left.exists()


def test_a_milvus_that_does_not_answer_is_asked_once_in_a_sweep(
    milvus_installed: None, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    crosswalk = compose(settings.model_copy(update={"milvus_uri": uri, "milvus_timeout_seconds": 0.1}))
    migrate(crosswalk.database)
    left = [aged(settings.galleries_dir / f"x-0{number}") for number in range(3)]
    for folder in left[:2]:
        CollectionName("dropped", 0.0).write(folder)
        age(folder / COLLECTION)
        age(folder)
    asked: list[str] = []
    drop = MilvusServer.drop

    def noted(server: MilvusServer, collection: str) -> None:
        asked.append(collection)
        drop(server, collection)

    monkeypatch.setattr(MilvusServer, "drop", noted)
    for sweep in (1, 2):
        sweep_leftovers(crosswalk)
        assert len(asked) == sweep
    crosswalk.close()
    assert [folder.exists() for folder in left] == [True, True, False]


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
    store.put("old", 2, lambda: (), batch.schema, lambda: iter([batch]))
    return store


def test_answers_of_embedders_are_removed_once_they_are_old(crosswalk: Crosswalk) -> None:
    kept = KeptVectors(crosswalk.database, "e5", "http://somewhere/v1", EmbedderCall("test-model", 2), "")
    for text in ("old", "fresh"):
        with crosswalk.database.session() as session:
            kept.keep(session, {text: np.ones(2, np.float32)})
            if text == "old":
                session.execute(update(KeptVectorRow).values(created_at=utc_now() - timedelta(days=31)))
    sweep_leftovers(crosswalk)
    assert list(kept.find(["old", "fresh"])) == ["fresh"]


def test_how_often_items_were_found_is_forgotten_with_them(crosswalk: Crosswalk) -> None:
    store, info = gallery(crosswalk), crosswalk.galleries.info("faq")
    ((row,),) = (batch.column("_rowid").to_pylist() for batch in store.items.scan([]))
    crosswalk.traffic.found(info, np.array([row, row, row + 1]))
    crosswalk.traffic.close()
    counted = np.array([row, row + 1])
    assert crosswalk.traffic.counts("faq").of(counted).tolist() == [2, 1]
    with sweeping(crosswalk):
        wait_until(lambda: len(crosswalk.traffic.counts("faq").rows) == 1, "the count to go")
    assert crosswalk.traffic.counts("faq").of(counted).tolist() == [2, 0]


def test_a_gallery_that_cannot_be_read_keeps_no_other_from_forgetting_what_is_gone(crosswalk: Crosswalk) -> None:
    gallery(crosswalk)
    for name in ("damaged", "whole"):
        crosswalk.galleries.create(NewGallery(id=name, model="old"))
        crosswalk.traffic.found(crosswalk.galleries.info(name), np.arange(10_001))  # more than are read at once
    crosswalk.traffic.close()
    damaged = crosswalk.galleries.store(crosswalk.galleries.info("damaged"))
    for manifest in (damaged.folder / "items.lance" / "_versions").iterdir():
        manifest.write_bytes(b"damaged")
    assert len(crosswalk.traffic.counts("whole").rows) == 10_001
    with capture_logs() as logs:
        forget_counts_of_gone(crosswalk)
    assert [len(crosswalk.traffic.counts(name).rows) for name in ("damaged", "whole")] == [10_001, 0]
    assert [line["gallery"] for line in logs if line["log_level"] == "error"] == ["damaged"]
