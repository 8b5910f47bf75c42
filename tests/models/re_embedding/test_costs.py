"""What a way on costs, and what cannot be known of it."""

import pytest

from models.re_embedding.costs import ReEmbeddingWork, UnitCosts, cost_of

UNITS = UnitCosts(embedding_seconds=0.1, embedding_price=0.002, compute_price=3.6, storage_price=10.0)


def test_doing_nothing_costs_nothing_whatever_is_unknown() -> None:
    cost = cost_of(ReEmbeddingWork(0, 0, 0), 384, 1e-6, UnitCosts())
    assert (cost.bytes_written, cost.compute_seconds, cost.price, cost.unknown) == (0, 0.0, 0.0, ())


def test_re_embedding_costs_time_money_and_a_third_copy() -> None:
    cost = cost_of(ReEmbeddingWork(1000, 0, 1000), 100, 1e-6, UNITS)
    assert cost.items_to_re_embed == 1000
    assert cost.bytes_written == 1000 * (3 * 400 + 17)
    assert cost.compute_seconds == pytest.approx(100.0)
    assert cost.price == pytest.approx(2.0 + 0.1 + 1.217e-2)


def test_transforming_needs_no_unit_cost_but_those_of_computing_and_storing() -> None:
    cost = cost_of(ReEmbeddingWork(0, 2000, 2000), 100, 1e-3, UnitCosts(compute_price=3.6, storage_price=0.0))
    assert cost.compute_seconds == pytest.approx(2.0)
    assert cost.price == pytest.approx(2e-3)
    assert cost.unknown == ()


def test_what_rests_on_an_unknown_is_not_made_up() -> None:
    cost = cost_of(ReEmbeddingWork(10, 90, 100), 100, 1e-3, UnitCosts(compute_price=1.0))
    assert cost.compute_seconds is None
    assert cost.price is None
    assert set(cost.unknown) == {"embedding_seconds", "embedding_price", "storage_price"}
