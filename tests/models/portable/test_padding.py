"""Old vectors, zero-padded, are compared with a compatible model's as the old space compares them."""

import numpy as np
import pytest

from models.portable import Distance, Space, zero_padding
from tests.worlds import Floats

CREATED = "2026-01-01T00:00:00Z"


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
@pytest.mark.parametrize("dimension", [5, 8])
def test_padding_appends_zeros_and_pushes_exactly(metric: Distance, dimension: int) -> None:
    h = zero_padding(Space("old", 5, metric), Space("new", dimension, metric), created_at=CREATED)
    rng = np.random.default_rng(0)
    old = rng.standard_normal((7, 5)).astype(np.float32)
    if metric == "cosine":
        old /= np.linalg.norm(old, axis=1, keepdims=True)
    np.testing.assert_allclose(h.apply(old), np.pad(old, ((0, 0), (0, dimension - 5))), rtol=1e-6)
    queries = rng.standard_normal((3, dimension)).astype(np.float32)
    if metric == "cosine":
        queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    pushed = h.push(queries)
    assert pushed.exact
    scores = pushed.scale * _scores(pushed.score, pushed.queries, old) + pushed.offset[:, None]
    expected = _scores("l2" if metric == "l2" else "ip", queries, h.apply(old))
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-5)
    assert h.card.method == "zero_padding"


def test_a_narrower_model_cannot_be_padded_to() -> None:
    with pytest.raises(ValueError, match="fewer dimensions"):
        zero_padding(Space("old", 5, "l2"), Space("new", 4, "l2"), created_at=CREATED)


def test_spaces_compared_differently_cannot_be_aligned() -> None:
    with pytest.raises(ValueError, match="different ways"):
        zero_padding(Space("old", 5, "l2"), Space("new", 5, "cosine"), created_at=CREATED)


def _scores(score: str, queries: Floats, rows: Floats) -> Floats:
    scores: Floats = queries @ rows.T
    return scores if score == "ip" else np.square(queries[:, None] - rows[None]).sum(axis=2)
