"""What is pushed into queries learns from a log of queries where held-out queries say that it helps, and only there."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from models.portable import Space
from models.transformations.methods import Recipe, learn, method_named
from models.transformations.pairs import Pairs, Refit
from models.transformations.query_pairs import FEWEST_QUERIES, items_and_queries, try_query_pairs

OLD, NEW = 24, 20
SOURCE, TARGET = Space("old", OLD, "cosine"), Space("new", NEW, "cosine")


def refit() -> Refit:
    device = torch.device("cpu")
    return partial(learn, Recipe(method_named("ridge")), source=SOURCE, target=TARGET, device=device, seed=0)


def rows(many: int, seed: int, noise: float = 0.1) -> Pairs:
    """Rows of one world, whose new vectors a linear map makes of the old ones, but for noise."""
    to_new = np.random.default_rng(0).standard_normal((OLD, NEW))
    rng = np.random.default_rng(seed)
    old = rng.standard_normal((many, OLD))
    new = old @ to_new + noise * np.sqrt(OLD) * rng.standard_normal((many, NEW))
    return Pairs(old.astype(np.float32), new.astype(np.float32), None, np.arange(many) % 5)


def test_many_queries_beside_few_items_help_and_are_learned_from() -> None:
    items, queries = rows(60, seed=1), rows(400, seed=2)
    tried = try_query_pairs(items, Pairs(queries.old, queries.new), refit())
    assert tried is not None
    assert tried.helps
    assert tried.queries == 400
    assert tried.gain.low > 0
    assert tried.beside.mean > tried.without.mean


def test_queries_that_cross_otherwise_than_items_are_left_out() -> None:
    items, queries = rows(600, seed=1), rows(60, seed=2)
    unlike = Pairs(queries.old, np.roll(queries.new, 1, axis=1))
    tried = try_query_pairs(items, unlike, refit())
    assert tried is not None
    assert not tried.helps


def test_too_few_queries_or_items_tell_nothing() -> None:
    items, queries = rows(60, seed=1), rows(FEWEST_QUERIES, seed=2)
    assert try_query_pairs(items, queries.subset(np.arange(FEWEST_QUERIES - 1)), refit()) is None
    assert try_query_pairs(items.subset(np.arange(20)), queries, refit()) is None


def test_queries_have_neither_label_nor_side_information() -> None:
    items, queries = rows(3, seed=1), rows(2, seed=2)
    beside = np.ones((3, 4), np.float32)
    both = items_and_queries(Pairs(items.old, items.new, beside, items.label), Pairs(queries.old, queries.new))
    assert both.side is None
    assert both.label is not None
    assert both.label.tolist() == [0, 1, 2, None, None]
    np.testing.assert_array_equal(both.new, np.concatenate([items.new, queries.new]))
