"""What a gallery tells of the index that it is searched with."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from app.composition import Crosswalk, compose
from app.galleries import generations
from app.galleries.schemas import IndexChoice, NewGallery
from app.index import Snapshot
from app.index.manifest import Trial
from app.maintenance.gallery_checks import gallery_findings
from app.registry.schemas import NewModel
from app.settings import Settings
from app.storage.database import Database
from app.storage.lance_table import vector_type
from tests.services import MilvusProcess
from workers.serving.indexing import build_index

COUNT, DIMENSION = 1_200, 4


@pytest.fixture
def crosswalk(settings: Settings, database: Database) -> Iterator[Crosswalk]:
    made = compose(settings.model_copy(update={"index_exact_rows": 1_000, "index_recall": 0.9}))
    made.models.create(NewModel(id="m", dimension=DIMENSION, metric="l2"))
    yield made
    made.close()


def fill(crosswalk: Crosswalk, gallery: str, index: IndexChoice) -> None:
    crosswalk.galleries.create(NewGallery(id=gallery, model="m", index=index))
    put(crosswalk, gallery, range(COUNT))


def put(crosswalk: Crosswalk, gallery: str, items: range) -> None:
    vectors = np.random.default_rng(items.start).standard_normal((len(items), DIMENSION)).astype(np.float32)
    schema = pa.schema([pa.field("id", pa.string()), pa.field("embedding", vector_type(DIMENSION))])
    columns = [pa.array(map(str, items)), pa.array(list(vectors), vector_type(DIMENSION))]
    batch = pa.RecordBatch.from_arrays(columns, schema=schema)
    info = crosswalk.galleries.info(gallery)
    crosswalk.galleries.store(info).put("m", DIMENSION, lambda: (), schema, lambda: iter([batch]))


def publish_index(crosswalk: Crosswalk, gallery: str) -> str:
    built = build_index(crosswalk, crosswalk.galleries.info(gallery), 1, lambda *_: None)
    with crosswalk.database.session() as session:
        generations.published(session, gallery, 1, built.version, built.index)
    return built.index


def test_the_index_is_told_with_its_measured_recall_its_parameters_and_its_size(crosswalk: Crosswalk) -> None:
    fill(crosswalk, "g", IndexChoice(kind="hnsw"))
    assert crosswalk.galleries.get("g").published_index is None
    name = publish_index(crosswalk, "g")
    told = crosswalk.galleries.get("g").published_index
    assert told is not None
    assert (told.kind, told.rows) == ("hnsw", COUNT)
    assert set(told.parameters) == {"m", "ef_construction", "ef_search"}
    assert told.trial is None
    assert 0.9 <= told.recall <= 1
    folder = crosswalk.galleries.store(crosswalk.galleries.info("g")).index_folder(1) / name
    assert told.bytes == sum(path.stat().st_size for path in folder.iterdir() if path.name != "manifest.json")


def test_an_index_that_was_chosen_by_measurement_is_told_with_what_was_measured(crosswalk: Crosswalk) -> None:
    fill(crosswalk, "g", IndexChoice())
    publish_index(crosswalk, "g")
    told = crosswalk.galleries.get("g").published_index
    assert told is not None
    assert told.trial is not None
    assert (told.trial.kind, told.rows) == ("hnsw", COUNT)
    assert told.trial.recall >= 0.9
    assert told.kind == ("hnsw" if 1.25 * told.trial.ms <= told.trial.exact_ms else "flat")


def test_a_graph_that_was_too_slow_is_not_built_again_for_a_few_items_more(crosswalk: Crosswalk) -> None:
    fill(crosswalk, "g", IndexChoice())
    galleries, info = crosswalk.galleries, crosswalk.galleries.info("g")
    folder = galleries.store(info).index_folder(1)
    manifest = galleries.index_engine.manifest(folder / publish_index(crosswalk, "g"))
    slow = replace(manifest, kind="flat", trial=Trial("hnsw", COUNT, 40, 0.99, ms=1.1, exact_ms=1.0))
    batches = [(np.arange(COUNT), np.ones((COUNT, DIMENSION), np.float32))]
    path = galleries.index_engine.publish(
        folder,
        batches,
        metric="l2",
        dimension=DIMENSION,
        version=manifest.version,
        options=galleries.index_options(info),
        before=slow,
    )
    with crosswalk.database.session() as session:
        generations.published(session, "g", 1, manifest.version, path.name)
    put(crosswalk, "g", range(COUNT, COUNT + 10))
    publish_index(crosswalk, "g")
    told = galleries.get("g").published_index
    assert told is not None
    assert told.trial is not None
    assert (told.kind, told.rows, told.trial.ms, told.trial.rows) == ("flat", COUNT + 10, 1.1, COUNT)


def test_a_gallery_can_have_another_kind_of_index_than_its_size_asks_for(crosswalk: Crosswalk) -> None:
    fill(crosswalk, "g", IndexChoice(kind="flat"))
    publish_index(crosswalk, "g")
    told = crosswalk.galleries.get("g").published_index
    assert told is not None
    assert (told.kind, told.recall, told.parameters) == ("flat", 1, {})


def test_a_graph_grows_by_what_was_written_since_and_holds_the_items_as_they_are(crosswalk: Crosswalk) -> None:
    fill(crosswalk, "g", IndexChoice(kind="hnsw"))
    publish_index(crosswalk, "g")
    crosswalk.items.delete("g", [str(item) for item in range(50)])
    put(crosswalk, "g", range(COUNT - 100, COUNT + 300))
    name = publish_index(crosswalk, "g")
    info = crosswalk.galleries.info("g")
    snapshot = Snapshot.load(crosswalk.galleries.store(info).index_folder(1) / name)
    assert snapshot.manifest.dead == 150, "it was grown"
    assert not list(gallery_findings(crosswalk, info))
    told = crosswalk.galleries.get("g").published_index
    assert told is not None
    assert told.rows == COUNT - 50 + 300


def test_an_index_in_milvus_is_told_without_a_size_and_is_always_built_whole(
    settings: Settings, database: Database, milvus: MilvusProcess
) -> None:
    options = {**milvus.settings, "index_exact_rows": 1_000}
    crosswalk = compose(settings.model_copy(update=options))
    crosswalk.models.create(NewModel(id="m", dimension=DIMENSION, metric="cosine"))
    fill(crosswalk, "g", IndexChoice())
    first = publish_index(crosswalk, "g")
    crosswalk.items.delete("g", [str(item) for item in range(50)])
    put(crosswalk, "g", range(COUNT - 100, COUNT + 300))
    second = publish_index(crosswalk, "g")
    assert first != second
    told = crosswalk.galleries.get("g").published_index
    assert told is not None
    assert (told.kind, told.rows, told.bytes) == ("hnsw", COUNT - 50 + 300, None)
    assert told.recall >= 0.99
    assert told.parameters["ef_search"] > 0
    assert not list(gallery_findings(crosswalk, crosswalk.galleries.info("g")))
    crosswalk.galleries.delete("g")
    crosswalk.close()


def test_an_index_whose_manifest_is_damaged_is_not_told_of(crosswalk: Crosswalk) -> None:
    fill(crosswalk, "g", IndexChoice())
    name = publish_index(crosswalk, "g")
    folder = crosswalk.galleries.store(crosswalk.galleries.info("g")).index_folder(1)
    (folder / name / "manifest.json").write_text("{}")
    assert crosswalk.galleries.get("g").published_index is None
