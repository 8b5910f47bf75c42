"""Which judged queries an upgrade is proved by, and which items are read for them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from app.composition import Crosswalk, compose
from app.datasets.schemas import NewDataset
from app.galleries.schemas import NewGallery
from app.registry.schemas import NewModel
from app.settings import Settings
from app.storage.database import Database
from app.storage.lance_table import vector_type
from app.upgrades.forward_request import ForwardUpgrade
from app.upgrades.info import UpgradeInfo
from app.upgrades.states import UpgradeState
from models.proof.gate import AcceptanceGate
from models.transformations.pairs import Pairs
from workers.context import StepFailed
from workers.rows.items import whole_gallery
from workers.rows.judged_queries import JudgedGallery, judged_gallery
from workers.rows.query_pairs import LoggedQueries, unjudged_queries

ITEMS, OLD, NEW = 400, 4, 6
FITTING = 120


@pytest.fixture
def crosswalk(settings: Settings, database: Database) -> Iterator[Crosswalk]:
    made = compose(settings.model_copy(update={"evaluation_memory_bytes": 4 * OLD * FITTING}))
    for model, dimension in (("old", OLD), ("new", NEW)):
        made.models.create(NewModel(id=model, dimension=dimension, metric="cosine"))
    made.galleries.create(NewGallery(id="g", model="old"))
    for dataset in ("pairs", "asked"):
        made.datasets.create(NewDataset(id=dataset))
    vectors = np.random.default_rng(0).normal(size=(ITEMS, OLD)).astype(np.float32)
    batch = pa.record_batch({"id": [f"i{row}" for row in range(ITEMS)], "embedding": _cells(vectors)})
    store = made.galleries.store(made.galleries.info("g"))
    store.put("old", OLD, lambda: (), batch.schema, lambda: iter([batch]))
    yield made
    made.close()


def _cells(vectors: np.ndarray) -> pa.Array:
    return pa.array(list(vectors), vector_type(vectors.shape[1]))


def put(crosswalk: Crosswalk, dataset: str, many: int, first: int = 0, relevant: str = "i") -> None:
    """Queries, each answered by an item and by one that is in no gallery."""
    rng = np.random.default_rng(1)
    batch = pa.record_batch(
        {
            "id": [f"q{query}" for query in range(first, first + many)],
            "relevant": [json.dumps({f"{relevant}{query}": 1, "gone": 1}) for query in range(first, first + many)],
            "embedding.old": _cells(rng.normal(size=(many, OLD)).astype(np.float32)),
            "embedding.new": _cells(rng.normal(size=(many, NEW)).astype(np.float32)),
        }
    )
    crosswalk.datasets.store(dataset).put_queries(batch.schema, lambda: iter([batch]))


def upgrade(evaluation: str | None = None) -> UpgradeInfo:
    asked = ForwardUpgrade(to="new", dataset="pairs", evaluation=evaluation)
    return UpgradeInfo("u", "old", "new", ("g",), UpgradeState.EVALUATING, asked)


LABEL, NDCG = AcceptanceGate("cmc@1"), AcceptanceGate("ndcg@10")


def judged(
    crosswalk: Crosswalk, gate: AcceptanceGate = LABEL, evaluation: str | None = None, memory: int | None = None
) -> JudgedGallery:
    """What is judged; memory: room for so many items, in place of `FITTING`."""
    if memory is not None:
        crosswalk = compose(crosswalk.settings.model_copy(update={"evaluation_memory_bytes": 4 * OLD * memory}))
    return judged_gallery(crosswalk, upgrade(evaluation), crosswalk.galleries.info("g"), gate, 0)


def test_items_that_answer_queries_are_read_even_where_not_all_fit_in_memory(crosswalk: Crosswalk) -> None:
    put(crosswalk, "pairs", 50)
    found = judged(crosswalk, NDCG)
    assert {f"i{row}" for row in range(50)} <= set(found.items.id)
    assert FITTING // 2 < len(found.items.id) < FITTING * 5 // 4
    assert found.queries is not None
    assert len(found.queries.answerable()) == 50
    assert (found.queries.not_searched, found.queries.held, found.queries.with_both_vectors) == (50, 50, 50)
    assert found.items.id[found.queries.judgements.row].tolist() == [f"i{row}" for row in range(50)]
    assert found.notes == ()


def test_of_more_queries_than_have_room_for_what_is_relevant_some_are_drawn(crosswalk: Crosswalk) -> None:
    put(crosswalk, "pairs", 200)
    found = judged(crosswalk, NDCG)
    assert found.queries is not None
    assert len(found.queries.answerable()) == len(found.queries) == FITTING // 2
    assert len(found.items.id) < FITTING * 5 // 4
    assert found.queries.with_both_vectors == 200
    assert "60 of 200 judged queries with vectors of both models, drawn at random" in found.notes[0]
    everything = judged(crosswalk, NDCG, memory=ITEMS).queries
    assert everything is not None
    assert len(everything) == 200


def test_without_queries_that_judge_the_items_read_are_a_uniform_sample(crosswalk: Crosswalk) -> None:
    uniform = whole_gallery(crosswalk, crosswalk.galleries.info("g"), 0).id.tolist()
    put(crosswalk, "pairs", 19)
    few = judged(crosswalk)
    assert few.queries is None
    assert few.items.id.tolist() == uniform
    assert not {f"i{row}" for row in range(19)} <= set(uniform)


@pytest.mark.parametrize("memory", [FITTING, ITEMS])
def test_the_evaluation_sets_queries_come_before_those_of_the_dataset(crosswalk: Crosswalk, memory: int) -> None:
    put(crosswalk, "pairs", 40)
    found = [judged(crosswalk, LABEL, evaluation, memory) for evaluation in (None, "asked")]
    assert [len(one.queries or ()) for one in found] == [40, 40]
    put(crosswalk, "asked", 30, first=50)
    asked = judged(crosswalk, LABEL, "asked", memory).queries
    assert asked is not None
    assert len(asked) == 30


@pytest.mark.parametrize("gate", [LABEL, NDCG])
def test_too_few_of_the_evaluation_set_leave_it_to_those_of_the_dataset(
    crosswalk: Crosswalk, gate: AcceptanceGate
) -> None:
    put(crosswalk, "asked", 12)
    put(crosswalk, "pairs", 40)
    found = judged(crosswalk, gate, "asked")
    assert len(found.queries or ()) == 40
    assert "'asked' has 12 judged queries" in found.notes[0]


def test_too_few_queries_leave_the_verdict_to_labels_unless_the_gate_asks_for_them(crosswalk: Crosswalk) -> None:
    assert judged(crosswalk).notes == ()
    with pytest.raises(StepFailed, match="ndcg@10 is of judged queries"):
        judged(crosswalk, NDCG)
    put(crosswalk, "pairs", 60, relevant="unknown-")
    few = judged(crosswalk)
    assert few.queries is None
    assert "60 judged queries" in few.notes[0]
    assert "0 have a relevant item" in few.notes[0]
    with pytest.raises(StepFailed, match="PUT /datasets/pairs/queries"):
        judged(crosswalk, NDCG)


def put_log(crosswalk: Crosswalk, vectors: tuple[np.ndarray, np.ndarray], ids: list[str]) -> None:
    """Queries of the dataset that nobody judged."""
    batch = pa.record_batch({"id": ids, "embedding.old": _cells(vectors[0]), "embedding.new": _cells(vectors[1])})
    crosswalk.datasets.store("pairs").put_queries(batch.schema, lambda: iter([batch]))


def vectors_of_put(many: int) -> tuple[np.ndarray, np.ndarray]:
    """Those that `put` writes."""
    rng = np.random.default_rng(1)
    return tuple(rng.normal(size=(many, width)).astype(np.float32) for width in (OLD, NEW))  # type: ignore[return-value]


def logged(crosswalk: Crosswalk, evaluation: str | None = None) -> list[str]:
    found = unjudged_queries(crosswalk, upgrade(evaluation))
    return [] if found is None else found.ids.tolist()


def test_a_query_that_the_evaluation_set_judges_is_not_learned_from_under_whatever_id(crosswalk: Crosswalk) -> None:
    put(crosswalk, "asked", 30)
    old, new = vectors_of_put(30)
    put_log(crosswalk, (old[:20], new[:20]), [f"log-{row}" for row in range(20)])
    others = np.random.default_rng(2)
    more = tuple(others.normal(size=(4, width)).astype(np.float32) for width in (OLD, NEW))
    put_log(crosswalk, (more[0], more[1]), ["q29", "q30", "log-20", "log-21"])
    assert logged(crosswalk, "asked") == ["q30", "log-20", "log-21"]
    assert len(logged(crosswalk)) == 24


def test_a_pair_is_not_learned_from_as_a_query_besides(crosswalk: Crosswalk) -> None:
    old, new = vectors_of_put(10)
    rows = pa.record_batch({"id": ["i3", "i4"], "embedding.old": _cells(old[3:5]), "embedding.new": _cells(new[3:5])})
    crosswalk.datasets.store("pairs").put(rows.schema, lambda: iter([rows]))
    put_log(crosswalk, (old, new), [f"log-{row}" for row in range(10)])
    assert logged(crosswalk) == [f"log-{row}" for row in range(10) if row not in (3, 4)]


def test_what_a_log_repeats_is_learned_from_once(crosswalk: Crosswalk) -> None:
    old, new = vectors_of_put(3)
    again = [0, 1, 0, 2, 1]
    put_log(crosswalk, (old[again], new[again]), [f"log-{row}" for row in range(5)])
    assert logged(crosswalk) == ["log-0", "log-1", "log-3"]


def test_queries_that_were_learned_from_before_they_were_judged_do_not_judge(
    crosswalk: Crosswalk, tmp_path: Path
) -> None:
    old, new = vectors_of_put(50)
    put_log(crosswalk, (old[:20], new[:20]), [f"q{row}" for row in range(20)])
    learned = unjudged_queries(crosswalk, upgrade())
    assert learned is not None
    learned.save(tmp_path / "logged.parquet")
    learned = LoggedQueries.load(tmp_path / "logged.parquet")
    assert learned is not None
    put(crosswalk, "pairs", 50)
    found = judged_gallery(crosswalk, upgrade(), crosswalk.galleries.info("g"), NDCG, 0, learned)
    assert found.queries is not None
    np.testing.assert_array_equal(found.queries.old, old[20:])
    assert found.notes == ("20 judged queries are left out: the crossing learned from them as a log.",)
    everything = judged(crosswalk, NDCG).queries
    assert everything is not None
    assert len(everything) == 50


def test_a_pair_that_came_after_it_was_learned_from_as_a_query_is_apart_from_the_queries_beside_refits() -> None:
    """So that what is learned with the pair held out has not seen it as a query either, under whatever id."""
    old, new = vectors_of_put(10)
    learned = LoggedQueries(np.array([f"log-{row}" for row in range(10)], object), Pairs(old, new))
    beside = learned.apart_from(Pairs(old[3:5], new[3:5]))
    assert beside is not None
    assert beside.ids.tolist() == [f"log-{row}" for row in range(10) if row not in (3, 4)]
    np.testing.assert_array_equal(beside.pairs.new, np.delete(new, (3, 4), axis=0))
    assert learned.apart_from(Pairs(old, new)) is None
