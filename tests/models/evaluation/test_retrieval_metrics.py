"""Every metric is recomputed here by loops in float64 on small cases."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from models.evaluation import retrieval_metrics, score_blocks
from models.evaluation.bootstrap import resampled_sums
from models.evaluation.retrieval_metrics import NO_MATCH, Flips, flips
from models.portable import Distance

METRICS: list[Distance] = ["cosine", "l2", "ip"]


def naive_score(q: np.ndarray, g: np.ndarray, metric: Distance) -> float:
    q64, g64 = q.astype(np.float64), g.astype(np.float64)
    if metric == "ip":
        return float(q64 @ g64)
    if metric == "l2":
        return -float(((q64 - g64) ** 2).sum())
    if not g64.any():
        return -math.inf
    norm = float(np.linalg.norm(q64) * np.linalg.norm(g64))
    return float(q64 @ g64) / norm if norm else 0.0


def naive_ranking(q: np.ndarray, gallery: np.ndarray, metric: Distance, excluded: int) -> list[int]:
    rows = [i for i in range(len(gallery)) if i != excluded]
    return sorted(rows, key=lambda i: (-naive_score(q, gallery[i], metric), i))


def naive_average_precision(ranking: Sequence[int], matches: set[int]) -> float:
    hits, total = 0, 0.0
    for place, row in enumerate(ranking, start=1):
        if row in matches:
            hits += 1
            total += hits / place
    return total / hits if hits else math.nan


@pytest.fixture
def case() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    gallery = rng.normal(size=(60, 5)).astype(np.float32)
    gallery[[4, 33]] = 0
    gallery_labels = np.array([f"l{i % 7}" for i in range(60)], dtype=object)
    gallery_labels[[8, 9]] = None
    queries = np.concatenate([gallery[:20], rng.normal(size=(15, 5)).astype(np.float32)])
    query_labels = np.array([*gallery_labels[:20], *["l1", "l2", "absent"] * 5], dtype=object)
    exclude = np.array([*range(20), *[-1] * 15])
    queries[4] = 1  # a zero vector is no query
    return queries, query_labels, gallery, gallery_labels, exclude


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scores_in_memory", [60, 200, 10_000])
def test_rankings_equal_loops(case, metric, scores_in_memory, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(score_blocks, "SCORES_IN_MEMORY", scores_in_memory)
    queries, query_labels, gallery, gallery_labels, exclude = case
    hits = retrieval_metrics.top_k(queries, gallery, 6, metric, exclude)
    ranks = retrieval_metrics.ranks_of_first_match(queries, query_labels, gallery, gallery_labels, metric, exclude)
    precision = retrieval_metrics.average_precision(queries, query_labels, gallery, gallery_labels, metric, exclude)
    for i, query in enumerate(queries):
        ranking = naive_ranking(query, gallery, metric, int(exclude[i]))
        assert hits[i].tolist() == ranking[:6]
        matches = {
            j
            for j in range(60)
            if query_labels[i] is not None and gallery_labels[j] == query_labels[i] and j != exclude[i]
        }
        first = next((place for place, row in enumerate(ranking, start=1) if row in matches), NO_MATCH)
        assert ranks[i] == first
        assert precision[i] == pytest.approx(naive_average_precision(ranking, matches), nan_ok=True)


def test_equal_scores_are_ordered_by_gallery_row() -> None:
    gallery = np.ones((9, 4), np.float32)
    query = np.ones((1, 4), np.float32)
    labels = np.array([0, 0, 0, 0, 1, 0, 1, 0, 0])
    assert retrieval_metrics.top_k(query, gallery, 4, "cosine").tolist() == [[0, 1, 2, 3]]
    assert retrieval_metrics.top_k(query, gallery, 4, "cosine", np.array([1])).tolist() == [[0, 2, 3, 4]]
    assert retrieval_metrics.ranks_of_first_match(query, np.array([1]), gallery, labels, "l2").tolist() == [5]
    assert retrieval_metrics.average_precision(query, np.array([1]), gallery, labels, "ip")[0] == pytest.approx(
        (1 / 5 + 2 / 7) / 2
    )


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("classes", [2, 40])
def test_label_metrics_keep_gallery_order_among_many_equal_scores(classes, threads, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(score_blocks, "QUERIES_PER_BLOCK", 16)
    rng = np.random.default_rng(7)
    gallery = rng.integers(-1, 2, (150, 3)).astype(np.float32)  # 27 different rows
    labels = (rng.random(150) ** 3 * classes).astype(int)  # of very different sizes
    exclude = np.stack([np.arange(150), rng.integers(-1, 150, 150)], axis=1)
    metrics = retrieval_metrics.label_metrics(gallery, labels, gallery, labels, "ip", exclude)
    for i in range(150):
        ranking = [j for j in naive_ranking(gallery[i], gallery, "ip", i) if j != exclude[i, 1]]
        matches = {j for j in ranking if labels[j] == labels[i]}
        first = next((place for place, row in enumerate(ranking, start=1) if row in matches), NO_MATCH)
        assert metrics.ranks[i] == first
        assert metrics.average_precision[i] == pytest.approx(naive_average_precision(ranking, matches), nan_ok=True)


def test_label_metrics_are_those_of_either_alone(case) -> None:  # type: ignore[no-untyped-def]
    queries, query_labels, gallery, gallery_labels, exclude = case
    metric: Distance = "cosine"
    given = (queries, query_labels, gallery, gallery_labels, metric, exclude)
    metrics = retrieval_metrics.label_metrics(*given)
    assert metrics.ranks.tolist() == retrieval_metrics.ranks_of_first_match(*given).tolist()
    np.testing.assert_array_equal(metrics.average_precision, retrieval_metrics.average_precision(*given))


def test_whole_numbers_and_names_are_the_same_labels_to_it(case) -> None:  # type: ignore[no-untyped-def]
    queries, _, gallery, _, exclude = case
    numbers = np.arange(60) % 7
    query_labels = numbers[np.arange(35) % 60]
    one = retrieval_metrics.label_metrics(queries, query_labels, gallery, numbers, "l2", exclude)
    names = np.array([f"class {n}" for n in numbers])
    other = retrieval_metrics.label_metrics(queries, names[np.arange(35) % 60], gallery, names, "l2", exclude)
    np.testing.assert_array_equal(one.average_precision, other.average_precision)


@pytest.mark.parametrize("threads", [1, 4])
def test_a_long_gallery_is_scored_in_bounded_memory(threads, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(score_blocks, "SCORES_IN_MEMORY", 400_000)
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(20_000, 4)).astype(np.float32)
    labels = np.arange(20_000) % 50
    shapes: list[tuple[int, ...]] = []
    score_blocks.for_each_block(lambda rows, scores: shapes.append(scores.shape), rows[:1100], rows, "ip", None)
    assert sum(b for b, _ in shapes) == 1100
    assert {n for _, n in shapes} == {20_000}
    assert max(b for b, _ in shapes) == 20 // threads
    tracemalloc.start()
    retrieval_metrics.label_metrics(rows[:1100], labels[:1100], rows, labels, "ip", np.arange(1100))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8e6  # all scores together are 88 MB


def test_gallery_equal_to_its_queries_does_not_score_100_percent() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200, 8)).astype(np.float32)
    labels = rng.integers(0, 10, 200)
    ranks = retrieval_metrics.ranks_of_first_match(rows, labels, rows, labels, "cosine", np.arange(200))
    assert retrieval_metrics.cmc(ranks, 1).mean() < 0.3
    hits = retrieval_metrics.top_k(rows, rows, 5, "cosine", np.arange(200))
    assert not (hits == np.arange(200)[:, None]).any()


def test_zero_vector_ranks_last_under_cosine() -> None:
    gallery = np.array([[0, 0], [-1, 0], [1, 0]], np.float32)
    assert retrieval_metrics.top_k(np.array([[1, 0]], np.float32), gallery, 3, "cosine").tolist() == [[2, 1, 0]]


@pytest.mark.filterwarnings("error")
def test_vectors_may_be_read_only_and_lie_in_any_order_in_memory() -> None:
    rng = np.random.default_rng(0)
    gallery = rng.normal(size=(50, 6)).astype(np.float32)
    expected = retrieval_metrics.top_k(gallery, gallery, 3, "l2", np.arange(50))
    locked = np.asfortranarray(gallery)
    locked.flags.writeable = False
    assert retrieval_metrics.top_k(locked, locked, 3, "l2", np.arange(50)).tolist() == expected.tolist()
    gallery.flags.writeable = False
    assert retrieval_metrics.top_k(gallery, gallery, 3, "l2", np.arange(50)).tolist() == expected.tolist()


def test_several_rows_can_be_excluded_for_each_query() -> None:
    gallery = np.array([[3], [2], [1]], np.float32)
    queries = np.ones((2, 1), np.float32)
    assert retrieval_metrics.top_k(queries, gallery, 2, "ip", np.array([[0, 1], [1, -1]])).tolist() == [[2, -1], [0, 2]]


def test_small_gallery_pads_and_padding_does_not_count() -> None:
    gallery = np.eye(2, dtype=np.float32)
    hits = retrieval_metrics.top_k(gallery, gallery, 3, "ip", np.arange(2))
    assert hits.tolist() == [[1, -1, -1], [0, -1, -1]]
    assert retrieval_metrics.recall_at_k(hits, hits).tolist() == [1.0, 1.0]
    assert retrieval_metrics.top_k(gallery, gallery[:0], 2, "ip").tolist() == [[-1, -1], [-1, -1]]


def test_recall_counts_the_truth_that_was_found() -> None:
    ranking = np.array([[1, 2, 3], [4, 5, 6]])
    truth = np.array([[3, 9, 1], [7, 8, 9]])
    assert retrieval_metrics.recall_at_k(ranking, truth).tolist() == pytest.approx([2 / 3, 0])


def test_cmc_counts_ranks_up_to_k_and_no_match_never() -> None:
    assert retrieval_metrics.cmc(np.array([1, 5, 6, NO_MATCH]), 5).tolist() == [
        True,
        True,
        False,
        False,
    ]


def test_flips_count_both_directions() -> None:
    assert flips([1, 1, 0, 0, 1], [0, 1, 1, 1, 0]) == Flips(negative=2, positive=2, total=5)


def test_dimension_mismatch_is_refused() -> None:
    with pytest.raises(ValueError, match="dimension"):
        retrieval_metrics.top_k(np.ones((1, 3), np.float32), np.ones((2, 4), np.float32), 1, "ip")


def test_bootstrap_covers_the_true_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    held = [
        (i := retrieval_metrics.bootstrap_mean(rng.random(200) < 0.3, seed=s, resamples=400)).low <= 0.3 <= i.high
        for s in range(200)
    ]
    assert 0.88 <= np.mean(held) <= 0.99


def test_clustered_bootstrap_is_wider_where_rows_of_a_group_agree() -> None:
    groups = np.repeat(np.arange(20), 50)
    values = (groups % 2).astype(float)
    rows, classes = retrieval_metrics.bootstrap_mean(values), retrieval_metrics.bootstrap_mean(values, groups=groups)
    assert rows.mean == classes.mean == 0.5
    assert classes.high - classes.low > 4 * (rows.high - rows.low)


def test_weights_shift_the_mean() -> None:
    interval = retrieval_metrics.bootstrap_mean([0.0, 1.0], weights=[1.0, 3.0])
    assert interval.mean == pytest.approx(0.75)


def test_pairing_removes_what_both_share() -> None:
    rng = np.random.default_rng(2)
    shared = rng.normal(size=500)
    interval = retrieval_metrics.paired_bootstrap(shared + 0.1, shared)
    assert interval.low == pytest.approx(0.1)
    assert interval.high == pytest.approx(0.1)


def test_bootstrap_draws_do_not_depend_on_the_memory_limit(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    parts = np.random.default_rng(0).random((50, 2))
    whole = resampled_sums(parts, seed=5, resamples=100)
    monkeypatch.setattr("models.evaluation.bootstrap.DRAWS_IN_MEMORY", 170)
    assert resampled_sums(parts, seed=5, resamples=100) == pytest.approx(whole)


def test_bootstrap_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="non-empty"):
        retrieval_metrics.bootstrap_mean([])
