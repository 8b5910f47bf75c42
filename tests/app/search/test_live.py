"""The indexes that a process searches: level with the items, and renewed when another is published."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from app.backup.files import copy_tree
from app.composition import Crosswalk, compose
from app.filters import Filter, FilteredRows
from app.galleries import generations
from app.galleries.info import GalleryInfo
from app.galleries.schemas import NewGallery
from app.index import LiveIndex, Snapshot, VectorIndex
from app.index.milvus import CollectionName
from app.index.milvus_server import MilvusAddress, MilvusServer
from app.keys.access import EVERYTHING
from app.maintenance.gallery_checks import gallery_findings
from app.problems import IndexLost
from app.registry.schemas import NewModel
from app.search.live import LiveIndexes, LoadLimits
from app.search.reranked import RerankedSearch
from app.search.service import Search
from app.settings import Settings
from app.storage.database import Database
from app.storage.lance_table import vector_type
from tests.services import MilvusProcess, free_port
from tests.waiting import PATIENCE_SECONDS, wait_until
from workers.serving.indexing import Built, build_index, settle

_NAMED = pa.schema([pa.field("id", pa.string(), nullable=False), pa.field("label", pa.string())])


@dataclass
class LiveBench:
    """A gallery with one generation, its live index, and the rebuilds of it that were asked for."""

    crosswalk: Crosswalk
    rebuilds: list[tuple[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.live = LiveIndexes(self.crosswalk.galleries, lambda *which: self.rebuilds.append(which))

    def limit(self, **limits: int) -> None:
        """Opens what is searched anew, with other limits."""
        asked = self.rebuilds.append
        self.live = LiveIndexes(self.crosswalk.galleries, lambda *which: asked(which), LoadLimits(**limits))

    @property
    def info(self) -> GalleryInfo:
        return self.crosswalk.galleries.info("g")

    def put(self, **vectors: float) -> None:
        schema = pa.schema([pa.field("id", pa.string()), pa.field("embedding", vector_type(2))])
        cells = pa.array([[value, 1.0] for value in vectors.values()], vector_type(2))
        batch = pa.RecordBatch.from_arrays([pa.array(vectors), cells], schema=schema)
        self.crosswalk.galleries.store(self.info).put("m", 2, lambda: (), schema, lambda: iter([batch]))

    def put_labelled(self, label: str, **vectors: float) -> None:
        self.put(**vectors)
        table = pa.table({"id": list(vectors), "label": [label] * len(vectors)})
        self.crosswalk.galleries.store(self.info).items.update(_NAMED, iter(table.cast(_NAMED).to_batches()))

    def delete(self, *names: str) -> None:
        self.crosswalk.items.delete("g", names)

    def publish(self) -> Built:
        built = build_index(self.crosswalk, self.info, 1, lambda *_: None)
        with self.crosswalk.database.session() as session:
            generations.published(session, "g", 1, built.version, built.index)
        settle(self.crosswalk, "g", built)
        return built

    def damage(self, built: Built) -> None:
        path = self.crosswalk.galleries.store(self.info).index_folder(1) / built.index / "vectors.f32"
        path.write_bytes(path.read_bytes()[:-1] + b"\x7f")

    def scores(self, info: GalleryInfo | None = None) -> list[float]:
        """The first components of all that is found, highest first."""
        index = self.live.index(info or self.info, 1)
        query = np.array([[1.0, 0.0]], np.float32)
        return [float(score) for score in index.search(query, max(1, len(index))).scores[0] if np.isfinite(score)]


@pytest.fixture
def bench(settings: Settings, database: Database) -> Iterator[LiveBench]:
    yield from benches(settings)


@pytest.fixture
def milvus_settings(settings: Settings, milvus: MilvusProcess) -> Settings:
    return settings.model_copy(update=milvus.settings)


@pytest.fixture
def milvus_bench(milvus_settings: Settings, database: Database) -> Iterator[LiveBench]:
    yield from benches(milvus_settings)


def benches(settings: Settings) -> Iterator[LiveBench]:
    crosswalk = compose(settings)
    crosswalk.models.create(NewModel(id="m", dimension=2, metric="ip"))
    crosswalk.galleries.create(NewGallery(id="g", model="m"))
    yield LiveBench(crosswalk)
    crosswalk.close()


def test_every_write_is_seen_by_the_next_search_before_and_after_an_index_is_published(bench: LiveBench) -> None:
    assert bench.scores() == []
    bench.put(x=1, y=2, z=3)
    assert bench.scores() == [3, 2, 1]
    bench.publish()
    assert bench.scores() == [3, 2, 1]
    bench.put(y=5)
    bench.delete("z")
    assert bench.scores() == [5, 1]
    bench.publish()
    assert bench.scores() == [5, 1]
    assert bench.rebuilds == []


def test_what_a_search_was_given_stays_as_of_its_version(bench: LiveBench) -> None:
    bench.put(x=1, y=2)
    query, index = np.array([[1.0, 0.0]], np.float32), bench.live.index(bench.info, 1)
    version = index.version
    bench.put(x=3)
    bench.delete("y")
    assert bench.scores() == [3]
    assert (index.version, index.search(query, 2).scores.tolist()) == (version, [[2.0, 1.0]])


class _WrittenMeanwhile(LiveIndexes):
    """Right after a search has taken its index, somebody writes."""

    def __init__(self, bench: LiveBench) -> None:
        super().__init__(bench.crosswalk.galleries, lambda *_: None)
        self._bench = bench

    def index(self, info: GalleryInfo, number: int) -> VectorIndex:
        index = super().index(info, number)
        self._bench.put_labelled("after", x=5, y=6)
        self._bench.delete("z")
        return index


def test_no_answer_mixes_what_an_item_was_before_a_write_with_what_it_is_after(bench: LiveBench) -> None:
    bench.put_labelled("before", x=1, y=2, z=3)
    crosswalk = bench.crosswalk
    reranked = RerankedSearch(crosswalk.settings, crosswalk.galleries, crosswalk.real_vectors)
    live, traffic = _WrittenMeanwhile(bench), crosswalk.traffic
    search = Search(crosswalk.settings, crosswalk.galleries, live, FilteredRows(0), reranked, traffic)
    resolved = bench.crosswalk.search_resolver.resolve("g", "m", None, EVERYTHING)
    query = np.array([[1.0, 0.0]], np.float32)
    (hits,) = json.loads(search.search(resolved, 3, query, Filter.of({"label": {"eq": "before"}})).to_json())["results"]
    assert [(hit["id"], hit["score"], hit["label"]) for hit in hits] == [
        ("z", 3, "before"),
        ("y", 2, "before"),
        ("x", 1, "before"),
    ]
    (hits,) = json.loads(search.search(resolved, 3, query).to_json())["results"]
    assert [(hit["id"], hit["score"], hit["label"]) for hit in hits] == [("y", 6, "after"), ("x", 5, "after")]


def test_search_that_looked_before_an_index_was_published_keeps_to_the_newer_one(bench: LiveBench) -> None:
    bench.put(x=1, y=2)
    bench.publish()
    early = bench.info
    assert bench.scores() == [2, 1]
    bench.put(z=3)
    newer = bench.publish()
    assert bench.scores() == [3, 2, 1]
    assert bench.scores(early) == [3, 2, 1]
    index = bench.live.index(early, 1)
    snapshot = getattr(index, "snapshot", None)
    assert isinstance(snapshot, Snapshot)
    assert snapshot.directory.name == newer.index
    assert bench.rebuilds == []


def test_rebuild_is_asked_for_again_when_as_much_was_written_while_one_was_made(bench: LiveBench) -> None:
    def put_many(first: str) -> None:
        bench.put(**{f"{first}{number}": 1.0 for number in range(10_001)})
        bench.live.index(bench.info, 1)

    put_many("x")
    bench.live.index(bench.info, 1)
    assert bench.rebuilds == [("g", 1)]
    bench.publish()
    put_many("y")
    assert bench.rebuilds == [("g", 1), ("g", 1)]


def test_corrupt_index_is_searched_around_and_a_rebuild_is_asked_for_once(bench: LiveBench) -> None:
    bench.put(x=1, y=2)
    built = bench.publish()
    bench.damage(built)
    assert bench.scores() == [2, 1]
    bench.put(z=3)
    assert bench.scores() == [3, 2, 1]
    assert bench.rebuilds == [("g", 1)]
    bench.publish()
    assert bench.scores() == [3, 2, 1]
    assert bench.rebuilds == [("g", 1)]


def test_every_write_is_seen_by_the_next_search_of_an_index_in_milvus(milvus_bench: LiveBench) -> None:
    test_every_write_is_seen_by_the_next_search_before_and_after_an_index_is_published(milvus_bench)


def test_index_that_milvus_has_lost_is_searched_around_and_a_rebuild_is_asked_for(
    milvus_bench: LiveBench, milvus: MilvusProcess
) -> None:
    bench, server = milvus_bench, MilvusServer(MilvusAddress(milvus.uri, None, PATIENCE_SECONDS))
    bench.put(x=1, y=2)
    folder = bench.crosswalk.galleries.store(bench.info).index_folder(1) / bench.publish().index
    assert bench.scores() == [2, 1]
    server.drop(CollectionName.read(folder).name)
    with pytest.raises(IndexLost):
        bench.scores()
    assert bench.scores() == [2, 1]
    assert bench.rebuilds == [("g", 1)]
    bench.publish()
    assert bench.scores() == [2, 1]


def test_index_of_the_engine_before_answers_until_one_of_the_new_engine_is_published(
    bench: LiveBench, milvus_settings: Settings
) -> None:
    bench.put(x=1, y=2)
    bench.publish()
    after = LiveBench(compose(milvus_settings))
    assert (after.scores(), after.rebuilds) == ([2, 1], [("g", 1)])
    after.publish()
    assert (after.scores(), after.rebuilds) == ([2, 1], [("g", 1)])
    assert (bench.scores(), bench.rebuilds) == ([2, 1], [("g", 1)]), "it does not know where Milvus is"
    after.crosswalk.close()


def test_verification_compares_a_collection_with_the_items_unless_milvus_is_away(
    milvus_bench: LiveBench, milvus_settings: Settings
) -> None:
    milvus_bench.put(x=1, y=2)
    milvus_bench.publish()
    assert list(gallery_findings(milvus_bench.crosswalk, milvus_bench.info)) == []
    nowhere = {"milvus_uri": f"http://127.0.0.1:{free_port()}", "milvus_timeout_seconds": 1.0}
    away = compose(milvus_settings.model_copy(update=nowhere))
    (finding,) = gallery_findings(away, milvus_bench.info)
    assert (finding.kind, finding.remedy, finding.fault) == ("unchecked", "retry", True)
    away.close()


def test_backup_leaves_collections_to_the_service_that_made_them(milvus_bench: LiveBench, tmp_path: Path) -> None:
    milvus_bench.put(x=1, y=2)
    folder = milvus_bench.crosswalk.galleries.store(milvus_bench.info).folder
    path = folder / "indexes" / "1" / milvus_bench.publish().index
    copied = [file.path for file in copy_tree(folder, tmp_path / "copy", tmp_path)]
    assert any("items.lance" in name for name in copied)
    assert not any(path.name in name for name in copied)


def test_collection_goes_with_its_gallery(milvus_bench: LiveBench, milvus: MilvusProcess) -> None:
    milvus_bench.put(x=1)
    built = milvus_bench.publish()
    folder = milvus_bench.crosswalk.galleries.store(milvus_bench.info).index_folder(1) / built.index
    name = CollectionName.read(folder).name
    server = MilvusServer(MilvusAddress(milvus.uri, None, PATIENCE_SECONDS))
    assert server.count(name) == 1
    milvus_bench.crosswalk.galleries.delete("g")
    assert server.count(name) is None
    assert not folder.exists()


def test_searches_do_not_wait_for_a_large_index_to_be_loaded(bench: LiveBench) -> None:
    bench.limit(loaded_at_once=0)
    bench.put(x=1, y=2)
    bench.publish()
    assert bench.scores() == [2, 1]
    bench.put(y=5)
    newer = bench.publish()
    bench.put(z=4)
    assert bench.scores() == [5, 4, 1]

    def taken_over() -> bool:
        assert bench.scores() == [5, 4, 1]
        index = bench.live.index(bench.info, 1)
        return isinstance(index, LiveIndex) and index.snapshot is not None and index.snapshot.version == newer.version

    wait_until(taken_over, "the newer index to be taken over")
    bench.damage(bench.publish())
    assert bench.scores() == [5, 4, 1]
    wait_until(lambda: bench.scores() == [5, 4, 1] and bench.rebuilds, "the damage to be found")


def test_collection_that_is_dropped_is_not_searched_until_the_next_is_brought_from_the_store(
    milvus_settings: Settings, database: Database, storage_url: str, tmp_path: Path
) -> None:
    settings = milvus_settings.model_copy(update={"storage_url": storage_url})
    elsewhere = compose(settings.model_copy(update={"data_dir": tmp_path / "elsewhere"}), database)
    for publisher in benches(settings):
        searcher = LiveBench(elsewhere)
        publisher.put(x=1, y=2)
        publisher.publish()
        assert searcher.scores() == [2, 1]
        publisher.put(y=5)
        publisher.publish()
        assert searcher.scores() == [5, 1]
    elsewhere.close()


def test_damage_found_after_searches_began_ends_them_and_a_rebuild_is_asked_for(bench: LiveBench) -> None:
    bench.limit(checked_at_once=0)
    bench.put(x=1, y=2)
    bench.damage(bench.publish())
    bench.scores()
    wait_until(lambda: bench.rebuilds, "the damage to be found")
    assert bench.scores() == [2, 1]
    bench.publish()
    assert bench.scores() == [2, 1]
    assert bench.rebuilds == [("g", 1)]


def test_items_not_written_between_two_indexes_are_as_of_the_same_version_in_both(bench: LiveBench) -> None:
    bench.put(x=1, y=2, z=3)
    built = bench.publish()

    def stamped() -> dict[float, int]:
        index = bench.live.index(bench.info, 1)
        hits = index.search(np.array([[1.0, 0.0]], np.float32), 3)
        return dict(zip(hits.scores[0].tolist(), index.versions(hits.rows[0]).tolist(), strict=True))

    assert stamped() == {1: built.version, 2: built.version, 3: built.version}
    bench.put_labelled("other", y=2)
    before = stamped()
    assert before[2] > built.version
    newer = bench.publish()
    assert newer.version >= before[2]
    assert stamped() == before == {1: built.version, 2: before[2], 3: built.version}


def test_forgotten_gallery_is_opened_anew(bench: LiveBench) -> None:
    bench.put(x=1)
    bench.damage(bench.publish())
    assert (bench.scores(), bench.rebuilds) == ([1], [("g", 1)])
    assert (bench.scores(), bench.rebuilds) == ([1], [("g", 1)])
    bench.live.forget(bench.info)
    assert (bench.scores(), bench.rebuilds) == ([1], [("g", 1), ("g", 1)])
