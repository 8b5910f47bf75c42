"""Labels say which rows are to be found together, to linear methods and to networks."""

import numpy as np
import pytest
import torch

from models.device import resolve
from models.portable import Space
from models.transformations.labels import (
    CONTRASTIVE_TEMPERATURE,
    SHARE,
    WEIGHT,
    codes_of,
    has_repeated_label,
    supervised_contrastive,
    towards_class_means,
)
from models.transformations.methods import METHODS, MethodName, Recipe, learn
from models.transformations.pairs import Pairs
from models.transformations.selection import select
from tests.models.transformations.test_selection import SOURCE, TARGET, hits, world

CPU = resolve("cpu")
LEARNERS: tuple[MethodName, ...] = tuple(method for method in METHODS if method != "orthogonal")


def rows(*labels: object) -> Pairs:
    rng = np.random.default_rng(0)
    old, new = (rng.standard_normal((len(labels), 3)).astype(np.float32) for _ in range(2))
    return Pairs(old, new, None, np.array(labels, object))


def test_codes_number_labels_in_order_of_appearance_and_leave_none_out() -> None:
    assert codes_of(rows("b", None, "a", "b")).tolist() == [0, -1, 1, 0]
    assert codes_of(Pairs(rows("a").old, rows("a").new)).tolist() == [-1]


@pytest.mark.parametrize(("labels", "told"), [(("a", "b"), False), (("a", "b", "a"), True), ((None, None), False)])
def test_labels_that_no_two_rows_share_teach_nothing(labels: tuple[object, ...], told: bool) -> None:
    assert has_repeated_label(rows(*labels)) is told


def test_new_vectors_move_towards_the_mean_of_their_label() -> None:
    pairs, target = rows("a", "b", "a", None), Space("new", 3, "l2")
    mean = (pairs.new[0] + pairs.new[2]) / 2
    np.testing.assert_allclose(towards_class_means(pairs, target, 1.0).new[[0, 2]], [mean, mean], atol=1e-6)
    halfway = towards_class_means(pairs, target, 0.5).new
    np.testing.assert_allclose(halfway[0], (pairs.new[0] + mean) / 2, atol=1e-6)
    np.testing.assert_allclose(halfway[[1, 3]], pairs.new[[1, 3]], atol=1e-6)


def test_under_cosine_rows_count_alike_whatever_their_length() -> None:
    pairs = rows("a", "a")
    longer = Pairs(pairs.old, pairs.new * np.array([[100], [1]], np.float32), None, pairs.label)
    targets, again = (towards_class_means(p, Space("new", 3, "cosine"), 0.5).new for p in (pairs, longer))
    np.testing.assert_allclose(targets, again, atol=1e-6)


def test_contrastive_loss_is_the_formula() -> None:
    rng = np.random.default_rng(1)
    outputs, targets = (rng.standard_normal((6, 4)) for _ in range(2))
    codes = np.array([0, 1, 0, -1, 1, 2])
    logits = -np.square(targets[:, None] - outputs[None]).mean(2) / CONTRASTIVE_TEMPERATURE
    total = 0.0
    for i in range(6):
        others = [j for j in range(6) if j != i]
        mates = [j for j in others if codes[i] >= 0 and codes[j] == codes[i]]
        for j in mates:
            total -= (logits[i, j] - np.log(np.exp(logits[i, others]).sum())) / len(mates)
    loss = supervised_contrastive(*(torch.from_numpy(part) for part in (outputs, targets, codes)))
    assert float(loss) == pytest.approx(total / 6)


def test_a_batch_in_which_nothing_shares_a_label_teaches_nothing_and_breaks_nothing() -> None:
    outputs = torch.ones(1, 2, requires_grad=True)
    loss = supervised_contrastive(outputs, torch.zeros(1, 2), torch.tensor([0]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == 0
    assert outputs.grad is not None
    assert float(outputs.grad.abs().sum()) == 0


@pytest.mark.parametrize("method", LEARNERS)
def test_every_learner_counts_labels_and_says_so_on_its_card(method: MethodName) -> None:
    pairs, settings = world(120), {"epochs": 3} if method in ("fct", "residual_mlp") else {}
    plain, told = Recipe(method, False, settings), Recipe(method, False, settings).with_labels()
    one, other = (learn(recipe, pairs, SOURCE, TARGET, device=CPU) for recipe in (plain, told))
    assert not plain.uses_labels
    assert told.name == f"{method} + labels"
    assert other.card.settings["labels"] == (WEIGHT if method in ("fct", "residual_mlp") else SHARE)
    assert not np.array_equal(one.apply(pairs.old), other.apply(pairs.old))
    again = learn(Recipe(method, False, other.card.settings), pairs, SOURCE, TARGET, device=CPU)
    np.testing.assert_array_equal(again.apply(pairs.old), other.apply(pairs.old))


def test_labels_help_few_pairs_of_new_vectors_that_vary_within_their_class() -> None:
    plan = np.random.default_rng(0)
    to_old, to_new = plan.standard_normal((10, 16)), plan.standard_normal((10, 24))

    def noisy(count: int, seed: int) -> Pairs:
        rng = np.random.default_rng(seed)
        label = rng.integers(20, size=count)
        centres = np.random.default_rng(7).standard_normal((20, 10))[label]
        old, new = (
            (centres @ to + noise * rng.standard_normal((count, to.shape[1]))).astype(np.float32)
            for to, noise in ((to_old, 1.0), (to_new, 2.5))
        )
        return Pairs(old, new, None, label)

    pairs, gallery, queries = noisy(150, 0), noisy(600, 1), noisy(800, 2)
    plain, told = (
        learn(recipe, pairs, SOURCE, TARGET, device=CPU) for recipe in (Recipe("ridge"), Recipe("ridge").with_labels())
    )
    assert hits(told, gallery, queries) > hits(plain, gallery, queries) + 0.02


def test_candidates_leave_labels_aside_where_told_to() -> None:
    names = {c.name for c in select(world(60), SOURCE, TARGET, method="ridge", device="cpu").candidates}
    assert "ridge + labels" in names
    without = select(world(60), SOURCE, TARGET, method="ridge", labels=False, device="cpu")
    assert not any("labels" in c.name for c in without.candidates)
    assert "labels" not in without.chosen.card.settings
