from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from models.evaluation.retrieval_metrics import Flips
from models.evaluation.searches import (
    GallerySearch,
    NothingToMeasure,
    SearchResult,
    compare,
    evaluate,
    own_entries,
    true_neighbours,
)
from models.evaluation.slices import FEWEST_QUERIES

CLASSES = 8


def clusters(rows: int, spread: float, seed: int) -> tuple[NDArray[np.float32], NDArray[np.object_]]:
    """Rows around CLASSES centres, and the names of their classes."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(CLASSES, 6))
    code = rng.integers(0, CLASSES, rows)
    vectors = (centres[code] + spread * rng.normal(size=(rows, 6))).astype(np.float32)
    return vectors, np.array([f"class {c}" for c in code], object)


def searched(name: str, spread: float) -> SearchResult:
    vectors, labels = clusters(400, spread, seed=1)
    return evaluate(GallerySearch(name, vectors, vectors, "l2"), labels, labels, np.arange(400))


def means(result: SearchResult) -> dict[str, float]:
    return {figure.metric: figure.interval.mean for figure in result.figures}


def test_figures_equal_loops_over_a_ranking_without_the_own_entry() -> None:
    vectors, labels = clusters(60, 1.0, seed=0)
    result = evaluate(GallerySearch("self", vectors, vectors, "l2"), labels, labels, np.arange(60))
    expected: dict[str, list[float]] = {"cmc@1": [], "cmc@5": [], "cmc@10": [], "map": []}
    for i in range(60):
        far = ((vectors[i].astype(np.float64) - vectors) ** 2).sum(1)
        right = [labels[j] == labels[i] for j in np.argsort(far, kind="stable") if j != i]
        for k in (1, 5, 10):
            expected[f"cmc@{k}"].append(any(right[:k]))
        hits = np.flatnonzero(right)
        expected["map"].append(float(np.mean(np.arange(1, len(hits) + 1) / (hits + 1))))
    assert means(result) == pytest.approx({name: np.mean(values) for name, values in expected.items()}, abs=1e-9)
    for figure in result.figures:
        assert figure.per_query == pytest.approx(np.array(expected[figure.metric], float))
        assert figure.interval.low <= figure.interval.mean <= figure.interval.high
        assert figure.queries == 60


def test_a_gallery_equal_to_its_queries_is_not_100_percent() -> None:
    rng = np.random.default_rng(4)
    vectors, labels = rng.normal(size=(300, 8)).astype(np.float32), rng.integers(0, 10, 300)
    ids = [f"item {i}" for i in range(300)]
    order = rng.permutation(300)
    search = GallerySearch("self", vectors, vectors[order], "cosine")
    own = own_entries(ids, [ids[i] for i in order])
    assert means(evaluate(search, labels, labels[order], own))["cmc@1"] < 0.3
    assert means(evaluate(search, labels, labels[order]))["cmc@1"] == 1.0  # which is what would be found otherwise


def test_own_entries_are_found_by_id() -> None:
    assert own_entries(["b", "x", "a"], ["a", "b", "c"]).tolist() == [1, -1, 0]


def test_recall_is_measured_against_the_ranking_taken_for_the_truth() -> None:
    rng = np.random.default_rng(5)
    new = rng.normal(size=(80, 12)).astype(np.float32)
    own = np.arange(80)
    truth = true_neighbours(GallerySearch("re-embedded", new, new, "cosine"), own)
    exact = evaluate(GallerySearch("re-embedded", new, new, "cosine"), exclude=own, truth=truth)
    assert [f.metric for f in exact.figures] == ["recall@10"]
    assert means(exact)["recall@10"] == 1.0
    noisy = (new + 0.5 * rng.normal(size=new.shape)).astype(np.float32)
    result = evaluate(GallerySearch("transformed", new, noisy, "cosine"), exclude=own, truth=truth)
    neighbours = true_neighbours(GallerySearch("transformed", new, noisy, "cosine"), own)
    shares = [len(set(a) & set(b)) / 10 for a, b in zip(neighbours.tolist(), truth.tolist(), strict=True)]
    assert means(result)["recall@10"] == pytest.approx(np.mean(shares))
    assert 0.1 < np.mean(shares) < 0.9


def test_items_without_a_label_are_neither_right_nor_wrong() -> None:
    vectors, labels = clusters(120, 0.8, seed=2)
    known = np.arange(120) % 3 > 0
    partly = labels.copy()
    partly[~known] = None
    result = evaluate(GallerySearch("self", vectors, vectors, "l2"), partly, partly, np.arange(120))
    left = int(known.sum())
    alone = evaluate(
        GallerySearch("self", vectors[known], vectors[known], "l2"), labels[known], labels[known], np.arange(left)
    )
    assert means(result) == pytest.approx(means(alone))
    assert (result.unlabelled_queries, result.figure("map").queries) == (120 - left, left)
    assert np.isnan(result.figure("map").per_query).tolist() == (~known).tolist()


def test_a_query_whose_label_only_its_own_entry_has_is_not_judged_and_is_counted() -> None:
    vectors, labels = clusters(50, 0.1, seed=3)
    labels[7] = "alone"
    result = evaluate(GallerySearch("self", vectors, vectors, "l2"), labels, labels, np.arange(50))
    assert result.unmatched_queries == 1
    for metric in ("cmc@10", "map"):
        assert np.isnan(result.figure(metric).per_query[7])
        assert result.figure(metric).queries == 49


def test_a_perfect_search_of_labels_most_of_which_stand_alone_is_perfect() -> None:
    vectors = (np.repeat(np.eye(20), 3, axis=0) + np.tile(np.eye(20)[:3], (20, 1)) / 9).astype(np.float32)
    labels = np.array([f"class-{row // 3}" if row < 20 else f"alone-{row}" for row in range(60)], object)
    result = evaluate(GallerySearch("self", vectors, vectors, "l2"), labels, labels, np.arange(60))
    assert (result.unmatched_queries, result.figure("cmc@1").queries) == (40, 20)
    assert result.figure("cmc@1").interval.mean == 1


def test_nothing_to_judge_by_is_said() -> None:
    vectors, _ = clusters(10, 1.0, seed=0)
    search = GallerySearch("self", vectors, vectors, "ip")
    none = np.full(10, None, object)
    for labels in (None, none):
        with pytest.raises(NothingToMeasure, match="none of the 10 queries"):
            evaluate(search, labels, labels)


def test_shapes_that_do_not_fit_are_refused() -> None:
    vectors, labels = clusters(10, 1.0, seed=0)
    search = GallerySearch("self", vectors, vectors, "ip")
    with pytest.raises(ValueError, match="query_labels has 9 entries"):
        evaluate(search, labels[:9], labels)
    with pytest.raises(ValueError, match="or neither"):
        evaluate(search, labels)
    with pytest.raises(ValueError, match="exclude names gallery row 10 of 10"):
        evaluate(search, labels, labels, np.full(10, 10))


def test_the_better_search_is_found_better_in_every_metric_and_its_flips_add_up() -> None:
    old, new = searched("old", 1.5), searched("new", 0.7)
    comparison = compare(old, new)
    assert [d.metric for d in comparison.differences] == ["cmc@1", "cmc@5", "cmc@10", "map"]
    first = comparison.differences[0]
    assert (first.criterion.verdict, compare(new, old).differences[0].criterion.verdict) == ("better", "worse")
    assert comparison.flips is not None
    gained = (comparison.flips.positive - comparison.flips.negative) / comparison.flips.total
    assert first.criterion.difference.mean == pytest.approx(gained)
    assert first.after.mean - first.before.mean == pytest.approx(gained)
    assert first.update_gain is None


def test_a_search_compared_with_itself_is_undecided_and_flips_nothing() -> None:
    old = searched("old", 1.0)
    comparison = compare(old, old)
    assert {d.criterion.verdict for d in comparison.differences} == {"undecided"}
    assert comparison.flips == Flips(0, 0, 400)


def test_update_gain_oracle_gain_and_retention_follow_from_the_unconstrained_model() -> None:
    old, cross, best = searched("old", 1.5), searched("cross", 1.1), searched("best", 0.7)
    for difference in compare(old, cross, best=best).differences:
        m_old, m_cross, m_best = (means(r)[difference.metric] for r in (old, cross, best))
        assert difference.update_gain is not None
        assert difference.update_gain.gain == pytest.approx((m_cross - m_old) / (m_best - m_old))
        assert difference.update_gain.denominator == pytest.approx(m_best - m_old)
        assert difference.oracle_gain == pytest.approx(m_best / m_old)
        assert difference.retention == pytest.approx(m_cross / m_best)


def test_a_slice_that_loses_is_seen_where_the_whole_gains() -> None:
    _, labels = clusters(400, 1.0, seed=1)
    old, new = searched("old", 1.5), searched("new", 0.7)
    right = new.figure("cmc@1").per_query
    right[labels == "class 3"] = 0  # the new model fails on one class
    comparison = compare(old, new, {"label": labels, "half": np.arange(400) % 2})
    assert comparison.differences[0].criterion.difference.mean > 0
    by_label, by_half = comparison.slices
    assert [s.value for s in by_label.slices if s.losing] == ["class 3"]
    losing = by_label.slices[0]
    assert losing.value == "class 3"
    members = labels == "class 3"
    assert losing.queries == members.sum()
    assert losing.before == pytest.approx(old.figure("cmc@1").per_query[members].mean())
    assert losing.after == 0
    assert losing.difference is not None
    assert losing.difference.high < 0
    assert losing.flips == Flips(int(old.figure("cmc@1").per_query[members].sum()), 0, int(members.sum()))
    assert (by_label.losing, by_label.judged) == (1, CLASSES)
    assert by_label.losing_by_chance == pytest.approx(CLASSES / 40)
    assert [type(s.value) for s in by_half.slices] == [int, int]


def test_slices_of_very_few_queries_are_said_to_be_too_few_rather_than_judged() -> None:
    old, new = searched("old", 0.7), searched("new", 0.7)
    values = np.full(400, None, object)
    values[: FEWEST_QUERIES - 1] = "few"
    values[200 : 200 + FEWEST_QUERIES] = "enough"
    new.figure("cmc@1").per_query[:] = 0
    (sliced,) = compare(old, new, {"field": values}).slices
    enough, few = sliced.slices
    assert (enough.value, enough.too_few, enough.losing) == ("enough", False, True)
    assert (few.value, few.too_few, few.losing, few.difference) == ("few", True, False, None)
    assert (sliced.unsliced, sliced.judged) == (400 - 2 * FEWEST_QUERIES + 1, 1)


def test_values_that_are_equal_but_of_other_kinds_are_other_slices() -> None:
    old = searched("old", 1.0)
    values = np.array([1, True, "1", 1.5] * 100, object)
    (sliced,) = compare(old, old, {"field": values}).slices
    assert sorted(repr(s.value) for s in sliced.slices) == ["'1'", "1", "1.5", "True"]
    assert {s.queries for s in sliced.slices} == {100}


def test_a_slice_value_that_is_neither_text_nor_number_is_refused() -> None:
    old = searched("old", 1.0)
    values = np.full(400, None, object)
    values[3] = ["a", "list"]
    with pytest.raises(ValueError, match="field of query 3 is a list"):
        compare(old, old, {"field": values})


def test_searches_of_other_queries_are_not_compared() -> None:
    vectors, labels = clusters(399, 1.0, seed=1)
    fewer = evaluate(GallerySearch("fewer", vectors, vectors, "l2"), labels, labels, np.arange(399))
    with pytest.raises(ValueError, match="fewer has 399 queries, old 400"):
        compare(searched("old", 1.0), fewer)
    with pytest.raises(ValueError, match=r"not recall@10"):
        compare(searched("old", 1.0), searched("new", 1.0), metric="recall@10")


def test_json_is_plain_and_the_same_again() -> None:
    def message() -> str:
        old, new = searched("old", 1.2), searched("new", 1.0)
        old.figure("map").per_query[0] = np.nan
        comparison = compare(old, new, {"field": np.array([0.5, None] * 200, object)}, best=new)
        return json.dumps([old.to_json(), comparison.to_json()], allow_nan=False)

    assert message() == message()
    result, comparison = json.loads(message())
    assert result["figures"][0].keys() == {"metric", "queries", "mean", "low", "high"}
    assert comparison["differences"][0]["criterion"]["verdict"] in ("better", "worse", "undecided")
    assert comparison["slices"][0]["unsliced"] == 200
