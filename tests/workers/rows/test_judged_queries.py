"""Which judged queries an upgrade is proved by, and which items are read for them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

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
from workers.context import StepFailed
from workers.rows.items import whole_gallery
from workers.rows.judged_queries import judged_items, judging_queries

ITEMS, OLD, NEW = 400, 4, 6


@pytest.fixture
def crosswalk(settings: Settings, database: Database) -> Iterator[Crosswalk]:
    made = compose(settings.model_copy(update={"evaluation_memory_bytes": 4 * OLD * ITEMS // 10}))
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


def test_items_that_queries_judge_are_read_even_where_not_all_fit_in_memory(crosswalk: Crosswalk) -> None:
    put(crosswalk, "pairs", 50)
    info, asked = crosswalk.galleries.info("g"), upgrade()
    items = whole_gallery(crosswalk, info, 0, partial(judged_items, crosswalk, asked))
    assert {f"i{row}" for row in range(50)} <= set(items.id)
    assert 50 < len(items.id) < ITEMS // 2
    assert len(whole_gallery(crosswalk, info, 0).id) < ITEMS // 5
    queries = judging_queries(crosswalk, asked, items, NDCG, 0).queries
    assert queries is not None
    assert len(queries.answerable()) == 50
    assert (queries.not_searched, queries.held) == (50, 50)
    assert items.id[queries.judgements.row].tolist() == [f"i{row}" for row in range(50)]


def test_the_evaluation_sets_queries_come_before_those_of_the_dataset(crosswalk: Crosswalk) -> None:
    items = whole_gallery(crosswalk, crosswalk.galleries.info("g"), 0, lambda: [f"i{row}" for row in range(100)])
    put(crosswalk, "pairs", 40)
    found = [judging_queries(crosswalk, upgrade(evaluation), items, LABEL, 0) for evaluation in (None, "asked")]
    assert [len(one.queries or ()) for one in found] == [40, 40]
    put(crosswalk, "asked", 30, first=50)
    asked = judging_queries(crosswalk, upgrade("asked"), items, LABEL, 0).queries
    assert asked is not None
    assert len(asked) == 30


def test_too_few_queries_leave_the_verdict_to_labels_unless_the_gate_asks_for_them(crosswalk: Crosswalk) -> None:
    items = whole_gallery(crosswalk, crosswalk.galleries.info("g"), 0)
    assert judging_queries(crosswalk, upgrade(), items, LABEL, 0).notes == ()
    with pytest.raises(StepFailed, match="ndcg@10 is of judged queries"):
        judging_queries(crosswalk, upgrade(), items, NDCG, 0)
    put(crosswalk, "pairs", 60, relevant="unknown-")
    few = judging_queries(crosswalk, upgrade(), items, LABEL, 0)
    assert few.queries is None
    assert "60 judged queries" in few.notes[0]
    assert "0 have a relevant item" in few.notes[0]
    with pytest.raises(StepFailed, match="PUT /datasets/pairs/queries"):
        judging_queries(crosswalk, upgrade(), items, NDCG, 0)
