"""A sketch is a sample of the distinct vectors that were seen, whatever the order and however often."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.portable import SpaceSketch
from models.portable.space_sketch import sketch_rows
from tests.spaces import made_model

WIDE = 65_536
"""So wide that a sketch keeps few rows, and is full soon."""


def _same(one: SpaceSketch, other: SpaceSketch) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in ("priorities", "directions", "norms")
    )


@settings(max_examples=30)
@given(st.lists(st.integers(0, 40), min_size=3, max_size=60), st.integers(1, 7), st.randoms(use_true_random=False))
def test_merging_is_associative_commutative_and_idempotent(drawn: list[int], dimension: int, random: object) -> None:
    pool = np.random.default_rng(3).standard_normal((41, dimension)).astype(np.float32)
    rows = pool[drawn]
    whole = SpaceSketch.of(rows)
    third = max(1, len(rows) // 3)
    a, b, c = (SpaceSketch.of(part) for part in (rows[:third], rows[third : 2 * third], rows[2 * third :]))
    assert _same(a.merged(b).merged(c), whole)
    assert _same(c.merged(a.merged(b)), whole)
    assert _same(whole.merged(whole), whole)
    random.shuffle(drawn)  # type: ignore[attr-defined]
    assert _same(SpaceSketch.of(pool[drawn]), whole)


def test_full_sketches_merge_to_the_sketch_of_everything() -> None:
    rows = np.random.default_rng(0).standard_normal((300, WIDE)).astype(np.float32)
    whole = SpaceSketch.of(rows)
    assert len(whole) == sketch_rows(WIDE) < len(rows)
    merged = SpaceSketch.of(rows[:140])
    merged = merged.merged(SpaceSketch.of(rows[140:], merged.below))
    assert _same(merged, whole)


def test_a_sketch_estimates_how_many_distinct_vectors_it_has_seen() -> None:
    rows = np.random.default_rng(0).standard_normal((20_000, 4)).astype(np.float32)
    sketch = SpaceSketch.of(np.concatenate([rows, rows]))
    assert sketch.distinct == pytest.approx(20_000, rel=0.1)
    assert SpaceSketch.of(np.concatenate([rows[:500], rows[:500]])).distinct == 500


def test_a_sample_has_the_mean_the_covariance_and_the_lengths_of_the_whole() -> None:
    rows = made_model(1, 20_000) * np.float32(3)
    sketch = SpaceSketch.of(rows)
    sampled, unit = sketch.directions.astype(np.float64), rows.astype(np.float64) / 3
    np.testing.assert_allclose(sampled.mean(axis=0), unit.mean(axis=0), atol=0.03)
    np.testing.assert_allclose(np.cov(sampled.T), np.cov(unit.T), atol=0.03)
    np.testing.assert_allclose(sketch.norms, 3, rtol=1e-3)


def test_zero_vectors_are_passed_over_and_tiny_ones_are_not() -> None:
    rows = np.zeros((5, 6), np.float32)
    rows[1, 0], rows[2, 3] = 1e-33, -1e17
    sketch = SpaceSketch.of(rows)
    assert len(sketch) == 2
    np.testing.assert_allclose(np.abs(sketch.directions.astype(np.float32)).sum(axis=1), 1)


def test_a_sketch_is_read_back_as_it_was_written() -> None:
    sketch = SpaceSketch.of(made_model(1, 100))
    assert _same(SpaceSketch.from_bytes(sketch.to_bytes()), sketch)
    assert len(SpaceSketch.from_bytes(SpaceSketch.empty(8).to_bytes())) == 0
    with pytest.raises((ValueError, OSError)):
        SpaceSketch.from_bytes(b"no sketch")
