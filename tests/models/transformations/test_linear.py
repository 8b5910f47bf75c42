"""Linear transformations against naive solutions in float64."""

from collections.abc import Callable

import numpy as np
import pytest

from models.portable import Array, Distance, Space, Transformation
from models.transformations import linear
from models.transformations.linear import choose_strength, decompose, low_rank, orthogonal, ridge
from models.transformations.pairs import Pairs, design


def spaces(old: int, new: int, source: Distance = "l2", target: Distance = "l2") -> tuple[Space, Space]:
    return Space("a", old, source), Space("b", new, target)


def made(rows: int, old: int, new: int, side: int = 0, noise: float = 0.1, seed: int = 0) -> Pairs:
    rng = np.random.default_rng(seed)
    hidden = rng.standard_normal((rows, 4))

    def view(dimension: int) -> Array:
        seen = hidden @ rng.standard_normal((4, dimension)) + noise * rng.standard_normal((rows, dimension))
        return (seen + rng.standard_normal(dimension)).astype(np.float32)

    return Pairs(view(old), view(new), view(side) if side else None)


def naive_ridge(x: np.ndarray, y: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    x, y = x.astype(np.float64), y.astype(np.float64)
    centred = x - x.mean(0)
    weight = np.linalg.solve(centred.T @ centred + penalty * np.eye(x.shape[1]), centred.T @ (y - y.mean(0)))
    return weight, y.mean(0) - x.mean(0) @ weight


@pytest.mark.parametrize("rows", [200, 12])  # more rows than columns, and fewer
@pytest.mark.parametrize("side", [0, 3])
def test_ridge_solves_the_normal_equations(rows: int, side: int) -> None:
    pairs, (source, target) = made(rows, 15, 9, side), spaces(15, 9)
    inputs = design(pairs, source, target).inputs
    penalty = 0.3 * np.square(inputs - inputs.mean(0)).sum() / inputs.shape[1]
    weight, bias = naive_ridge(inputs, pairs.new, penalty)
    h = ridge(pairs, source, target, strength=0.3)
    np.testing.assert_allclose(h.apply(pairs.old, pairs.side), inputs @ weight + bias, atol=2e-3)
    assert h.card.settings == {"strength": 0.3}
    assert h.card.side_dimension == (side or None)


@pytest.mark.parametrize("rows", [40, 12])
def test_left_out_predictions_are_those_of_refits_without_the_row(rows: int) -> None:
    pairs, (source, target) = made(rows, 15, 9, noise=0.5), spaces(15, 9)
    d = design(pairs, source, target)
    spectrum = decompose(d)
    every = np.arange(rows)
    given = spectrum.left_out(0.5, every, d.outputs)
    for row in range(rows):
        rest = every != row
        weight, bias = naive_ridge(d.inputs[rest], d.outputs[rest], spectrum.penalty(0.5))
        np.testing.assert_allclose(given[row], d.inputs[row] @ weight + bias, atol=5e-3)


def test_more_noise_asks_for_a_stronger_ridge() -> None:
    chosen = []
    for noise in (0.01, 3.0):
        pairs, (source, target) = made(150, 40, 30, noise=noise), spaces(40, 30)
        d = design(pairs, source, target)
        chosen.append(choose_strength(decompose(d), d, "l2", seed=0))
    assert chosen[0] < chosen[1]
    assert set(chosen) <= set(linear.STRENGTHS.tolist())


@pytest.mark.parametrize(("old", "new"), [(8, 8), (8, 12), (12, 8)])
def test_orthogonal_finds_a_planted_rotation_scale_and_shift(old: int, new: int) -> None:
    rng = np.random.default_rng(0)
    tall = np.linalg.qr(rng.standard_normal((max(old, new), min(old, new))))[0]
    rotation = tall if new >= old else tall.T
    x = rng.standard_normal((5000, old))
    x = x @ rotation.T @ rotation  # what a map to fewer dimensions cannot see is no part of the plant
    pairs = Pairs(x.astype(np.float32), (2.5 * x @ rotation.T + rng.standard_normal(new)).astype(np.float32))
    h = orthogonal(pairs, *spaces(old, new))
    np.testing.assert_allclose(h.apply(pairs.old), pairs.new, atol=1e-3)
    assert h.push(pairs.new[:2]).exact is (new >= old)


def test_low_rank_has_the_rank_asked_for_and_at_full_rank_is_ridge() -> None:
    pairs, (source, target) = made(200, 15, 9), spaces(15, 9)
    for rank in (1, 4, 9):
        h = low_rank(pairs, source, target, strength=0.1, rank=rank)
        assert h.affine is not None
        assert np.linalg.matrix_rank(h.affine.weight, tol=1e-4) == rank
    same = ridge(pairs, source, target, strength=0.1)
    np.testing.assert_allclose(h.apply(pairs.old), same.apply(pairs.old), atol=1e-3)


def test_low_rank_minimises_the_ridge_loss_among_maps_of_its_rank() -> None:
    pairs, (source, target) = made(200, 15, 9, noise=1.0), spaces(15, 9)
    penalty = decompose(design(pairs, source, target)).penalty(0.1)

    def loss(weight: np.ndarray) -> float:
        x, y = pairs.old - pairs.old.mean(0), pairs.new - pairs.new.mean(0)
        return float(np.square(y - x @ weight.T).sum() + penalty * np.square(weight).sum())

    h = low_rank(pairs, source, target, strength=0.1, rank=2)
    assert h.affine is not None
    left, values, right = np.linalg.svd(h.affine.weight.astype(np.float64))
    best = (left[:, :2] * values[:2]) @ right[:2]
    rng = np.random.default_rng(0)
    for _ in range(20):
        nudge = np.eye(9) + 0.03 * rng.standard_normal((9, 9))
        assert loss(nudge @ best) > loss(best)


def test_rank_is_chosen_by_retrieval() -> None:
    pairs, (source, target) = made(400, 30, 24, noise=0.3), spaces(30, 24, "cosine", "cosine")
    assert 1 <= int(low_rank(pairs, source, target).card.settings["rank"]) <= 24


@pytest.mark.parametrize("method", [orthogonal, ridge, low_rank])
@pytest.mark.parametrize(("rows", "old", "new", "side"), [(1, 3, 2, 0), (2, 5, 7, 2), (30, 4, 1, 1), (9, 1, 6, 0)])
def test_any_number_of_pairs_and_dimensions_fits(
    method: Callable[[Pairs, Space, Space], Transformation], rows: int, old: int, new: int, side: int
) -> None:
    pairs = made(rows, old, new, side)
    transformed = method(pairs, *spaces(old, new, "cosine", "ip")).apply(pairs.old, pairs.side)
    assert transformed.shape == (rows, new)
    assert np.isfinite(transformed).all()


def test_constant_vectors_map_to_the_mean() -> None:
    rng = np.random.default_rng(0)
    pairs = Pairs(np.ones((20, 3), np.float32), rng.standard_normal((20, 2)).astype(np.float32))
    for method in (orthogonal, ridge, low_rank):
        np.testing.assert_allclose(method(pairs, *spaces(3, 2)).apply(pairs.old[:1])[0], pairs.new.mean(0), atol=1e-4)


def test_scale_of_side_information_does_not_matter() -> None:
    pairs, (source, target) = made(60, 6, 5, 3), spaces(6, 5)
    assert pairs.side is not None
    louder = Pairs(pairs.old, pairs.new, pairs.side * np.float32(1000))
    a, b = (ridge(p, source, target, strength=0.2).apply(p.old, p.side) for p in (pairs, louder))
    np.testing.assert_allclose(a, b, atol=1e-3)


def test_pairs_and_spaces_that_disagree_are_refused() -> None:
    pairs = made(10, 3, 2)
    with pytest.raises(ValueError, match="must have shape"):
        ridge(pairs, *spaces(4, 2))
    with pytest.raises(ValueError, match="equally many rows"):
        Pairs(pairs.old, pairs.new[:5])
    with pytest.raises(ValueError, match="at least one"):
        Pairs(pairs.old[:0], pairs.new[:0])
