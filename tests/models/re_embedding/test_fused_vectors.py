"""Joined vectors rank as the fused score does, whatever part of the items has its real vector."""

from __future__ import annotations

import numpy as np
import pytest

from models.portable import Alphas, Card, Distance, Fusion, Moments, Space
from models.re_embedding.fused_vectors import JoinedVectors
from tests.similarity import similarity


@pytest.mark.parametrize(("source", "target"), [("cosine", "l2"), ("l2", "ip"), ("ip", "cosine")])
def test_inner_products_of_joined_vectors_differ_from_fused_scores_by_a_constant(
    source: Distance, target: Distance
) -> None:
    rng = np.random.default_rng(0)
    old, crossed, real = (rng.standard_normal((30, d)).astype(np.float32) + 1 for d in (5, 4, 4))
    q_old, q_new = (rng.standard_normal((6, d)).astype(np.float32) for d in (5, 4))
    card = Card("fused", Space("old", 5, source), Space("new", 4, target), None, 9, {}, {}, "2026-01-01T00:00:00Z")
    moments = Moments.of(old, source), Moments.of(crossed, target)
    fusion = Fusion(card, *moments, Alphas(0.3, 0.3))
    joined = JoinedVectors(card.source, card.target, *moments, 0.3)
    new = np.where(np.arange(30)[:, None] % 3 == 0, real, crossed)
    scores = fusion.scores(q_old, q_new, similarity(q_old, old, source), similarity(q_new, new, target))
    products = joined.queries(q_old, q_new).astype(float) @ joined.items(old, new).T
    constant = products - scores
    np.testing.assert_allclose(constant, constant[:, :1].repeat(30, axis=1), atol=1e-4)
