"""The orders of backfilling, each against the same worked out item by item."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.galleries.lineage import Projected
from app.galleries.orders import (
    by_chance,
    by_class_mean_distance,
    by_old_model_poor,
    by_uncertainty,
    most_urgent,
)
from app.storage.lance_table import ROW_ID

ROWS = np.random.default_rng(1).permutation(900)[:300]
VECTORS = np.random.default_rng(2).normal(size=(300, 3)).astype(np.float32)


@pytest.mark.parametrize("limit", [1, 7, 299, 300, 1000])
def test_most_urgent_come_first_and_ties_in_order_of_row(limit: int) -> None:
    urgency = np.random.default_rng(3).integers(0, 400, 300).astype(np.float64)
    urgency[:5] = -np.inf
    chosen = most_urgent(ROWS, urgency, limit)
    places = sorted(range(300), key=lambda place: (-urgency[place], ROWS[place]))[:limit]
    assert urgency[chosen].tolist() == urgency[places].tolist()
    if limit >= 300:
        assert chosen.tolist() == places


def test_nothing_is_urgent_where_there_is_nothing() -> None:
    assert most_urgent(np.empty(0, np.int64), np.empty(0), 5).tolist() == []


def test_error_that_is_unknown_is_more_urgent_than_any_that_is_known() -> None:
    assert np.argmax(by_uncertainty(np.array([0.5, np.nan, 7.0], np.float32))) == 1


def test_chance_is_the_same_each_time_and_knows_nothing_of_the_order_of_writing() -> None:
    rows = np.arange(2000)
    urgency = by_chance(rows)
    np.testing.assert_array_equal(urgency, by_chance(rows))
    np.testing.assert_array_equal(urgency[::-1], by_chance(rows[::-1]))
    assert len(np.unique(urgency)) == 2000
    assert abs(np.corrcoef(rows, np.argsort(urgency))[0, 1]) < 0.1


def scan() -> Iterator[Projected]:
    for start in range(0, 300, 64):
        part = slice(start, start + 64)
        rows = ROWS[part]
        yield Projected(rows, VECTORS[part], np.zeros(len(rows), bool), np.zeros(len(rows), np.float32))


def test_distance_is_from_the_mean_of_the_own_label() -> None:
    label = [None if place % 10 == 0 else f"class-{place % 3}" for place in range(300)]
    mixed = np.random.default_rng(4).permutation(300)
    labels = pa.table({ROW_ID: pa.array(ROWS[mixed], pa.uint64()), "label": [label[place] for place in mixed]})
    waiting = ROWS[50:200]
    urgencies = by_class_mean_distance(waiting, labels, scan, "l2")
    for place, urgency in zip(range(50, 200), urgencies, strict=True):
        if label[place] is None:
            assert urgency == -np.inf
        else:
            mean = VECTORS[[other for other in range(300) if label[other] == label[place]]].astype(np.float64).mean(0)
            assert urgency == pytest.approx(np.linalg.norm(VECTORS[place] - mean), rel=1e-4)


def test_under_cosine_it_does_not_matter_how_long_the_vectors_of_a_model_are() -> None:
    labels = pa.table({ROW_ID: pa.array(ROWS, pa.uint64()), "label": [f"class-{place % 3}" for place in range(300)]})

    def longer() -> Iterator[Projected]:
        for part in scan():
            yield Projected(part.rows, part.vectors * (1 + part.rows % 7)[:, None], part.native, part.uncertainty)

    once, again = (by_class_mean_distance(ROWS, labels, each, "cosine") for each in (scan, longer))
    np.testing.assert_allclose(once, again, rtol=1e-4)


def test_distance_of_items_without_any_label_says_nothing() -> None:
    labels = pa.table({ROW_ID: pa.array(ROWS, pa.uint64()), "label": pa.nulls(300, pa.string())})
    assert (by_class_mean_distance(ROWS, labels, scan, "l2") == -np.inf).all()


def test_rows_that_the_old_model_is_poor_on_are_found_by_id(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    poor = {"item-3": 0.5, "item-7": 2.0, "item-8": None, "elsewhere": 9.0}
    pq.write_table(pa.table({"id": list(poor), "old_model_poor": pa.array(poor.values(), pa.float32())}), path)
    items = [
        pa.record_batch({ROW_ID: pa.array(ROWS[part], pa.uint64()), "id": [f"item-{place}" for place in part]})
        for part in (range(150), range(150, 300))
    ]
    urgency = by_old_model_poor(ROWS[:100], items, path)
    assert {place: value for place, value in enumerate(urgency.tolist()) if value > -np.inf} == {3: 0.5, 7: 2.0}
