from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from models.compatible_training.instance_weights import CLAMP, InstanceWeightSettings, RowWeights, suspects

CPU = torch.device("cpu")


def drawn(seed: int = 0, rows: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    """Losses (4, 2) of four of the rows, which are used, and the rows."""
    random = torch.Generator().manual_seed(seed)
    losses = 3 * torch.rand(4, 2, generator=random)
    used = torch.tensor([[True, True], [True, False], [True, True], [True, False]])
    return losses, used, torch.randperm(rows, generator=random)[:4]


def stepped_weights(settings: InstanceWeightSettings, steps: int = 3) -> RowWeights:
    weights = RowWeights(6, settings, CPU)
    for seed in range(steps):
        losses, used, rows = drawn(seed)
        weights.step(rows, weights.gradients(losses, used, rows))
    return weights


def weight(weights: RowWeights, used: Tensor, rows: Tensor) -> np.ndarray:
    """w (4, 2): exp(−s), by loops over the rows that use a term divided by its mean there."""
    expected = np.zeros((4, 2))
    for t in range(2):
        own = [i for i in range(4) if used[i, t]]
        raw = {i: float(np.exp(-weights.values[int(rows[i]), t])) for i in own}
        for i in own:
            expected[i, t] = raw[i] / (sum(raw.values()) / len(own))
    return expected


def test_weigh_equals_loops() -> None:
    weights = stepped_weights(InstanceWeightSettings())
    losses, used, rows = drawn(9)
    expected = (weight(weights, used, rows) * losses.numpy()).sum() / 4
    assert float(weights.weigh(losses, used, rows)) == pytest.approx(expected, rel=1e-6)


def test_parts_of_a_batch_weigh_as_the_whole() -> None:
    weights = stepped_weights(InstanceWeightSettings())
    losses, used, rows = drawn(9)
    parts = [slice(0, 1), slice(1, 4)]
    totals = torch.stack([weights.totals(used[part], rows[part]) for part in parts]).sum(0)
    weighed = [float(weights.weigh(losses[part], used[part], rows[part], totals)) for part in parts]
    assert (weighed[0] + 3 * weighed[1]) / 4 == pytest.approx(float(weights.weigh(losses, used, rows)), rel=1e-6)


def test_weights_of_a_term_are_one_on_average_however_far_s_has_gone() -> None:
    weights = RowWeights(4, InstanceWeightSettings(), CPU)
    weights.load_state({"values": torch.full((4, 2), -CLAMP), "momentum": torch.zeros(4, 2)})
    losses, used, _ = drawn(0)
    plain = torch.where(used, losses, 0.0).sum(1).mean()
    assert float(weights.weigh(losses, used, torch.arange(4))) == pytest.approx(float(plain), rel=1e-6)


def test_gradients_equal_autograd_on_the_whole_loss() -> None:
    weights = stepped_weights(InstanceWeightSettings())
    losses, used, rows = drawn(9)
    s = torch.from_numpy(weights.values).double().requires_grad_()
    terms = used * (torch.exp(-s[rows]) * losses.double() + s[rows])
    (expected,) = torch.autograd.grad(terms.sum(), s)  # of the rows' own terms, not divided by the batch
    assert weights.gradients(losses, used, rows).numpy() == pytest.approx(expected[rows].numpy(), abs=1e-6)


def test_step_equals_momentum_sgd_with_decay_on_rows_visited() -> None:
    settings = InstanceWeightSettings(learning_rate=0.05, momentum=0.8, weight_decay=0.1)
    weights = RowWeights(6, settings, CPU)
    s, momentum = np.zeros((6, 2)), np.zeros((6, 2))
    for seed in range(5):
        losses, used, rows = drawn(seed)
        weights.step(rows, weights.gradients(losses, used, rows))
        for i, row in enumerate(rows.tolist()):
            for t in range(2):
                gradient = float(used[i, t]) * (1 - np.exp(-s[row, t]) * float(losses[i, t])) + 0.1 * s[row, t]
                momentum[row, t] = 0.8 * momentum[row, t] + gradient
                s[row, t] -= 0.05 * momentum[row, t]
    assert weights.values == pytest.approx(s, abs=1e-6)


def test_network_gradient_is_that_of_the_weighed_losses_and_leaves_s_alone() -> None:
    weights = stepped_weights(InstanceWeightSettings())
    before = weights.values
    losses, used, rows = drawn(9)
    losses.requires_grad_()
    (gradient,) = torch.autograd.grad(weights.weigh(losses, used, rows), losses)
    assert gradient.numpy() == pytest.approx(weight(weights, used, rows) / 4, rel=1e-6)
    assert np.array_equal(weights.values, before)


def test_rows_not_visited_do_not_move() -> None:
    weights = stepped_weights(InstanceWeightSettings())
    before, momentum = weights.values, weights.state()["momentum"].clone()
    losses, used, rows = drawn(1)
    weights.step(rows, weights.gradients(losses, used, rows))
    others = np.setdiff1d(np.arange(6), rows.numpy())
    assert np.array_equal(weights.values[others], before[others])
    assert torch.equal(weights.state()["momentum"][others], momentum[others])
    assert not np.array_equal(weights.values[rows.numpy()], before[rows.numpy()])


def test_term_that_is_not_used_neither_counts_nor_moves() -> None:
    weights = RowWeights(1, InstanceWeightSettings(), CPU)
    losses, used, row = torch.tensor([[2.0, torch.nan]]), torch.tensor([[True, False]]), torch.tensor([0])
    assert float(weights.weigh(losses, used, row)) == 2
    weights.step(row, weights.gradients(losses, used, row))
    assert weights.values[0, 0] > 0 == weights.values[0, 1]


def test_unused_term_that_is_not_a_number_leaves_the_network_a_gradient() -> None:
    weights = RowWeights(1, InstanceWeightSettings(), CPU)
    losses = torch.tensor([[2.0, torch.inf]], requires_grad=True)
    weights.weigh(losses, torch.tensor([[True, False]]), torch.tensor([0])).backward()  # type: ignore[no-untyped-call]
    assert losses.grad is not None
    assert losses.grad.tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize(("loss", "limit"), [(1e6, CLAMP), (0.0, -CLAMP)])
def test_s_is_clamped(loss: float, limit: float) -> None:
    weights = RowWeights(1, InstanceWeightSettings(), CPU)
    for _ in range(50):
        row = torch.tensor([0])
        losses, used = torch.full((1, 2), loss), torch.ones(1, 2, dtype=torch.bool)
        weights.step(row, weights.gradients(losses, used, row))
    assert weights.values == pytest.approx(np.full((1, 2), limit))


def test_s_settles_where_the_weighed_loss_is_one() -> None:
    weights = RowWeights(2, InstanceWeightSettings(learning_rate=0.05, weight_decay=0), CPU)
    losses, used = torch.tensor([[0.5, 1.0], [2.0, 4.0]]), torch.ones(2, 2, dtype=torch.bool)
    for _ in range(400):
        weights.step(torch.arange(2), weights.gradients(losses, used, torch.arange(2)))
    assert weights.values == pytest.approx(np.log(losses.numpy()), abs=1e-3)


def test_how_far_a_row_moves_does_not_depend_on_the_batch() -> None:
    alone, among = (RowWeights(6, InstanceWeightSettings(), CPU) for _ in range(2))
    losses, used, rows = drawn(0)
    among.step(rows, among.gradients(losses, used, rows))
    alone.step(rows[:1], alone.gradients(losses[:1], used[:1], rows[:1]))
    assert np.array_equal(alone.values[rows[0]], among.values[rows[0]])


def test_checkpoint_goes_on_bit_for_bit() -> None:
    kept = stepped_weights(InstanceWeightSettings())
    restored = RowWeights(6, InstanceWeightSettings(), CPU)
    restored.load_state({name: value.clone() for name, value in kept.state().items()})
    for weights in (kept, restored):
        losses, used, rows = drawn(5)
        weights.step(rows, weights.gradients(losses, used, rows))
    assert np.array_equal(kept.values, restored.values)
    assert torch.equal(kept.state()["momentum"], restored.state()["momentum"])


def test_suspects_are_high_on_both_terms_and_poor_rows_on_the_second_alone() -> None:
    values = np.zeros((100, 2), np.float32)
    values[0], values[1], values[2] = (2, 2), (0, 2), (2, 0)
    suspected = suspects(values)
    assert np.flatnonzero(suspected.is_suspect).tolist() == [0]
    assert np.flatnonzero(suspected.is_poor).tolist() == [1]
    assert suspected.suspect_label.argmax() == 0
    assert suspected.old_model_poor.argmax() == 1


def test_row_unlike_its_class_for_the_old_model_is_the_more_suspect() -> None:
    values, outlier = np.zeros((4, 2), np.float32), np.array([1, 0.2, 1.5, np.nan], np.float32)
    suspected = suspects(values, outlier)
    assert suspected.suspect_label[1] > suspected.suspect_label[0] > suspected.suspect_label[2]
    assert suspected.suspect_label[3] == suspected.suspect_label[0]
    assert suspected.is_suspect.tolist() == [False, True, False, False]
    assert not suspected.old_model_poor.any()


@pytest.mark.parametrize(
    "wrong",
    [
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"momentum": 1.0},
        {"momentum": -0.1},
        {"weight_decay": -1.0},
        {"weight_decay": float("nan")},
        {"warm_up": -1},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="learning_rate"):
        InstanceWeightSettings(**wrong)  # type: ignore[arg-type]


def test_wrong_labels_separate_within_eight_epochs() -> None:
    """Digits, 40 % of the labels drawn anew; the second term: a classifier fitted on other features of the rows."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    data, target = load_digits(return_X_y=True)
    pixels = torch.from_numpy(data.astype(np.float32) / 16)
    labels = np.where(rng.random(len(target)) < 0.4, rng.integers(10, size=len(target)), target)
    wrong = labels != target
    y = torch.from_numpy(labels)
    side = pixels @ torch.randn(64, 12)
    means = torch.stack([side[y == code].mean(0) for code in range(10)])
    settings = InstanceWeightSettings()
    weights = RowWeights(len(y), settings, CPU)
    network = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10 + 12))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    cross_entropy = nn.CrossEntropyLoss(reduction="none")
    for epoch in range(8):
        for rows in torch.randperm(len(y)).tensor_split(28):
            out = network(pixels[rows])
            similar = nn.functional.normalize(out[:, 10:]) @ nn.functional.normalize(means).T
            losses = torch.stack([cross_entropy(out[:, :10], y[rows]), cross_entropy(8 * similar, y[rows])], 1)
            used = torch.ones_like(losses, dtype=torch.bool)
            optimizer.zero_grad()
            weights.weigh(losses, used, rows).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if epoch >= settings.warm_up:
                weights.step(rows, weights.gradients(losses, used, rows))
    assert roc_auc_score(wrong, weights.values[:, 0]) > 0.9
    assert roc_auc_score(wrong, suspects(weights.values).suspect_label) > 0.9
