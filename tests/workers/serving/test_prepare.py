"""What an upgrade leaves for search: a cascade, and an effort for each index that its queries search."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest

from app.artifacts.cascade import open_cascade
from app.artifacts.folder import UpgradeArtifacts
from app.artifacts.tuning import tuned_effort
from app.composition import Crosswalk, compose
from app.galleries import generations
from app.galleries.schemas import IndexChoice, NewGallery, SideInformation
from app.keys.access import EVERYTHING
from app.registry.schemas import NewModel
from app.settings import Settings
from app.storage.database import Database
from app.storage.lance_table import vector_type
from app.upgrades.info import UpgradeInfo
from app.upgrades.states import UpgradeState
from models.portable import Array, Space, save_transformation
from models.transformations.pairs import Pairs
from tests.app.crossings import network_crossing, normal
from tests.upgrade_rows import store_upgrade
from workers.rows.pairs import DatasetPairs
from workers.serving.indexing import Built, build_index
from workers.serving.prepare import ServingMeasurements, prepare_serving

OLD, NEW, SIDE, ITEMS = Space("old", 8, "l2"), Space("new", 6, "l2"), 3, 2_000


@dataclass
class Proved:
    """A gallery with an inverted file, and an upgrade whose network was proved on it."""

    crosswalk: Crosswalk
    upgrade: UpgradeInfo
    queries: Array

    @property
    def artifacts(self) -> UpgradeArtifacts:
        return UpgradeArtifacts(self.crosswalk.settings.artifacts_dir, "u")

    def publish(self) -> Built:
        info = self.crosswalk.galleries.info("g")
        built = build_index(self.crosswalk, info, 1, lambda *_: None)
        with self.crosswalk.database.session() as session:
            generations.published(session, "g", 1, built.version, built.index)
        return built

    def effort(self, index: str) -> int | None:
        return tuned_effort(self.artifacts, index)

    def put(self, vectors: Array) -> None:
        schema = pa.schema([pa.field("id", pa.string()), pa.field("embedding", vector_type(OLD.dimension))])
        cells = pa.array(list(vectors), vector_type(OLD.dimension))
        batch = pa.RecordBatch.from_arrays([pa.array([f"i{row}" for row in range(len(vectors))]), cells], schema=schema)
        info = self.crosswalk.galleries.info("g")
        self.crosswalk.galleries.store(info).put("old", OLD.dimension, lambda: (), schema, lambda: iter([batch]))


@pytest.fixture
def proved(settings: Settings, database: Database) -> Iterator[Proved]:
    crosswalk = compose(settings)
    for space in (OLD, NEW):
        crosswalk.models.create(NewModel(id=space.model, dimension=space.dimension, metric=space.metric))
    side, index = SideInformation(dimension=SIDE), IndexChoice(kind="ivf_flat")
    crosswalk.galleries.create(NewGallery(id="g", model="old", side_information=side, index=index))
    rng = np.random.default_rng(0)
    crossing, artifacts = network_crossing(OLD, NEW, SIDE), UpgradeArtifacts(settings.artifacts_dir, "u")
    save_transformation(crossing.chosen, artifacts.chosen)
    save_transformation(crossing.plain, artifacts.plain)
    store_upgrade(crosswalk.database, "u", UpgradeState.ACTIVE, ["g"])
    made = Proved(crosswalk, crosswalk.upgrade_steps.info("u"), normal(rng, 80, 6) * 8)
    made.put(normal(rng, ITEMS, 8))
    yield made
    crosswalk.close()


def serving(proved: Proved) -> ServingMeasurements:
    queries = proved.queries.copy()
    queries[3] = 0
    ids = np.array([f"i{row}" for row in range(len(queries))], object)
    pairs = DatasetPairs(ids, Pairs(np.zeros((len(ids), 8), np.float32), queries))
    return prepare_serving(proved.crosswalk, proved.upgrade, pairs, lambda *_: None)["g"]


def test_cascade_and_effort_are_reported_and_left_for_search(proved: Proved) -> None:
    built = proved.publish()
    assert proved.effort(built.index) is None
    measured = serving(proved)
    cascade, index = measured.cascade, measured.index
    left = open_cascade(proved.artifacts)
    assert cascade is not None
    assert left == cascade
    assert cascade.queries == 79
    assert index.kind == "ivf_flat"
    assert index.neighbours == cascade.k
    assert index.recall_before < 0.99 <= index.recall
    assert index.effort_before is not None
    assert index.effort is not None
    assert index.effort_before < index.effort == proved.effort(built.index)


def test_every_index_published_later_is_tuned_for_the_same_queries(proved: Proved) -> None:
    proved.publish()
    serving(proved)
    proved.put(normal(np.random.default_rng(7), ITEMS, 8))
    later = proved.publish()
    effort = proved.effort(later.index)
    assert effort is not None
    resolved = proved.crosswalk.search_resolver.resolve("g", "new", None, EVERYTHING)
    answers = proved.crosswalk.search.search(resolved, 10, proved.queries[:20])
    assert answers.route == "cascade"
    assert answers.note is not None


def test_gallery_that_was_never_indexed_is_searched_exactly(proved: Proved) -> None:
    index = serving(proved).index
    assert (index.kind, index.recall, index.effort) == ("flat", 1.0, None)
