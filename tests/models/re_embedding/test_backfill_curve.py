"""Backfilling curves: exact at every fraction, better where what is lost comes first, and foretold from pairs alone."""

import json

import numpy as np
import pytest

from models.evaluation.bootstrap import Interval, bootstrap_mean
from models.evaluation.retrieval_metrics import (
    METRICS,
    RetrievalMetric,
    average_precision,
    cmc,
    ranks_of_first_match,
    recall_at_k,
    top_k,
)
from models.portable import Distance
from models.re_embedding.backfill_curve import (
    SOON,
    STEPS,
    Curve,
    CurvePoint,
    predicted_curve,
    values_along,
)


def at_random(rows: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(rows)


def farthest_off_first(transformed: np.ndarray, new: np.ndarray) -> np.ndarray:
    return np.argsort(-np.square(transformed - new).sum(1), kind="stable")


def world(
    seed: int, classes: int = 8, each: int = 12, queries: int = 30
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Queries, their codes, real and transformed vectors of a gallery, its codes; some items tie exactly."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, 16))
    codes = rng.permutation(np.repeat(np.arange(classes), each))
    new = centres[codes] + 0.9 * rng.normal(size=(len(codes), 16))
    transformed = new + 1.2 * rng.normal(size=new.shape)
    new[3], transformed[5], transformed[9] = new[40], transformed[41], transformed[41]
    wanted = rng.integers(0, classes, queries)
    queried = centres[wanted] + 0.9 * rng.normal(size=(queries, 16))
    return queried.astype(np.float32), wanted, new.astype(np.float32), transformed.astype(np.float32), codes


def naively(
    queries: np.ndarray, wanted: np.ndarray, gallery: np.ndarray, new: np.ndarray, codes: np.ndarray, metric: Distance,
    exclude: np.ndarray | None, measure: RetrievalMetric,
) -> np.ndarray:  # fmt: skip
    if measure == "recall@10":
        mixed, true = (top_k(queries, vectors, 10, metric, exclude) for vectors in (gallery, new))
        return recall_at_k(mixed, true)
    if measure == "map":
        return np.nan_to_num(average_precision(queries, wanted, gallery, codes, metric, exclude))
    ranks = ranks_of_first_match(queries, wanted, gallery, codes, metric, exclude)
    return cmc(ranks, int(measure.removeprefix("cmc@"))).astype(float)


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
@pytest.mark.parametrize("measure", METRICS)
def test_every_fraction_equals_a_search_of_the_mixed_gallery(metric: Distance, measure: RetrievalMetric) -> None:
    queries, wanted, new, transformed, codes = world(0)
    order = at_random(len(new), 1)
    exclude = np.where(np.arange(len(queries)) % 3 == 0, -1, np.arange(len(queries)))
    values = values_along(queries, wanted, transformed, new, codes, order, metric, exclude, measure)
    for i in range(STEPS + 1):
        mixed = transformed.copy()
        replaced = order[: i * len(order) // STEPS]
        mixed[replaced] = new[replaced]
        np.testing.assert_array_equal(
            values[i], naively(queries, wanted, mixed, new, codes, metric, exclude, measure), str(i)
        )
    if measure == "recall@10":
        assert (values[-1] == 1).all()


def test_galleries_smaller_than_the_number_of_fractions_and_items_without_a_label_are_measured() -> None:
    queries, wanted, new, transformed, codes = world(2)
    some, codes = np.arange(9), np.where(np.arange(len(codes)) % 4 == 0, -1, codes)
    for rows in (some, np.arange(len(codes))):
        g, t, c = new[rows], transformed[rows], codes[rows]
        order, known = at_random(len(rows), 3), c >= 0
        values = values_along(queries, wanted, t, g, c, order, "cosine", None, "cmc@1")
        for i, gallery in ((0, t), (STEPS, g)):
            expected = naively(queries, wanted, gallery[known], g[known], c[known], "cosine", None, "cmc@1")
            np.testing.assert_array_equal(values[i], expected)


def test_curve_is_interpolated_between_its_points_and_is_plain_json() -> None:
    curve = Curve("random", "map", (CurvePoint(0.0, 0.2, 0.1, 0.3), CurvePoint(1.0, 0.6, 0.5, 0.7)))
    quarter = curve.at(0.25)
    assert (quarter.share, quarter.mean, quarter.low, quarter.high) == pytest.approx((0.25, 0.3, 0.2, 0.4))
    assert curve.at(1.0).mean == 0.6
    plain = json.loads(json.dumps(curve.to_json()))
    assert plain["mean"] == pytest.approx(0.4)
    assert plain["points"][1] == {"share": 1.0, "mean": 0.6, "low": 0.5, "high": 0.7}


def test_where_h_loses_some_classes_their_items_first_beat_random_order() -> None:
    queries, wanted, new, transformed, codes = world(5, each=30, queries=200)
    lost = codes < 3
    partly = np.where(lost[:, None], transformed[np.random.default_rng(0).permutation(len(new))], new)
    first, chance = (
        values_along(queries, wanted, partly, new, codes, order, "l2", None, "map").mean()
        for order in (farthest_off_first(partly, new), at_random(len(new), 0))
    )
    assert first > chance + 0.05


def test_prediction_takes_the_ends_that_it_is_given_and_the_shape_that_the_pairs_have() -> None:
    _, _, new, transformed, codes = world(6, each=20)
    order = at_random(len(new), 0)
    own = predicted_curve(transformed, new, codes, order, "l2", "map")
    start, end = Interval(0.7, 0.65, 0.75), Interval(0.9, 0.88, 0.92)
    curve = predicted_curve(transformed, new, codes, order, "l2", "map", start, end)
    assert (curve.points[0].mean, curve.points[-1].mean) == pytest.approx((0.7, 0.9))
    assert (curve.points[0].low, curve.points[0].high) == pytest.approx((0.65, 0.75), abs=0.005)
    first, last = own.points[0].mean, own.points[-1].mean
    for mine, theirs in zip(own.points, curve.points, strict=True):
        assert theirs.mean == pytest.approx(0.7 + 0.2 * (mine.mean - first) / (last - first))
        assert theirs.low <= theirs.mean <= theirs.high


@pytest.mark.parametrize("measure", ["cmc@1", "cmc@5"])
def test_at_the_first_ranks_the_prediction_is_the_straight_line_between_the_ends_given(
    measure: RetrievalMetric,
) -> None:
    _, _, new, transformed, codes = world(6, each=20)
    ends = Interval(0.7, 0.65, 0.75), Interval(0.9, 0.88, 0.92)
    curve = predicted_curve(transformed, new, codes, farthest_off_first(transformed, new), "l2", measure, *ends)
    assert [point.mean for point in curve.points] == pytest.approx(np.linspace(0.7, 0.9, STEPS + 1).tolist())
    assert all(point.low < point.mean < point.high for point in curve.points)


def test_what_groups_without_pairs_gain_is_gained_within_the_first_items() -> None:
    _, _, new, transformed, codes = world(2)
    start, soon, end = Interval(0.6, 0.55, 0.65), Interval(0.8, 0.75, 0.85), Interval(0.84, 0.8, 0.88)

    def means_with(soon: Interval | None) -> np.ndarray:
        order = at_random(len(new), 2)
        curve = predicted_curve(transformed, new, codes, order, "cosine", "cmc@1", start, end, soon=soon)
        return np.array([point.mean for point in curve.points])

    means = means_with(soon)
    assert (means[0], means[-1]) == pytest.approx((0.6, 0.84))
    assert np.all(np.diff(means) > 0)
    share = np.linspace(0, 1, STEPS + 1)
    rest = means - 0.6 - 0.04 * share  # without what all items gain
    assert rest[1] == pytest.approx(0.2 * (1 - np.exp(-1 / STEPS / SOON)), rel=1e-6)
    assert rest[5] > 0.98 * 0.2
    assert means_with(Interval(0.5, 0.45, 0.55)) == pytest.approx(means_with(None)), "never a fall"


def test_errors_change_as_the_pairs_do_where_only_the_start_is_given() -> None:
    _, _, new, transformed, codes = world(6, each=20)
    order = at_random(len(new), 0)
    own = predicted_curve(transformed, new, codes, order, "l2", "map")
    curve = predicted_curve(transformed, new, codes, order, "l2", "map", Interval(0.9, 0.88, 0.92))
    assert curve.points[0].mean == pytest.approx(0.9)
    assert (curve.points[0].low, curve.points[0].high) == pytest.approx((0.88, 0.92), abs=0.005)
    for mine, theirs in zip(own.points, curve.points, strict=True):
        assert 1 - theirs.mean == pytest.approx(0.1 * (1 - mine.mean) / (1 - own.points[0].mean))
        assert theirs.low <= theirs.mean <= theirs.high


def test_prediction_from_pairs_covers_what_a_larger_gallery_then_measures() -> None:
    rng = np.random.default_rng(7)
    centres = rng.normal(size=(10, 16))

    def items(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        code = rng.integers(0, 10, count)
        new = centres[code] + 1.1 * rng.normal(size=(count, 16))
        lost = np.where(code < 4, 2.5, 0.5)[:, None] * rng.normal(size=new.shape)
        return (new + lost).astype(np.float32), new.astype(np.float32), code

    transformed, new, codes = items(400)
    gallery_transformed, gallery_new, gallery_codes = items(2000)
    queries, _, wanted = items(300)
    along = values_along(
        queries, wanted, gallery_transformed, gallery_new, gallery_codes,
        farthest_off_first(gallery_transformed, gallery_new), "l2", None, "map",
    )  # fmt: skip
    real = along.mean(axis=1)
    ends = (bootstrap_mean(along[i]) for i in (0, -1))
    foretold = predicted_curve(transformed, new, codes, farthest_off_first(transformed, new), "l2", "map", *ends)
    covered = [point.low <= value <= point.high for point, value in zip(foretold.points, real, strict=True)]
    assert np.mean(covered) >= 0.9
    assert [point.share for point in foretold.points] == [i / STEPS for i in range(STEPS + 1)]
    assert foretold.mean == pytest.approx(real.mean(), abs=0.02)


def test_without_labels_recall_is_predicted_and_nothing_else() -> None:
    _, _, new, transformed, _ = world(8)
    order = at_random(len(new), 0)
    curve = predicted_curve(transformed, new, None, order, "cosine", "recall@10")
    assert curve.points[-1] == CurvePoint(1.0, 1.0, 1.0, 1.0)
    assert curve.points[0].mean < 1
    with pytest.raises(ValueError, match="needs labels"):
        predicted_curve(transformed, new, None, order, "cosine", "map")
