import numpy as np
import torch
from torch.nn.functional import cross_entropy, normalize

from models.compatible_training.objective import Influence, Regression, mean_loss, row_losses
from models.compatible_training.pseudo_classifier import PseudoClassifier

COLUMNS = np.array([[1, 0], [0, 1], [0, 0]], np.float32)
PSEUDO = PseudoClassifier("averaged", COLUMNS, np.zeros(3, np.float32), np.array([True, True, False]))


def test_influence_sees_the_first_coordinates_alone() -> None:
    features = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    codes = torch.tensor([0, 1, 0, 1, 0, 1])
    tie = Influence(PSEUDO, "l2")
    expected = cross_entropy(features[:, :2] @ torch.from_numpy(COLUMNS[:2]).T, codes, reduction="none")
    assert torch.allclose(tie(features, codes, torch.zeros(6, 2)), expected)
    changed = torch.cat([features[:, :2], 100 * features[:, 2:]], 1)
    assert torch.equal(tie(changed, codes, torch.zeros(6, 2)), tie(features, codes, torch.zeros(6, 2)))


def test_under_cosine_the_old_side_counts_by_its_direction() -> None:
    features, codes = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 1, 0])
    tie = Influence(PSEUDO, "cosine")
    assert torch.allclose(tie(features, codes, torch.zeros(4, 2)), tie(7 * features, codes, torch.zeros(4, 2)))


def test_a_class_without_a_column_neither_counts_nor_competes() -> None:
    features = torch.randn(3, 4, requires_grad=True, generator=torch.Generator().manual_seed(0))
    codes, old = torch.tensor([0, 2, 1]), torch.zeros(3, 2)
    losses, used = row_losses(features, torch.zeros(3, 3), codes, old, Influence(PSEUDO, "l2"), 1.0)
    assert used.tolist() == [[True, True], [True, False], [True, True]]
    mean_loss(losses, used).backward()  # type: ignore[no-untyped-call]
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()
    assert torch.equal(features.grad[1], torch.zeros(4))


def test_the_influence_weight_multiplies_its_term() -> None:
    features, codes, old = torch.randn(4, 4), torch.tensor([0, 1, 1, 0]), torch.zeros(4, 2)
    once, _ = row_losses(features, torch.zeros(4, 3), codes, old, Influence(PSEUDO, "l2"), 1.0)
    thrice, _ = row_losses(features, torch.zeros(4, 3), codes, old, Influence(PSEUDO, "l2"), 3.0)
    assert torch.allclose(thrice, once * torch.tensor([1.0, 3.0]))


def test_regression_is_least_where_the_old_vector_is() -> None:
    old = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    features = torch.cat([old, torch.randn(3, 2)], 1)
    for metric in ("l2", "cosine"):
        tie = Regression(metric)
        assert torch.allclose(tie(features, torch.zeros(3), old), torch.zeros(3), atol=1e-6)
        assert (tie(features + 1, torch.zeros(3), old) > 0).all()
    assert torch.allclose(Regression("cosine")(5 * features, torch.zeros(3), normalize(old)), torch.zeros(3), atol=1e-6)
