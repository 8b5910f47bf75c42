"""Pairs put together wrongly are found by what was learned from the others, and nothing else is taken for one."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from models.portable import Array, Space, Transformation
from models.proof.crossing import Refittable, prove
from models.proof.gate import AcceptanceGate
from models.proof.inputs import PlacedPairs, ProofGallery
from models.proof.mismatched_pairs import mismatched, share_nearer, spread_evenly
from models.proof.report import ProofReport
from models.transformations.methods import MethodName, Recipe, learn
from models.transformations.pairs import Pairs

PAIRS, DIMENSION = 400, 12
WRONG = np.arange(0, PAIRS, 10)  # a tenth


def crossed(noise: float) -> tuple[Array, Array]:
    """New vectors in 20 clusters, and old ones as transformed to beside them."""
    rng = np.random.default_rng(0)
    centre = np.repeat(rng.standard_normal((20, DIMENSION)), PAIRS // 20, axis=0)
    new = centre + 0.5 * rng.standard_normal(centre.shape)
    return new.astype(np.float32), (new + noise * rng.standard_normal(new.shape)).astype(np.float32)


def slipped(new: Array) -> Array:
    new = new.copy()
    new[WRONG] = np.roll(new[WRONG], 3, axis=0)  # to another cluster
    return new


def test_share_nearer_counts_the_other_pairs_whose_transformed_vector_is_nearer() -> None:
    new = np.array([[0.0], [1.0], [5.0]], np.float32)
    transformed = np.array([[0.1], [4.9], [0.9]], np.float32)
    assert share_nearer(new, transformed, "l2").tolist() == [0, 1, 0.5]


@pytest.mark.parametrize("noise", [0.3, 1.0])
def test_pairs_with_anothers_new_vector_are_found_and_hardly_any_other(noise: float) -> None:
    new, transformed = crossed(noise)
    found = np.flatnonzero(mismatched(slipped(new), transformed, "cosine"))
    assert np.isin(WRONG, found).mean() > 0.75
    assert np.isin(found, WRONG).mean() > 0.75


@pytest.mark.parametrize("noise", [0.3, 1.0, 2.0, 4.0, 50.0])
def test_a_transformation_that_misses_is_not_taken_for_pairs_that_slipped(noise: float) -> None:
    assert mismatched(*crossed(noise), "cosine").mean() < 0.01


def test_a_new_model_whose_vectors_say_little_is_not_taken_for_pairs_that_slipped() -> None:
    rng = np.random.default_rng(0)
    new, transformed = crossed(0.3)
    noisy = (new + 3.0 * rng.standard_normal(new.shape)).astype(np.float32)
    shares = share_nearer(noisy, transformed, "cosine")
    assert (shares > 0.5).sum() > 20
    assert mismatched(noisy, transformed, "cosine").mean() < 0.01


def test_an_item_whose_old_vector_says_nothing_counts_as_one_that_is_not_found() -> None:
    new, transformed = crossed(0.3)
    transformed[::5] = transformed.mean(axis=0)
    assert (share_nearer(new, transformed, "cosine")[::5] > 0.5).any()
    assert not mismatched(new, transformed, "cosine").any()


def test_the_far_half_tells_how_many_are_spread_evenly() -> None:
    near, evenly = np.full(900, 0.001), np.linspace(0, 1, 100)
    found = spread_evenly(np.concatenate([near, evenly]))
    assert not found[:900].any()
    assert found[900:].mean() > 0.95
    assert not spread_evenly(np.linspace(0, 1, 500)).any(), "nothing is known by then"
    missed = 1 - np.linspace(0, 1, 900) ** 0.25
    assert (missed > 0.5).sum() > 50
    assert not spread_evenly(np.concatenate([near, missed])).any(), "they thin out"


def _proof(new: Array, gate: AcceptanceGate | None = None, *, pushed: MethodName = "orthogonal") -> ProofReport:
    """Of pairs with these new vectors, the first 400 of 800 items; pushed: what the instant crossing is learned by,
    which is what is chosen itself where it is of the same method."""
    rng = np.random.default_rng(1)
    truth, _ = crossed(0.0)
    turn = np.linalg.qr(rng.standard_normal((DIMENSION, DIMENSION)))[0]
    old = np.concatenate([truth, truth + 0.3 * rng.standard_normal(truth.shape)]) @ turn
    old = (old + 0.8 * rng.standard_normal(old.shape)).astype(np.float32)
    label = np.tile(np.repeat(np.arange(20), PAIRS // 20).astype(str).astype(object), 2)
    source, target = Space("o", DIMENSION, "cosine"), Space("n", DIMENSION, "cosine")
    pairs = Pairs(old[:PAIRS], new, label=label[:PAIRS])

    def learned(method: MethodName) -> Refittable[Transformation]:
        recipe = Recipe(method)
        refit = partial(learn, recipe, source=source, target=target, device=torch.device("cpu"), seed=0)
        return Refittable(refit(pairs), refit)

    chosen = learned("orthogonal")
    placed, gallery = PlacedPairs(pairs, np.arange(PAIRS)), ProofGallery(old, label=label)
    instant = chosen if pushed == "orthogonal" else learned(pushed)
    return prove(gallery, placed, chosen, source=source, target=target, gate=gate, instant=instant)


def test_a_crossing_is_predicted_by_the_pairs_that_are_right() -> None:
    right, _ = crossed(0.0)
    clean, mixed = _proof(right), _proof(slipped(right))
    assert clean.basis.queries == PAIRS
    assert PAIRS - 1.5 * len(WRONG) <= mixed.basis.queries <= PAIRS - 0.75 * len(WRONG)
    assert mixed.metrics[0].cross.mean == pytest.approx(clean.metrics[0].cross.mean, abs=0.03)
    assert any("another item's new vector" in note for note in mixed.notes)


@pytest.mark.parametrize("pushed", ["orthogonal", "ridge"])
def test_neighbours_are_those_of_the_pairs_that_are_right(pushed: MethodName) -> None:
    right, _ = crossed(0.0)
    gate = AcceptanceGate("recall@10")
    clean, mixed = (_gains(_proof(new, gate, pushed=pushed)) for new in (right, slipped(right)))
    assert min(clean) > 0.1
    assert mixed == pytest.approx(clean, abs=0.015)


def _gains(report: ProofReport) -> list[float]:
    """By how much the crossing, both queries together and the pushed query find more neighbours than the old search."""
    assert report.fused is not None
    stay, instant = (one.quality for name in ("stay", "instant") for one in report.advice if one.name == name)
    assert stay is not None
    assert instant is not None
    return [
        next(one.difference.mean for one in report.metrics if one.metric == "recall@10"),
        report.fused.difference.mean,
        instant.mean - stay.mean,
    ]
