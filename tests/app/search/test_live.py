"""The indexes that a process searches: level with the items, and renewed when another is published."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pytest

from app.composition import Crosswalk, compose
from app.galleries import generations
from app.galleries.info import GalleryInfo
from app.galleries.schemas import NewGallery
from app.index import Snapshot
from app.registry.schemas import NewModel
from app.search.live import LiveIndexes
from app.settings import Settings
from app.storage.database import Database
from app.storage.lance_table import vector_type
from workers.serving.indexing import Built, build_index, settle


@dataclass
class LiveBench:
    """A gallery with one generation, its live index, and the rebuilds of it that were asked for."""

    crosswalk: Crosswalk
    rebuilds: list[tuple[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.live = LiveIndexes(self.crosswalk.galleries, lambda *which: self.rebuilds.append(which))

    @property
    def info(self) -> GalleryInfo:
        return self.crosswalk.galleries.info("g")

    def put(self, **vectors: float) -> None:
        schema = pa.schema([pa.field("id", pa.string()), pa.field("embedding", vector_type(2))])
        cells = pa.array([[value, 1.0] for value in vectors.values()], vector_type(2))
        batch = pa.RecordBatch.from_arrays([pa.array(vectors), cells], schema=schema)
        self.crosswalk.galleries.store(self.info).put("m", 2, (), schema, lambda: iter([batch]))

    def delete(self, *names: str) -> None:
        self.crosswalk.items.delete("g", names)

    def publish(self) -> Built:
        built = build_index(self.crosswalk, self.info, 1, lambda *_: None)
        with self.crosswalk.database.session() as session:
            generations.published(session, "g", 1, built.version, built.index)
        settle(self.crosswalk, "g", built)
        return built

    def scores(self, info: GalleryInfo | None = None) -> list[float]:
        """The first components of all that is found, highest first."""
        index = self.live.index(info or self.info, 1)
        query = np.array([[1.0, 0.0]], np.float32)
        return [float(score) for score in index.search(query, max(1, len(index))).scores[0] if np.isfinite(score)]


@pytest.fixture
def bench(settings: Settings, database: Database) -> Iterator[LiveBench]:
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


def test_corrupt_index_is_searched_around_and_a_rebuild_is_asked_for_once(bench: LiveBench) -> None:
    bench.put(x=1, y=2)
    built = bench.publish()
    path = bench.crosswalk.galleries.store(bench.info).index_folder(1) / built.index / "vectors.f32"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    assert bench.scores() == [2, 1]
    bench.put(z=3)
    assert bench.scores() == [3, 2, 1]
    assert bench.rebuilds == [("g", 1)]
    bench.publish()
    assert bench.scores() == [3, 2, 1]
    assert bench.rebuilds == [("g", 1)]


def test_forgotten_gallery_is_opened_anew(bench: LiveBench) -> None:
    bench.put(x=1)
    first = bench.live.index(bench.info, 1)
    assert bench.live.index(bench.info, 1) is first
    bench.live.forget(bench.info)
    assert bench.live.index(bench.info, 1) is not first
