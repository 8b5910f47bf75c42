"""What `apply` and `push` compute, against loops in float64."""

import numpy as np
import pytest

from models.portable import (
    Affine,
    Array,
    Card,
    Dense,
    Distance,
    Kernel,
    Lengths,
    Network,
    NotPushable,
    Space,
    Transformation,
)


def card(old: int, new: int, side: int | None = None, source: Distance = "cosine", target: Distance = "cosine") -> Card:
    return Card("test", Space("a", old, source), Space("b", new, target), side, 10, {}, {}, "2026-01-01T00:00:00Z")


def normal(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape).astype(np.float32)


def orthonormal(rng: np.random.Generator, rows: int, columns: int) -> Array:
    return np.linalg.qr(rng.standard_normal((rows, columns)))[0].astype(np.float32)


def unit(row: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(row)
    return row / length if length else row


@pytest.mark.parametrize("source", ["cosine", "l2", "ip"])
@pytest.mark.parametrize("target", ["cosine", "l2", "ip"])
def test_affine_part_is_the_formula_row_by_row(source: Distance, target: Distance) -> None:
    rng = np.random.default_rng(0)
    old, side = normal(rng, 7, 5), normal(rng, 7, 2)
    old[3] = 0
    affine = Affine(normal(rng, 4, 5), normal(rng, 4), normal(rng, 4, 2))
    transformed = Transformation(card(5, 4, 2, source, target), affine).apply(old, side)
    for row in range(7):
        p = unit(old[row].astype(float)) if source == "cosine" else old[row]
        y = affine.weight @ p + affine.side_weight @ side[row] + affine.bias
        np.testing.assert_allclose(transformed[row], unit(y) if target == "cosine" else y, atol=1e-5)
    assert transformed.dtype == np.float32


def test_network_is_two_branches_and_a_trunk() -> None:
    rng = np.random.default_rng(1)
    first, second, third, last = (Dense(normal(rng, o, i), normal(rng, o)) for o, i in [(6, 5), (3, 2), (8, 9), (4, 8)])
    h = Transformation(card(5, 4, 2, "l2", "l2"), None, Network((first,), (second,), (third, last)))
    old, side = normal(rng, 7, 5), normal(rng, 7, 2)
    transformed = h.apply(old, side)
    for row in range(7):
        a = np.maximum(first.weight @ old[row] + first.bias, 0)
        b = np.maximum(second.weight @ side[row] + second.bias, 0)
        y = last.weight @ np.maximum(third.weight @ np.concatenate([a, b]) + third.bias, 0) + last.bias
        np.testing.assert_allclose(transformed[row], y, rtol=1e-4, atol=1e-4)


def test_side_branch_reads_the_old_vector_where_there_is_no_side_information() -> None:
    rng = np.random.default_rng(2)
    first, second, last = (Dense(normal(rng, o, i), normal(rng, o)) for o, i in [(6, 5), (6, 5), (4, 12)])
    old = normal(rng, 3, 5)
    transformed = Transformation(card(5, 4, None, "l2", "l2"), None, Network((first,), (second,), (last,))).apply(old)
    hidden = [np.maximum(layer.weight @ old[0] + layer.bias, 0) for layer in (first, second)]
    np.testing.assert_allclose(transformed[0], last.weight @ np.concatenate(hidden) + last.bias, atol=1e-4)


@pytest.mark.parametrize("side", [None, 2])
def test_kernel_is_a_sum_of_gaussians_around_its_centres(side: int | None) -> None:
    rng = np.random.default_rng(5)
    scales = np.array([0.3, 0.7], np.float32)
    kernel = Kernel(normal(rng, 6, 5 + (side or 0)), normal(rng, 6, 4), scales)
    old, beside = normal(rng, 7, 5), normal(rng, 7, side) if side else None
    h = Transformation(card(5, 4, side, "l2", "l2"), None, kernel=kernel)
    assert not h.linear
    transformed = h.apply(old, beside)
    for row in range(7):
        z = old[row] * 0.3 if beside is None else np.concatenate([old[row] * 0.3, beside[row] * 0.7])
        y = sum(
            np.exp(-float(np.square(z - centre).sum())) * coefficient
            for centre, coefficient in zip(kernel.centres, kernel.coefficients, strict=True)
        )
        np.testing.assert_allclose(transformed[row], y, atol=1e-5)


def test_affine_network_and_kernel_parts_add_up() -> None:
    rng = np.random.default_rng(3)
    kernel = Kernel(normal(rng, 3, 5), normal(rng, 3, 4), np.full(2, 0.5, np.float32))
    affine = Affine(normal(rng, 4, 5), normal(rng, 4))
    network = Network((), (), (Dense(normal(rng, 8, 5), normal(rng, 8)), Dense(normal(rng, 4, 8), normal(rng, 4))))
    described, old = card(5, 4, None, "ip", "ip"), normal(rng, 3, 5)
    alone = [(affine, None, None), (None, network, None), (None, None, kernel)]
    parts = [Transformation(described, *part).apply(old) for part in alone]
    np.testing.assert_allclose(Transformation(described, affine, network, kernel).apply(old), sum(parts), atol=1e-4)


def test_rows_are_independent_of_chunking_and_inputs_are_untouched() -> None:
    rng = np.random.default_rng(4)
    h = Transformation(card(5, 4), Affine(normal(rng, 4, 5), normal(rng, 4)))
    old = normal(rng, 20_000, 5)
    before = old.copy()
    transformed = h.apply(old)
    np.testing.assert_array_equal(old, before)
    for some in (slice(0, 10), slice(8_190, 8_195), slice(19_990, 20_000)):
        np.testing.assert_allclose(transformed[some], h.apply(old[some]), atol=1e-6)
    assert h.apply(old[:0]).shape == (0, 4)


def test_zero_image_stays_zero_in_a_cosine_space() -> None:
    h = Transformation(card(2, 3), Affine(np.ones((3, 2), np.float32), np.zeros(3, np.float32)))
    np.testing.assert_array_equal(h.apply(np.zeros((1, 2), np.float32)), np.zeros((1, 3)))


@pytest.mark.parametrize(
    ("side_dimension", "old", "side", "message"),
    [
        (None, (3, 4), None, r"must have shape \(n, 5\)"),
        (None, (5,), None, r"must have shape \(n, 5\)"),
        (None, (3, 5), (3, 2), "not expected"),
        (2, (3, 5), None, "dimension 2 is missing"),
        (2, (3, 5), (3, 3), r"must have shape \(n, 2\)"),
        (2, (3, 5), (4, 2), "4 rows of side-information for 3"),
    ],
)
def test_wrong_input_is_refused(
    side_dimension: int | None, old: tuple[int, ...], side: tuple[int, ...] | None, message: str
) -> None:
    beside = None if side_dimension is None else np.ones((4, side_dimension), np.float32)
    affine = Affine(np.ones((4, 5), np.float32), np.ones(4, np.float32), beside)
    h = Transformation(card(5, 4, side_dimension), affine)
    with pytest.raises(ValueError, match=message):
        h.apply(np.ones(old, np.float32), None if side is None else np.ones(side, np.float32))


@pytest.mark.parametrize("target", ["cosine", "l2", "ip"])
@pytest.mark.parametrize("columns", ["orthonormal", "scaled", "free"])
@pytest.mark.parametrize("intercept", [False, True])
def test_pushed_scores_are_the_transformed_scores_wherever_the_push_calls_itself_exact(
    target: Distance, columns: str, intercept: bool
) -> None:
    rng = np.random.default_rng(5)
    weight = normal(rng, 9, 6) if columns == "free" else orthonormal(rng, 9, 6)
    weight = weight * np.float32(0.3) if columns == "scaled" else weight
    bias = normal(rng, 9) if intercept else np.zeros(9, np.float32)
    h = Transformation(card(6, 9, None, "cosine", target), Affine(weight, bias))
    old, queries = normal(rng, 50, 6), normal(rng, 8, 9)
    pushed = h.push(queries)
    rows = np.array([unit(row) for row in old.astype(float)])
    transformed = h.apply(old).astype(float)
    if target == "l2":
        wanted = ((queries[:, None] - transformed) ** 2).sum(-1)
    else:
        wanted = np.array([unit(q) if target == "cosine" else q for q in queries.astype(float)]) @ transformed.T
    indexed = ((pushed.queries[:, None] - rows) ** 2).sum(-1) if pushed.score == "l2" else pushed.queries @ rows.T
    given = pushed.scale * indexed + pushed.offset[:, None]
    close = np.allclose(given, wanted, atol=2e-5, rtol=1e-4)
    expected = {"ip": True, "l2": columns != "free", "cosine": columns != "free" and not intercept}[target]
    assert pushed.exact is expected
    assert close is expected
    assert pushed.reason


def test_distances_are_pushed_exactly_where_the_lengths_are_exact() -> None:
    rng = np.random.default_rng(8)
    weight, bias, old, queries = normal(rng, 9, 6), normal(rng, 9), orthonormal(rng, 6, 6), normal(rng, 8, 9)
    squares = np.square(old @ weight.T + bias).sum(axis=1) - 0.7 * np.square(old).sum(axis=1) - 0.3
    slope = np.linalg.solve(2 * old.astype(float), squares).astype(np.float32)  # of as many rows as dimensions
    h = Transformation(card(6, 9, None, "l2", "l2"), Affine(weight, bias, None, Lengths(slope, 0.7, 0.3, 0.0)))
    pushed = h.push(queries)
    given = pushed.scale * np.square(pushed.queries[:, None] - old).sum(-1) + pushed.offset[:, None]
    np.testing.assert_allclose(given, np.square(queries[:, None] - h.apply(old)).sum(-1), rtol=1e-3, atol=1e-3)
    assert not pushed.exact


def test_far_query_that_is_pushed_stays_within_what_an_index_takes_and_keeps_its_direction() -> None:
    rng = np.random.default_rng(0)
    affine = Affine(1e-3 * orthonormal(rng, 6, 6), normal(rng, 6))
    queries = 9e17 * orthonormal(rng, 6, 6)
    pushed = Transformation(card(6, 6, None, "l2", "l2"), affine).push(queries)
    assert (np.linalg.norm(pushed.queries.astype(np.float64), axis=1) <= 1e18).all()
    assert np.isfinite(pushed.offset).all()
    back = queries @ affine.weight
    cosine = (pushed.queries * back).sum(axis=1) / np.linalg.norm(pushed.queries, axis=1) / np.linalg.norm(back, axis=1)
    assert cosine == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("level", [-0.3, 0.0, 0.2, 0.6])
def test_cosines_are_pushed_to_the_right_side_of_the_level_where_the_lengths_are_exact(level: float) -> None:
    rng = np.random.default_rng(9)
    weight, bias, old, queries = normal(rng, 9, 6), normal(rng, 9), normal(rng, 6, 6), normal(rng, 40, 9)
    norms = np.linalg.norm(old @ weight.T + bias, axis=1)
    slope = np.linalg.solve(old.astype(float), norms - 0.5).astype(np.float32)
    lengths = Lengths(slope, float(norms.mean()), 0.5, level)
    h = Transformation(card(6, 9, None, "l2", "cosine"), Affine(weight, bias, None, lengths))
    pushed = h.push(queries)
    given = pushed.queries @ old.T + pushed.offset[:, None]
    wanted = np.array([unit(q) for q in queries]) @ h.apply(old).T
    far = np.abs(wanted - level) > 1e-4
    np.testing.assert_array_equal((given > level)[far], (wanted > level)[far])


@pytest.mark.parametrize("source", ["l2", "ip"])
def test_cosine_push_from_rows_of_any_length_is_not_called_exact(source: Distance) -> None:
    h = Transformation(card(4, 4, None, source, "cosine"), Affine(np.eye(4, dtype=np.float32), np.zeros(4, np.float32)))
    assert not h.push(np.ones((1, 4), np.float32)).exact


def test_fewer_new_dimensions_than_old_are_never_exact_but_for_the_inner_product() -> None:
    weight = orthonormal(np.random.default_rng(6), 6, 4).T.copy()
    exact = {
        target: Transformation(card(6, 4, None, "cosine", target), Affine(weight, np.zeros(4, np.float32)))
        .push(np.ones((1, 4), np.float32))
        .exact
        for target in ("cosine", "l2", "ip")
    }
    assert exact == {"cosine": False, "l2": False, "ip": True}


def test_network_kernel_and_side_information_cannot_be_pushed() -> None:
    weight, bias = np.ones((4, 5), np.float32), np.ones(4, np.float32)
    with_side = Transformation(card(5, 4, 2), Affine(weight, bias, np.ones((4, 2), np.float32)))
    network = Transformation(card(5, 4), None, Network((), (), (Dense(weight, bias),)))
    bent = Kernel(np.ones((3, 5), np.float32), np.ones((3, 4), np.float32), np.ones(2, np.float32))
    for h in (with_side, network, Transformation(card(5, 4), Affine(weight, bias), kernel=bent)):
        assert not h.pushable
        with pytest.raises(NotPushable):
            h.push(np.ones((1, 4), np.float32))


def test_weights_that_do_not_fit_the_card_are_refused() -> None:
    weight, bias = np.ones((4, 5), np.float32), np.ones(4, np.float32)
    wrong = [
        Affine(weight.T.copy(), bias),
        Affine(weight.astype(np.float64), bias),
        Affine(weight * np.float32(np.inf), bias),
        Affine(weight, bias, np.ones((4, 2), np.float32)),
    ]
    for affine in wrong:
        with pytest.raises(ValueError, match="weights"):
            Transformation(card(5, 4), affine)
    with pytest.raises(ValueError, match="needs"):
        Transformation(card(5, 4), None)


def test_kernels_that_do_not_fit_the_card_are_refused() -> None:
    scales = np.ones(2, np.float32)
    shapes = [
        ((3, 6), (3, 4), scales),
        ((3, 5), (2, 4), scales),
        ((3, 5), (3, 5), scales),
        ((3, 5), (3, 4), scales[:1]),
    ]
    for centres, coefficients, given in shapes:
        kernel = Kernel(np.ones(centres, np.float32), np.ones(coefficients, np.float32), given)
        with pytest.raises(ValueError, match="weights are"):
            Transformation(card(5, 4), None, kernel=kernel)


@pytest.mark.parametrize(("old_scale", "new_scale"), [(1.0, 1e15), (1e-20, 1.0), (1.0, 1e-15), (1e15, 1e-3)])
@pytest.mark.parametrize("target", ["ip", "cosine"])
def test_pushed_queries_stay_within_what_an_index_takes_whatever_the_sizes_of_the_spaces(
    target: Distance, old_scale: float, new_scale: float
) -> None:
    rng = np.random.default_rng(0)
    weight = (rng.standard_normal((6, 4)) * new_scale / old_scale).astype(np.float32)
    h = Transformation(
        Card("orthogonal", Space("a", 4, "ip"), Space("b", 6, target), None, 9, {}, {}, "2026-01-01T00:00:00Z"),
        Affine(weight, np.zeros(6, np.float32)),
    )
    old = (old_scale * rng.standard_normal((50, 4))).astype(np.float32)
    queries = (new_scale * rng.standard_normal((5, 6))).astype(np.float32)
    pushed = h.push(queries)
    lengths = np.linalg.norm(pushed.queries.astype(np.float64), axis=1)
    assert (lengths < 1e18).all()
    scores = pushed.scale * (pushed.queries.astype(np.float64) @ old.T.astype(np.float64)) + pushed.offset[:, None]
    truth = queries.astype(np.float64) @ (weight.astype(np.float64) @ old.T)
    if target == "ip":
        np.testing.assert_allclose(scores, truth, rtol=1e-4, atol=1e-4 * np.abs(truth).max())
    else:
        assert np.array_equal(scores.argmax(axis=1), truth.argmax(axis=1))
