"""Transformed vectors are spread about the real ones' mean as widely as those, whatever h is made of."""

import dataclasses

import numpy as np
import pytest

from models.portable import Affine, Card, Dense, Network, Space, Transformation
from models.variance import variance_ratio, with_variance_of

OLD, NEW = Space("old", 5, "l2"), Space("new", 4, "l2")


def floats(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def parts(rng: np.random.Generator) -> tuple[Affine, Network]:
    affine = Affine(floats(rng, 4, 5), floats(rng, 4), floats(rng, 4, 2))
    trunk = (Dense(floats(rng, 6, 7), floats(rng, 6)), Dense(floats(rng, 4, 6), floats(rng, 4)))
    return affine, Network((), (), trunk)


@pytest.mark.parametrize("which", ["affine", "network", "both"])
def test_spread_about_the_mean_becomes_that_of_the_real_vectors(which: str) -> None:
    rng = np.random.default_rng(0)
    affine, network = parts(rng)
    card = Card("fct", OLD, NEW, 2, 50, {"epochs": 1}, {"cmc@1": 0.5}, "2026-01-01T00:00:00Z")
    h = Transformation(card, None if which == "network" else affine, None if which == "affine" else network)
    old, side, new = floats(rng, 50, 5), floats(rng, 50, 2), 9 * floats(rng, 50, 4) + 3
    moved = h.apply(old, side)
    corrected = with_variance_of(h, moved, new)
    mean = new.mean(axis=0)
    landed = corrected.apply(old, side)
    np.testing.assert_allclose(landed, mean + variance_ratio(moved, new) * (moved - mean), rtol=1e-3, atol=1e-3)
    assert np.square(landed - mean).sum() == pytest.approx(np.square(new - mean).sum(), rel=1e-3)
    assert corrected.card.settings["variance_ratio"] == pytest.approx(variance_ratio(moved, new))
    assert corrected.card.metrics == {}


def test_other_metrics_are_refused() -> None:
    rng = np.random.default_rng(1)
    affine, _ = parts(rng)
    card = Card("ridge", OLD, dataclasses.replace(NEW, metric="cosine"), 2, 50, {}, {}, "2026-01-01T00:00:00Z")
    with pytest.raises(ValueError, match="l2 alone"):
        with_variance_of(Transformation(card, affine), floats(rng, 5, 4), floats(rng, 5, 4))


def test_vectors_that_do_not_vary_are_left_alone() -> None:
    assert variance_ratio(np.ones((3, 2), np.float32), np.ones((3, 2), np.float32)) == 1.0
