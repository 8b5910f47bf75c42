"""Metrics of judged queries, compared with trec_eval's (by ir-measures) over random searches with many equal scores."""

from __future__ import annotations

import ir_measures
import numpy as np
import pytest

from models.evaluation.judged_metrics import JudgedMetric, JudgedRanks, Judgements, judged_ranks
from models.portable import Distance

_THEIRS = {
    "ndcg": lambda k: ir_measures.nDCG @ k,
    "mrr": lambda k: ir_measures.RR,  # cut off below: RR@k is not trec_eval's, and orders equal scores otherwise
    "recall": lambda k: ir_measures.R @ k,
    "precision": lambda k: ir_measures.P @ k,
    "hit_rate": lambda k: ir_measures.Success @ k,
    "map": lambda k: ir_measures.AP,
}


def a_search(seed: int, queries: int, rows: int, judged: int) -> tuple[np.ndarray, np.ndarray, Judgements]:
    """Vectors of small whole numbers, so that scores are exact and often equal, and judgements of grades −1 to 3."""
    rng = np.random.default_rng(seed)
    asked = rng.integers(-2, 3, (queries, 6)).astype(np.float32)
    gallery = rng.integers(-2, 3, (rows, 6)).astype(np.float32)
    row = [np.sort(rng.choice(rows, rng.integers(1, judged + 1), replace=False)) for _ in range(queries)]
    grade = [rng.choice([-1, 0, 1, 2, 3], len(one)) for one in row]
    query = np.repeat(np.arange(queries), [len(one) for one in row])
    return asked, gallery, Judgements(queries, query, np.concatenate(row), np.concatenate(grade).astype(float))


def by_reference(asked: np.ndarray, gallery: np.ndarray, judged: Judgements, metric: JudgedMetric) -> np.ndarray:
    """Each query's value by trec_eval. It ranks equal scores by id, last first: earlier rows have later ids here."""
    ids = [f"{len(gallery) - row:06}" for row in range(len(gallery))]
    scores = asked.astype(np.float64) @ gallery.T
    run = {str(q): dict(zip(ids, one.tolist(), strict=True)) for q, one in enumerate(scores)}
    qrels: dict[str, dict[str, int]] = {}
    for q, row, grade in zip(judged.query, judged.row, judged.grade, strict=True):
        qrels.setdefault(str(q), {})[ids[row]] = int(grade)
    values = np.full(judged.queries, np.nan)
    for one in ir_measures.iter_calc([_THEIRS[metric.name](metric.k)], qrels, run):
        cut = metric.name == "mrr" and one.value < 1 / metric.k
        values[int(one.query_id)] = 0 if cut else one.value
    return np.where(judged.answerable, values, np.nan)


@pytest.mark.parametrize("judged", [4, 40], ids=["few judged", "many judged"])
@pytest.mark.parametrize(
    "text",
    ["ndcg@1", "ndcg@10", "ndcg@999", "mrr@5", "recall@10", "precision@10", "precision@999", "hit_rate@3", "map"],
)
def test_values_are_those_of_trec_eval_ties_included(text: str, judged: int) -> None:
    metric = JudgedMetric.parsed(text)
    for seed in range(3):
        search = a_search(seed, queries=40, rows=150, judged=judged)
        ours = judged_ranks(search[0], search[1], "ip", search[2]).values(metric)
        np.testing.assert_allclose(ours, by_reference(*search, metric), rtol=0, atol=1e-9)


def test_a_measure_of_the_reference_is_not_constant_over_these_searches() -> None:
    values = by_reference(*a_search(0, 40, 150, 40), JudgedMetric("precision", 10))
    assert len(set(values[~np.isnan(values)].tolist())) >= 4


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
def test_ranks_are_the_places_in_the_searchs_own_order(metric: Distance) -> None:
    rng = np.random.default_rng(1)
    asked, gallery = rng.standard_normal((5, 8), np.float32), rng.standard_normal((60, 8), np.float32)
    judgements = Judgements(5, np.repeat(np.arange(5), 60), np.tile(np.arange(60), 5), np.ones(300))
    ranks = judged_ranks(asked, gallery, metric, judgements).rank.reshape(5, 60)
    lengths = np.linalg.norm(gallery, axis=1)
    nearness = {
        "cosine": asked @ gallery.T / lengths,
        "l2": -np.linalg.norm(asked[:, None] - gallery[None], axis=2),
        "ip": asked @ gallery.T,
    }
    order = np.argsort(-nearness[metric], axis=1)
    assert (np.take_along_axis(ranks, order, axis=1) == np.arange(1, 61)).all()


def test_unjudged_answers_are_counted_and_a_query_without_relevant_items_is_not() -> None:
    judgements = Judgements(3, np.array([0, 0, 1]), np.array([0, 3, 2]), np.array([1.0, 0.0, 0.0]))
    ranks = JudgedRanks(judgements, np.array([2, 4, 1]), 4)
    np.testing.assert_array_equal(ranks.unjudged(2), [0.5, np.nan, np.nan])
    np.testing.assert_array_equal(ranks.unjudged(10), [0.5, np.nan, np.nan])
    np.testing.assert_array_equal(ranks.values(JudgedMetric("mrr", 10)), [0.5, np.nan, np.nan])


@pytest.mark.parametrize("text", ["ndcg", "map@10", "recall@0", "recall@12345", "cmc@1", "ndcg@x"])
def test_what_is_no_metric_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no metric"):
        JudgedMetric.parsed(text)


def test_judgements_of_other_searches_are_refused() -> None:
    asked, gallery, judgements = a_search(0, 3, 10, 2)
    with pytest.raises(ValueError, match="the search has 2"):
        judged_ranks(asked[:2], gallery, "ip", judgements)
    with pytest.raises(ValueError, match="has not"):
        judged_ranks(asked, gallery[:1], "ip", judgements)
    with pytest.raises(ValueError, match="in the order"):
        Judgements(2, np.array([1, 0]), np.array([0, 0]), np.ones(2))
