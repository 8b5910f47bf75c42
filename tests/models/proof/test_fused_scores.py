"""What both models' queries find at every weight, against the same counted out; and which weight is taken."""

from __future__ import annotations

import numpy as np
import pytest

from models.evaluation.retrieval_metrics import METRICS, RetrievalMetric, cmc, label_metrics, labelled_rows
from models.evaluation.score_blocks import Searched
from models.portable import Array, Distance
from models.proof.fused_scores import FusedSearch, LabelsSearched, alphas_for, best_alpha, scores_by_label
from tests.similarity import similarity

ROWS, QUERIES, CLASSES = 60, 25, 6


def normal(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape).astype(np.float32)


def search(source: Distance = "cosine", target: Distance = "l2") -> tuple[FusedSearch, np.ndarray, np.ndarray]:
    """A search by 25 queries, the last of a label that no row has, of 60 rows, one of which has no label."""
    rng = np.random.default_rng(0)
    old = Searched(normal(rng, QUERIES, 5), normal(rng, ROWS, 5), source)
    new = Searched(normal(rng, QUERIES, 4), normal(rng, ROWS, 4), target)
    codes, gallery_codes = rng.integers(0, CLASSES, QUERIES), rng.integers(0, CLASSES, ROWS)
    codes[-1], gallery_codes[7] = CLASSES, -1
    exclude = np.column_stack([np.arange(QUERIES), np.where(np.arange(QUERIES) % 2, -1, np.arange(QUERIES) + 1)])
    return FusedSearch(old, new, exclude), codes, gallery_codes


def scores(side: Searched) -> np.ndarray:
    found = similarity(side.queries, side.gallery, side.metric)
    return np.asarray((found - found.mean(axis=1, keepdims=True)) / found.std(axis=1, keepdims=True))


@pytest.mark.parametrize(("source", "target"), [("cosine", "l2"), ("ip", "cosine"), ("l2", "ip")])
@pytest.mark.parametrize("metric", ["cmc@1", "map"])
def test_scores_by_label_are_those_of_the_fused_ranking(
    source: Distance, target: Distance, metric: RetrievalMetric
) -> None:
    both, codes, gallery_codes = search(source, target)
    found = both.label_scores(codes, gallery_codes, alphas_for(metric), metric)
    for i, alpha in enumerate(alphas_for(metric)):
        fused = (1 - alpha) * scores(both.old) + alpha * scores(both.new)
        for query in range(QUERIES):
            rows = np.setdiff1d(np.flatnonzero(gallery_codes >= 0), both.exclude[query])
            ranked = rows[np.argsort(-fused[query, rows])]
            hits = np.flatnonzero(gallery_codes[ranked] == codes[query]) + 1
            first = hits[0] if len(hits) else ROWS
            assert found[query, i, :2].tolist() == [first == 1, first <= 5]
            if metric == "map":
                expected = (np.arange(1, len(hits) + 1) / hits).mean() if len(hits) else 0.0
                assert found[query, i, 2] == pytest.approx(expected)
    assert np.isnan(found[:, :, METRICS.index("recall@10")]).all()


def test_ends_of_the_scale_are_the_searches_of_either_model_alone() -> None:
    both, codes, gallery_codes = search()
    found = both.label_scores(codes, np.maximum(gallery_codes, 0), alphas_for("map"), "map")
    for place, side in ((0, both.old), (-1, both.new)):
        alone = label_metrics(
            side.queries, codes, side.gallery, np.maximum(gallery_codes, 0), side.metric, both.exclude
        )
        np.testing.assert_allclose(found[:, place, 2], np.nan_to_num(alone.average_precision))


def test_searches_measured_in_one_pass_are_each_measured_as_if_by_itself() -> None:
    both, codes, gallery_codes = search()
    another = Searched(both.old.queries[:, ::-1], both.old.gallery, "ip")
    searches, alphas = (both.new, another), alphas_for("cmc@1")
    labels = LabelsSearched(codes, gallery_codes, both.exclude)
    for side, found in zip(searches, scores_by_label(both.old, searches, labels, alphas, "cmc@1"), strict=True):
        gallery, known, exclude = labelled_rows(gallery_codes >= 0, side.gallery, gallery_codes, both.exclude)
        alone = label_metrics(side.queries, codes, gallery, known, side.metric, exclude)
        expected = [cmc(alone.ranks, 1), cmc(alone.ranks, 5), np.nan_to_num(alone.average_precision)]
        np.testing.assert_allclose(found.alone[:, :3], np.column_stack(expected))
        fused = FusedSearch(both.old, side, both.exclude).label_scores(codes, gallery_codes, alphas, "cmc@1")
        np.testing.assert_array_equal(found.fused, fused)


def test_neighbours_are_counted_among_the_ten_nearest_by_the_fused_score() -> None:
    both, *_ = search()
    truth = np.random.default_rng(1).permuted(np.tile(np.arange(QUERIES + 2, ROWS), (QUERIES, 1)), axis=1)[:, :10]
    truth[3, 5:] = -1
    found = both.neighbours_found(truth, alphas_for("recall@10"))
    for i, alpha in enumerate(alphas_for("recall@10")):
        fused = (1 - alpha) * scores(both.old) + alpha * scores(both.new)
        for query in range(QUERIES):
            rows = np.setdiff1d(np.arange(ROWS), both.exclude[query])
            nearest = rows[np.argsort(-fused[query, rows])][:10]
            wanted = truth[query][truth[query] >= 0]
            assert found[query, i] == pytest.approx(np.isin(wanted, nearest).mean())


def test_best_weight_is_the_middle_of_those_that_cannot_be_told_from_the_best() -> None:
    rng = np.random.default_rng(0)
    right = np.repeat(rng.random(400)[:, None], 9, axis=1) < np.array([0.5, 0.6, 0.8, 0.8, 0.8, 0.8, 0.8, 0.7, 0.6])
    right[:3, 6] = True  # by luck the best
    assert best_alpha(right.astype(float), np.ones(400)) == 4


def test_queries_count_by_their_weight() -> None:
    right = np.array([[1, 0], [1, 0], [0, 1]], float).repeat(50, axis=0)
    assert best_alpha(right, np.ones(150)) == 0
    assert best_alpha(right, np.repeat([1.0, 1.0, 9.0], 50)) == 1
