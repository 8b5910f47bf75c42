"""Kernel ridge against the textbook solution in float64, and where it should win."""

import numpy as np
import pytest

from models.portable import Array, Distance, Space
from models.transformations import kernel
from models.transformations.kernel import LINEAR_VARIANCE, SMOOTHING_NEIGHBOURS, kernel_ridge, towards_neighbours
from models.transformations.linear import ridge
from models.transformations.pairs import Pairs, design


def spaces(old: int, new: int, source: Distance = "l2", target: Distance = "l2") -> tuple[Space, Space]:
    return Space("a", old, source), Space("b", new, target)


def curved(rows: int, side: int = 0, seed: int = 0) -> Pairs:
    """New vectors that bend away from every linear function of the old ones."""
    plan, rng = np.random.default_rng(7), np.random.default_rng(seed)
    old = rng.standard_normal((rows, 4))
    beside = rng.standard_normal((rows, side))
    hidden = np.concatenate([np.cos(old), old, np.tanh(beside)], axis=1)
    new = hidden @ plan.standard_normal((hidden.shape[1], 9)) + 0.02 * rng.standard_normal((rows, 9))
    return Pairs(old.astype(np.float32), new.astype(np.float32), beside.astype(np.float32) if side else None)


def textbook(pairs: Pairs, queries: Array, bandwidth: float, strength: float) -> np.ndarray:
    """Kernel ridge with an unpenalised intercept, as the saddle point of its normal equations, in float64."""
    x, z, y = pairs.old.astype(np.float64), queries.astype(np.float64), pairs.new.astype(np.float64)
    variance = x.var(axis=0).sum()

    def k(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        squared = np.square(a[:, None] - b[None]).sum(-1)
        return np.asarray(np.exp(-squared / (2 * bandwidth**2 * variance)) + LINEAR_VARIANCE / variance * a @ b.T)

    n = len(x)
    system = np.block([[k(x, x) + strength * np.eye(n), np.ones((n, 1))], [np.ones((1, n)), np.zeros((1, 1))]])
    solved = np.linalg.solve(system, np.vstack([y, np.zeros((1, y.shape[1]))]))
    return np.asarray(k(z, x) @ solved[:-1] + solved[-1])


@pytest.mark.parametrize(("bandwidth", "strength"), [(1.0, 0.1), (2.0, 0.01), (1.4, 3.0)])
def test_it_is_the_textbook_solution(bandwidth: float, strength: float) -> None:
    pairs, others = curved(60), curved(30, seed=1)
    h = kernel_ridge(pairs, *spaces(4, 9), bandwidth=bandwidth, strength=strength, smoothing=0)
    np.testing.assert_allclose(h.apply(others.old), textbook(pairs, others.old, bandwidth, strength), atol=2e-3)
    assert h.card.settings == {"bandwidth": bandwidth, "strength": strength, "smoothing": 0}
    assert not h.linear
    assert not h.pushable


def test_side_information_counts_as_much_as_the_old_vectors_whatever_its_scale() -> None:
    pairs = curved(80, side=3)
    assert pairs.side is not None
    larger = Pairs(pairs.old, pairs.new, 1000 * pairs.side)
    settings = (1.4, 0.1)
    transformed = [
        kernel_ridge(p, *spaces(4, 9), bandwidth=settings[0], strength=settings[1], smoothing=0).apply(p.old, p.side)
        for p in (pairs, larger)
    ]
    np.testing.assert_allclose(transformed[0], transformed[1], atol=2e-3)
    inputs = design(pairs, *spaces(4, 9)).inputs
    np.testing.assert_allclose(transformed[0], textbook(Pairs(inputs, pairs.new), inputs, *settings), atol=2e-3)


def test_it_learns_what_bends_where_ridge_cannot() -> None:
    pairs, others = curved(300), curved(300, seed=1)
    errors = [
        float(np.square(h.apply(others.old) - others.new).mean())
        for h in (kernel_ridge(pairs, *spaces(4, 9)), ridge(pairs, *spaces(4, 9)))
    ]
    assert errors[0] < 0.3 * errors[1]


def test_the_strength_is_chosen_once_and_serve_the_same_rows_again() -> None:
    pairs = curved(150, side=2)
    chosen = kernel_ridge(pairs, *spaces(4, 9, "cosine", "cosine"))
    strength = float(chosen.card.settings["strength"])
    again = kernel_ridge(pairs, *spaces(4, 9, "cosine", "cosine"), strength=strength)
    assert set(chosen.card.settings) == {"bandwidth", "strength", "smoothing"}
    np.testing.assert_array_equal(again.apply(pairs.old, pairs.side), chosen.apply(pairs.old, pairs.side))


def test_more_pairs_than_centres_are_all_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs, others = curved(600), curved(200, seed=1)
    settings = (2.0, 0.01)
    exact = kernel_ridge(pairs, *spaces(4, 9), bandwidth=settings[0], strength=settings[1], smoothing=0).apply(
        others.old
    )
    monkeypatch.setattr(kernel, "CENTRES", 100)
    few = kernel_ridge(pairs, *spaces(4, 9), bandwidth=settings[0], strength=settings[1], smoothing=0)
    assert few.kernel is not None
    assert len(few.kernel.centres) == 100
    alone = kernel_ridge(
        pairs.subset(np.arange(100)), *spaces(4, 9), bandwidth=settings[0], strength=settings[1], smoothing=0
    ).apply(others.old)
    transformed = few.apply(others.old)
    assert np.square(transformed - exact).mean() < 0.1 * np.square(alone - exact).mean()
    np.testing.assert_array_equal(
        transformed,
        kernel_ridge(pairs, *spaces(4, 9), bandwidth=settings[0], strength=settings[1], smoothing=0).apply(others.old),
    )


@pytest.mark.parametrize(("rows", "side"), [(1, 0), (2, 2), (9, 0)])
def test_any_number_of_pairs_fits(rows: int, side: int) -> None:
    pairs = curved(rows, side)
    transformed = kernel_ridge(pairs, *spaces(4, 9, "cosine", "ip")).apply(pairs.old, pairs.side)
    assert transformed.shape == (rows, 9)
    assert np.isfinite(transformed).all()


def test_rows_that_repeat_map_to_their_mean() -> None:
    rng = np.random.default_rng(0)
    pairs = Pairs(np.ones((20, 3), np.float32), rng.standard_normal((20, 2)).astype(np.float32))
    np.testing.assert_allclose(
        kernel_ridge(pairs, *spaces(3, 2), smoothing=0).apply(pairs.old[:1])[0], pairs.new.mean(0), atol=1e-4
    )


def test_smoothing_moves_new_vectors_towards_the_mean_of_their_nearest_others() -> None:
    outputs = curved(40).new
    smoothed = towards_neighbours(outputs, "l2", 0.4)
    for row in range(40):
        near = np.argsort(np.square(outputs - outputs[row]).sum(1), kind="stable")[1 : SMOOTHING_NEIGHBOURS + 1]
        np.testing.assert_allclose(smoothed[row], 0.6 * outputs[row] + 0.4 * outputs[near].mean(0), atol=1e-4)


def test_smoothing_retrieves_better_where_new_vectors_are_noisy_and_clustered() -> None:
    rng = np.random.default_rng(3)
    centres = rng.standard_normal((20, 12))
    views = rng.standard_normal((12, 30))

    def drawn(rows: int) -> tuple[Pairs, np.ndarray]:
        label = rng.integers(20, size=rows)
        hidden = centres[label] + 0.6 * rng.standard_normal((rows, 12))
        new = centres[label] @ views + 4 * rng.standard_normal((rows, 30))
        return Pairs(hidden.astype(np.float32), new.astype(np.float32)), label

    (pairs, _), (gallery, label), (queries, wanted) = drawn(150), drawn(600), drawn(1_000)
    hits = []
    for smoothing in (0.0, 0.4):
        h = kernel_ridge(pairs, *spaces(12, 30, "l2", "cosine"), smoothing=smoothing)
        similar = queries.new @ h.apply(gallery.old).T
        hits.append(float((label[similar.argmax(1)] == wanted).mean()))
    assert hits[1] > hits[0]
