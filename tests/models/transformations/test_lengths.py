"""Lengths fitted to the old vectors, and what they do for pushed queries."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from models.evaluation.retrieval_metrics import recall_at_k, top_k
from models.portable import Affine, Distance, Lengths, Space, Transformation, as_indexed
from models.transformations.lengths import lengths_of
from models.transformations.linear import ridge
from models.transformations.pairs import Pairs


def stretched(rows: int, seed: int) -> Pairs:
    """Old vectors whose images are of very unlike lengths: directions are stretched, and off the origin."""
    rng = np.random.default_rng(seed)
    old = np.maximum(rng.standard_normal((rows, 12)) + 0.3, 0)
    weight = np.random.default_rng(1).standard_normal((16, 12)) * np.geomspace(2, 0.5, 12)
    return Pairs(old.astype(np.float32), (old @ weight.T + 0.05 * rng.standard_normal((rows, 16))).astype(np.float32))


@pytest.mark.parametrize("source", ["cosine", "l2"])
@pytest.mark.parametrize("target", ["cosine", "l2"])
@pytest.mark.parametrize("pairs", [40, 2_000])
def test_pushed_queries_find_more_of_the_transformed_neighbours_once_lengths_are_known(
    source: Distance, target: Distance, pairs: int
) -> None:
    gallery, queries = stretched(2_000, 2), stretched(200, 3).new
    h = ridge(stretched(pairs, 4), Space("a", 12, source), Space("b", 16, target))
    assert h.affine is not None
    blind = dataclasses.replace(h, affine=dataclasses.replace(h.affine, lengths=None))
    truth = top_k(queries, h.apply(gallery.old), 10, target)
    rows = as_indexed(gallery.old, source)

    def score(how: Transformation) -> float:
        pushed = how.push(queries)
        return float(recall_at_k(top_k(pushed.queries, rows, 30, pushed.score), truth).mean())

    assert score(h) > score(blind) + 0.05


def test_pushed_scores_are_near_those_of_the_transformed_rows() -> None:
    gallery, queries = stretched(2_000, 2), stretched(50, 3).new
    h = ridge(stretched(1_000, 4), Space("a", 12, "l2"), Space("b", 16, "l2"))
    pushed = h.push(queries)
    given = pushed.scale * np.square(pushed.queries[:, None] - gallery.old).sum(-1) + pushed.offset[:, None]
    wanted = np.square(queries[:, None] - h.apply(gallery.old)).sum(-1)
    assert np.corrcoef(given.ravel(), wanted.ravel())[0, 1] > 0.9
    assert abs(given.mean() - wanted.mean()) < 0.05 * wanted.mean()


def test_inner_product_needs_no_lengths_and_rows_alike_give_finite_ones() -> None:
    affine = Affine(np.ones((3, 2), np.float32), np.zeros(3, np.float32))
    alike = np.ones((5, 2), np.float32)
    images = affine(alike, None)
    assert lengths_of(affine, alike, images, "l2", "ip") is None
    for target in ("l2", "cosine"):
        metric: Distance = "l2" if target == "l2" else "cosine"
        lengths = lengths_of(affine, alike, as_indexed(images, metric), "l2", metric)
        assert lengths is not None
        assert lengths.scale > 0
        assert np.isfinite([*lengths.slope, lengths.intercept, lengths.level]).all()


@pytest.mark.parametrize("scale", [0.0, 1e-38, 1e-33, 1e-20, 1e-9])
@pytest.mark.parametrize("source", ["cosine", "l2"])
@pytest.mark.parametrize("target", ["cosine", "l2"])
def test_dimensions_that_are_nearly_dead_change_no_length(source: Distance, target: Distance, scale: float) -> None:
    pairs = stretched(500, 0)
    noise = (scale * np.random.default_rng(1).standard_normal((500, 3))).astype(np.float32)
    h = ridge(pairs, Space("a", 12, source), Space("b", 16, target))
    assert h.affine is not None
    beside = np.random.default_rng(2).standard_normal((16, 3)).astype(np.float32)
    wider = Affine(np.concatenate([h.affine.weight, beside], axis=1), h.affine.bias)

    def fitted(affine: Affine, old: np.ndarray) -> Lengths:
        lengths = lengths_of(affine, as_indexed(old, source), as_indexed(pairs.new, target), source, target)
        assert lengths is not None
        return lengths

    alone, beside_dead = fitted(h.affine, pairs.old), fitted(wider, np.concatenate([pairs.old, noise], axis=1))
    np.testing.assert_allclose(beside_dead.slope[:12], alone.slope, rtol=0.02, atol=0.02 * np.abs(alone.slope).max())
    assert np.abs(beside_dead.slope[12:] * max(scale, 1e-30)).max() < 1e-3 * np.abs(alone.slope).max()
    assert np.abs(beside_dead.slope[12:]).max() < 1e3 * np.abs(alone.slope).max()


@pytest.mark.parametrize("scale", [1e-8, 1e8])
@pytest.mark.parametrize("target", ["cosine", "l2"])
def test_lengths_do_not_depend_on_the_unit_of_the_old_vectors(target: Distance, scale: float) -> None:
    pairs = stretched(500, 0)
    h = ridge(pairs, Space("a", 12, "l2"), Space("b", 16, target))
    assert h.affine is not None

    def fitted(unit: float) -> Lengths:
        assert h.affine is not None
        affine = Affine((h.affine.weight / unit).astype(np.float32), h.affine.bias)
        old = (pairs.old * unit).astype(np.float32)
        lengths = lengths_of(affine, old, as_indexed(pairs.new, target), "l2", target)
        assert lengths is not None
        return lengths

    plain, scaled = fitted(1.0), fitted(scale)
    np.testing.assert_allclose(scaled.slope * scale, plain.slope, rtol=1e-3, atol=1e-4 * np.abs(plain.slope).max())
    assert scaled.scale * (scale**2 if target == "l2" else 1) == pytest.approx(plain.scale, rel=1e-3)
    assert scaled.intercept == pytest.approx(plain.intercept, rel=1e-3)
