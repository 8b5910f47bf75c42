"""Networks: exported as trained, deterministic, and able to learn what no linear map can."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from models.device import resolve
from models.portable import Array, Distance, Space, Transformation, load_transformation, save_transformation
from models.transformations.fct import fct
from models.transformations.linear import ridge
from models.transformations.networks import BranchedNetwork
from models.transformations.pairs import Pairs
from models.transformations.residual_mlp import residual_mlp

CPU = torch.device("cpu")


def spaces(old: int, new: int, metric: Distance = "l2") -> tuple[Space, Space]:
    return Space("a", old, metric), Space("b", new, metric)


def curved(rows: int, old: int = 6, new: int = 5, side: int = 0, seed: int = 0) -> Pairs:
    """New vectors that are half linear, half |linear| in the old ones and the side-information."""
    plan = np.random.default_rng(99)
    into = plan.standard_normal((old + side, new)), plan.standard_normal((old + side, new))
    x = np.random.default_rng(seed).standard_normal((rows, old + side)).astype(np.float32)
    y = (x @ into[0] + 2 * np.abs(x @ into[1])).astype(np.float32)
    return Pairs(x[:, :old], y, x[:, old:] if side else None)


def error(h: Transformation, pairs: Pairs) -> float:
    return float(np.square(h.apply(pairs.old, pairs.side) - pairs.new).mean())


@pytest.mark.parametrize("side", [(), (3,), (3, 7, 8)])
@pytest.mark.parametrize("old", [(6,), (6, 12, 10)])
def test_exported_network_equals_torch_in_evaluation_mode(old: tuple[int, ...], side: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    network = BranchedNetwork(old, side, (16, 9, 5))
    x, s = 3 * torch.randn(64, 6) + 1, torch.randn(64, 3) if side else None
    for _ in range(20):  # moves the statistics and the affine part of BatchNorm away from their beginnings
        network(x, s).square().mean().backward()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    shift = np.arange(5, dtype=np.float32)
    with torch.no_grad():
        wanted = 2.5 * network.eval()(0.5 * x - 3.0, None if s is None else 4.0 * s + 1.0).numpy() + shift
    beside: Array | None = None if s is None else s.numpy()
    columns = np.array([0.5] * 6 + [4.0] * 3, np.float32)
    origin = np.array([3.0] * 6 + [-1.0] * 3, np.float32)
    width = 9 if side else 6
    given = network.exported(columns[:width], origin[:width], 2.5, shift)(x.numpy(), beside)
    np.testing.assert_allclose(given, wanted, atol=1e-4, rtol=1e-4)


def test_side_branch_reads_the_old_vectors_where_there_is_no_side_information() -> None:
    torch.manual_seed(0)
    network, x = BranchedNetwork((6, 8), (6, 7), (9, 5)), torch.randn(10, 6)
    with torch.no_grad():
        wanted = network.eval()(x, x).numpy()
    columns, origin = np.ones(6, np.float32), np.zeros(6, np.float32)
    given = network.exported(columns, origin, 1.0, np.zeros(5, np.float32))(x.numpy(), None)
    np.testing.assert_allclose(given, wanted, atol=1e-5)


@pytest.mark.parametrize("side", [0, 3])
def test_networks_learn_what_ridge_cannot(side: int) -> None:
    pairs, others, (source, target) = curved(1500, side=side), curved(500, side=side, seed=1), spaces(6, 5)
    linear = error(ridge(pairs, source, target), others)
    assert error(residual_mlp(pairs, source, target, width=256, device=CPU), others) < 0.7 * linear
    assert error(fct(pairs, source, target, width=128, epochs=40, device=CPU), others) < 0.7 * linear


def test_residual_mlp_stays_near_ridge_where_there_is_nothing_to_correct() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 20)).astype(np.float32)
    y = x @ rng.standard_normal((20, 10)).astype(np.float32) + rng.standard_normal((300, 10)).astype(np.float32)
    pairs, others = Pairs(x[:200], y[:200]), Pairs(x[200:], y[200:])
    source, target = spaces(20, 10)
    linear = error(ridge(pairs, source, target), others)
    assert error(residual_mlp(pairs, source, target, device=CPU), others) < 1.1 * linear


@pytest.mark.parametrize("method", [fct, residual_mlp])
def test_same_seed_same_network_other_seed_another(method: Callable[..., Transformation]) -> None:
    pairs, (source, target) = curved(200, side=2), spaces(6, 5)
    first, again, other = (
        method(pairs, source, target, width=32, epochs=4, device=CPU, seed=seed).apply(pairs.old, pairs.side)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_training_leaves_the_global_random_state_and_precision_as_they_were() -> None:
    pairs, (source, target) = curved(50), spaces(6, 5)
    torch.manual_seed(7)
    wanted = torch.randn(3)
    torch.manual_seed(7)
    fct(pairs, source, target, width=16, epochs=2, device=CPU)
    assert torch.equal(torch.randn(3), wanted)
    assert torch.get_float32_matmul_precision() == "highest"


def test_progress_counts_epochs_to_the_end() -> None:
    pairs, (source, target) = curved(60), spaces(6, 5)
    seen: list[tuple[int, int]] = []
    fct(pairs, source, target, width=16, epochs=3, device=CPU, progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (1, 3)
    assert seen[-1] == (3, 3)


def test_trained_network_survives_the_disk(tmp_path: Path) -> None:
    pairs, (source, target) = curved(60, side=2), spaces(6, 5, "cosine")
    h = fct(pairs, source, target, width=16, epochs=2, device=CPU)
    save_transformation(h, tmp_path)
    back = load_transformation(tmp_path, source=source, target=target)
    np.testing.assert_array_equal(back.apply(pairs.old, pairs.side), h.apply(pairs.old, pairs.side))
    assert not back.linear


@pytest.mark.parametrize("rows", [4, 5, 33])
def test_few_pairs_train_and_too_few_are_refused(rows: int) -> None:
    source, target = spaces(6, 5)
    for method in (fct, residual_mlp):
        assert np.isfinite(
            method(curved(rows), source, target, width=8, epochs=2, device=CPU).apply(curved(3).old)
        ).all()
        with pytest.raises(ValueError, match="at least 4 pairs"):
            method(curved(3), source, target, width=8, epochs=2, device=CPU)


def test_device_is_resolved_or_refused() -> None:
    assert resolve("cpu") == CPU
    assert resolve("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no CUDA device"):
            resolve("cuda")
