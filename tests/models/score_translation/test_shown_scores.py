"""Scores are those that a search shows, recomputed here one by one."""

from __future__ import annotations

import numpy as np
import pytest

from models.portable import Affine, Card, Distance, Space, Transformation, as_indexed
from models.score_translation import shown_scores, shown_scores_of_pushed

METRICS: tuple[Distance, ...] = ("cosine", "ip", "l2")
RNG = np.random.default_rng(0)
QUERIES = RNG.normal(size=(4, 6)).astype(np.float32)
ITEMS = RNG.normal(size=(5, 6)).astype(np.float32)


@pytest.mark.parametrize("metric", METRICS)
def test_each_score_is_that_of_its_query_and_item(metric: Distance) -> None:
    for far in (0.0, 100.0):
        queries, items = QUERIES + np.float32(far), ITEMS + np.float32(far)
        expected = [[one(query, item, metric) for item in items] for query in queries]
        np.testing.assert_allclose(shown_scores(queries, items, metric), expected, rtol=1e-4, atol=1e-5)


def one(query: np.ndarray, item: np.ndarray, metric: Distance) -> float:
    q, x = query.astype(np.float64), item.astype(np.float64)
    if metric == "l2":
        return float(np.linalg.norm(q - x))
    product = float(q @ x)
    return product if metric == "ip" else product / float(np.linalg.norm(q) * np.linalg.norm(x))


def test_a_zero_item_has_the_worst_cosine_as_in_an_index() -> None:
    items = np.vstack([ITEMS, np.zeros((1, 6), np.float32)])
    assert shown_scores(QUERIES, items, "cosine")[:, -1].tolist() == [-1.0] * 4


EXACT = [(source, target) for source in METRICS for target in METRICS if source == "cosine" or target != "cosine"]


@pytest.mark.parametrize(("source", "target"), EXACT)
def test_pushed_scores_are_those_of_transformed_items_where_pushing_is_exact(
    source: Distance, target: Distance
) -> None:
    rotation, _ = np.linalg.qr(RNG.normal(size=(6, 6)))
    bias = np.zeros(6) if target == "cosine" else RNG.normal(size=6)
    card = Card("orthogonal", Space("old", 6, source), Space("new", 6, target), None, 9, {}, {}, "2026-01-01T00:00:00Z")
    h = Transformation(card, Affine(rotation.astype(np.float32), bias.astype(np.float32)))
    pushed = h.push(QUERIES)
    assert pushed.exact
    found = shown_scores_of_pushed(pushed, as_indexed(ITEMS, source), target)
    np.testing.assert_allclose(found, shown_scores(QUERIES, h.apply(ITEMS), target), rtol=1e-4, atol=1e-5)
