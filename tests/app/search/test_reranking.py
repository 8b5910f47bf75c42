"""The cascade against the gallery as it would be rewritten: filters, writes, zero vectors, items without side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
import pyarrow as pa
import pytest

from app.artifacts.crossings import Crossing
from app.composition import Crosswalk, compose
from app.galleries.info import GalleryInfo
from app.galleries.lineage import SIDE_INFORMATION, Lineage
from app.galleries.schemas import NewGallery, SideInformation
from app.index import PADDING, Hits, LiveIndex
from app.registry.schemas import NewModel
from app.search.reranking import CascadeSource, Reranking
from app.settings import Settings
from app.storage.database import Database
from app.storage.lance_table import vector_type
from models.portable import Array, Distance, Space
from tests.app.crossings import network_crossing
from tests.waiting import wait_until

OLD, SIDE, NEW, ITEMS = 6, 3, 8, 60
NAME = ("gallery", "1", "upgrade")


@dataclass(frozen=True)
class CountingCrossing(Crossing):
    """A crossing that tells how many rows it has transformed, call by call."""

    calls: list[int] = field(default_factory=list)

    def apply(self, embeddings: Array, side: Array | None, has_side: np.ndarray) -> Array:
        self.calls.append(len(embeddings))
        return super().apply(embeddings, side, has_side)


@dataclass
class RerankingScene:
    """A gallery in the old space, and a crossing that is neither linear nor without side-information."""

    crosswalk: Crosswalk
    crossing: Crossing
    target: Distance
    reranking: Reranking

    @property
    def info(self) -> GalleryInfo:
        return self.crosswalk.galleries.info("g")

    @property
    def old(self) -> CascadeSource:
        items = self.crosswalk.galleries.store(self.info).items
        return CascadeSource(items, self.crosswalk.live.index(self.info, 1), self.crossing, self.target)

    def put(self, **columns: list[object]) -> None:
        kinds = {"id": pa.string(), "embedding": vector_type(OLD), SIDE_INFORMATION: vector_type(SIDE)}
        schema = pa.schema([pa.field(name, kinds[name]) for name in columns])
        batch = pa.RecordBatch.from_arrays(
            [pa.array(cells, kinds[name]) for name, cells in columns.items()], schema=schema
        )
        self.crosswalk.galleries.store(self.info).put("old", OLD, lambda: (), schema, lambda: iter([batch]))

    def search(self, queries: Array, k: int, candidates: int, allowed: np.ndarray | None = None) -> tuple[Hits, bool]:
        return self.reranking.search(NAME, self.old, queries, k, candidates, allowed=allowed)

    def rewritten(self) -> LiveIndex:
        """What the gallery would be as a transformed generation."""
        lineage = Lineage(("old", "new"), (OLD, NEW), (self.crossing,))
        index = LiveIndex(self.target, NEW)
        for part in self.crosswalk.galleries.store(self.info).project(lineage):
            index.upsert(part.rows, part.vectors, version=1)
        return index

    def same(self, queries: Array, k: int, allowed: np.ndarray | None = None) -> None:
        hits, whole = self.search(queries, k, ITEMS + 5, allowed)
        expected = self.rewritten().search(queries, k, allowed=allowed)
        assert whole
        np.testing.assert_array_equal(hits.rows, expected.rows)
        np.testing.assert_allclose(hits.scores, expected.scores, rtol=1e-4, atol=1e-5)


def random(count: int, dimension: int, seed: int) -> Array:
    return np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)


@pytest.fixture(params=list(product(("cosine", "l2"), ("cosine", "l2", "ip"))), ids="-to-".join)
def scene(request: pytest.FixtureRequest, settings: Settings, database: Database) -> Iterator[RerankingScene]:
    source, target = request.param
    crosswalk = compose(settings)
    crosswalk.models.create(NewModel(id="old", dimension=OLD, metric=source))
    crosswalk.galleries.create(NewGallery(id="g", model="old", side_information=SideInformation(dimension=SIDE)))
    made = RerankingScene(
        crosswalk,
        network_crossing(Space("old", OLD, source), Space("new", NEW, target), SIDE),
        target,
        Reranking(2**20),
    )
    vectors, side = random(ITEMS, OLD, 2), list(random(ITEMS, SIDE, 3))
    vectors[4] = 0
    beside = [None if row % 5 == 0 else side[row] for row in range(ITEMS)]
    made.put(id=[f"i{row}" for row in range(ITEMS)], embedding=list(vectors), side_information=beside)
    yield made
    made.reranking.close()
    crosswalk.close()


def test_cascade_over_every_candidate_is_the_rewritten_gallery_through_writes_deletes_and_filters(
    scene: RerankingScene,
) -> None:
    queries = random(9, NEW, 5)
    scene.same(queries, 10)
    index = scene.old.index
    rows = np.unique(index.search(random(1, OLD, 6), ITEMS).rows)
    scene.same(queries, 10, allowed=rows[::3])
    scene.put(id=["i1", "new"], embedding=list(random(2, OLD, 7)))
    scene.same(queries, 10)
    scene.put(id=["i2", "i5"], embedding=list(random(2, OLD, 8)), side_information=list(random(2, SIDE, 9)))
    scene.same(queries, 10)
    scene.crosswalk.items.delete("g", ["i3", "i7", "new"])
    scene.same(queries, ITEMS + 3)


def test_side_information_that_comes_later_is_read_though_the_vector_stays(scene: RerankingScene) -> None:
    queries = random(9, NEW, 5)
    scene.same(queries, 10)
    vectors = random(ITEMS, OLD, 2)
    scene.put(id=["i10", "i11"], embedding=list(vectors[10:12]), side_information=list(random(2, SIDE, 11)))
    scene.same(queries, ITEMS)


def test_answers_are_the_best_of_the_candidates_that_the_push_proposes_whatever_else_is_asked(
    scene: RerankingScene,
) -> None:
    queries, k, candidates = random(20, NEW, 5), 4, 15
    hits, whole = scene.search(queries, k, candidates)
    assert not whole
    pushed = scene.crossing.plain.push(queries)
    proposed = scene.old.index.search(pushed.queries, candidates, score_as=pushed.score).rows
    rewritten = scene.rewritten()
    for number, (query, rows) in enumerate(zip(queries, proposed, strict=True)):
        expected = rewritten.search(query[None], k, allowed=rows)
        assert hits.rows[number].tolist() == expected.rows[0].tolist()
        alone, _ = scene.search(query[None], k, candidates)
        np.testing.assert_array_equal(alone.rows[0], hits.rows[number])
        np.testing.assert_array_equal(alone.scores[0], hits.scores[number])


def counted(crossing: Crossing) -> CountingCrossing:
    return CountingCrossing(crossing.chosen, crossing.plain)


def test_after_a_first_search_candidates_that_no_query_had_are_transformed_already(scene: RerankingScene) -> None:
    scene.crossing = crossing = counted(scene.crossing)
    scene.search(random(1, NEW, 5), 1, 2)
    wait_until(lambda: not scene.reranking.works_ahead, "every row to be transformed")
    ahead = sum(crossing.calls)
    assert ITEMS <= ahead <= ITEMS + 2  # the query's own candidates may be transformed by both
    scene.same(random(9, NEW, 6), 10)
    assert sum(crossing.calls) == ahead + ITEMS  # which the rewritten gallery took, to compare with
    scene.put(id=["i1"], embedding=list(random(1, OLD, 7)))
    scene.same(random(9, NEW, 6), 10)


def test_rows_are_transformed_ahead_only_where_there_is_room_and_a_network_is_to_be_spared(
    scene: RerankingScene,
) -> None:
    room = 10
    scene.crossing = crossing = counted(scene.crossing)
    scene.reranking = Reranking(room * (4 * NEW + 16))
    scene.search(random(1, NEW, 5), 1, 2)
    wait_until(lambda: not scene.reranking.works_ahead, "the room to be filled")
    assert room <= sum(crossing.calls) <= room + 2
    scene.same(random(9, NEW, 6), 10)
    for spared, reranking in (
        (scene.crossing, Reranking(0)),
        (replace(crossing, chosen=crossing.plain), Reranking(99)),
    ):
        scene.crossing, scene.reranking = spared, reranking
        scene.search(random(1, NEW, 5), 1, 2)
        assert not scene.reranking.works_ahead


def test_rows_are_transformed_again_where_there_is_no_room_to_keep_them(scene: RerankingScene) -> None:
    queries = random(9, NEW, 5)
    scene.reranking = Reranking(0)
    scene.same(queries, 10)
    scene.same(queries, 10)


def test_empty_galleries_and_filters_that_let_nothing_through_find_nothing(scene: RerankingScene) -> None:
    queries = random(2, NEW, 5)
    hits, whole = scene.search(queries, 3, 20, allowed=np.array([10**6]))
    assert whole
    assert (hits.rows == PADDING).all()
    scene.crosswalk.items.delete("g", [f"i{row}" for row in range(ITEMS)])
    hits, _ = scene.search(queries, 3, 20)
    assert (hits.rows == PADDING).all()
    assert scene.search(queries[:0], 3, 20)[0].rows.shape == (0, 3)
