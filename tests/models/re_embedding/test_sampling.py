"""Samples for learning: distinct, deterministic, spread over the gallery, and weighted by what each item stands for."""

from collections.abc import Iterator

import numpy as np
import pytest

from models.portable import Array, Distance
from models.re_embedding import sampling
from models.re_embedding.sampling import ChosenItems, choose


def batches(old: Array, side: Array | None = None, rows: int = 100) -> Iterator[tuple[Array, Array | None]]:
    for start in range(0, len(old), rows):
        part = slice(start, start + rows)
        yield old[part], None if side is None else side[part]


def blobs(sizes: list[int], dimension: int = 8, seed: int = 0) -> tuple[Array, np.ndarray]:
    """Tight, far-apart groups of rows, and the group of each."""
    rng = np.random.default_rng(seed)
    group = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    centres = 20 * rng.standard_normal((len(sizes), dimension))
    return (centres[group] + 0.1 * rng.standard_normal((len(group), dimension))).astype(np.float32), group


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
def test_every_group_is_seen_however_small(metric: Distance) -> None:
    old, group = blobs([1000, 500, 20, 20, 20, 20])
    hit = np.mean([len(set(group[choose(batches(old), 24, metric=metric, seed=s).indices])) for s in range(5)])
    random = np.mean([len(set(np.random.default_rng(s).choice(group, 24, replace=False))) for s in range(5)])
    assert hit > random + 1


def test_weight_is_the_share_of_items_nearest_to_the_chosen_one() -> None:
    old, group = blobs([600, 300, 100], seed=1)
    sample = choose(batches(old), 30, metric="l2")
    assert sample.weights.sum() == pytest.approx(1)
    shares = np.bincount(group[sample.indices], weights=sample.weights, minlength=3)
    np.testing.assert_allclose(shares, [0.6, 0.3, 0.1], atol=1e-6)


def test_indices_are_distinct_ascending_and_within_the_gallery() -> None:
    old = np.random.default_rng(0).standard_normal((500, 6)).astype(np.float32)
    old[:200] = 0  # zero vectors: many equal rows
    sample = choose(batches(old), 120)
    assert sample.indices.dtype == np.int64
    assert (np.diff(sample.indices) > 0).all()
    assert 0 <= sample.indices[0] <= sample.indices[-1] < 500
    assert sample.weights.min() >= 0


def same(a: ChosenItems, b: ChosenItems) -> bool:
    return np.array_equal(a.indices, b.indices) and np.array_equal(a.weights, b.weights)


def test_choice_depends_on_the_seed_and_not_on_how_the_stream_is_cut() -> None:
    rng = np.random.default_rng(0)
    old, side = rng.standard_normal((700, 6)).astype(np.float32), rng.standard_normal((700, 3)).astype(np.float32)
    first = choose(batches(old, side, 700), 40)
    assert same(first, choose(batches(old, side, 33), 40))
    assert not same(first, choose(batches(old, side, 700), 40, seed=1))


def test_large_gallery_is_chosen_from_a_bounded_uniform_part(monkeypatch: pytest.MonkeyPatch) -> None:
    old, group = blobs([3000, 2000, 1000], seed=2)
    monkeypatch.setattr(sampling, "NUMBERS_IN_MEMORY", 800 * 8)
    first, again = (choose(batches(old, rows=rows), 60) for rows in (6000, 77))
    assert same(first, again)
    assert len(set(first.indices)) == 60
    shares = np.bincount(group[first.indices], weights=first.weights, minlength=3)
    np.testing.assert_allclose(shares, [1 / 2, 1 / 3, 1 / 6], atol=0.06)
    assert first.indices.max() > 3000  # the later part of the stream is drawn from as well


def test_side_information_tells_items_apart_that_the_old_model_cannot() -> None:
    side, group = blobs([300, 300, 10, 10], dimension=4)
    old = np.random.default_rng(0).standard_normal((620, 4)).astype(np.float32)
    seen = [len(set(group[choose(batches(old, side), 30, seed=s).indices])) for s in range(5)]
    unseen = [len(set(group[choose(batches(old), 30, seed=s).indices])) for s in range(5)]
    assert np.mean(seen) > np.mean(unseen)


@pytest.mark.parametrize("n", [10, 11, 1000])
def test_asking_for_all_or_more_gives_everything_with_equal_weight(n: int) -> None:
    old = np.random.default_rng(0).standard_normal((10, 3)).astype(np.float32)
    sample = choose(batches(old, rows=4), n)
    np.testing.assert_array_equal(sample.indices, np.arange(10))
    np.testing.assert_allclose(sample.weights, 0.1)


def test_nothing_to_choose_or_from_is_refused() -> None:
    with pytest.raises(ValueError, match="no items"):
        choose(iter([]), 5)
    with pytest.raises(ValueError, match="at least one"):
        choose(batches(np.ones((3, 2), np.float32)), 0)


def test_identical_items_are_still_chosen_distinct() -> None:
    sample = choose(batches(np.ones((50, 4), np.float32)), 7)
    assert len(set(sample.indices)) == 7
    assert sample.weights.sum() == pytest.approx(1)
