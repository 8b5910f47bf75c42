"""Vectors of made-up models: each has directions of its own, in which it varies much or little, and many topics."""

import numpy as np

DIMENSION = 32


def made_model(
    seed: int, rows: int, *, of: int = 0, topic: int | None = None, dimension: int = DIMENSION
) -> np.ndarray:
    """(rows, dimension) float32, unit rows. `seed`: the model; `of`: which texts; `topic`: all of one, of twenty."""
    model, texts = np.random.default_rng(seed), np.random.default_rng([of, 77])
    axes, _ = np.linalg.qr(model.standard_normal((dimension, dimension)))
    spread = np.geomspace(1, 0.05, dimension)
    topics = 0.7 * model.standard_normal((20, dimension)) * spread
    which = texts.integers(20, size=rows) if topic is None else np.full(rows, topic)
    vectors = (topics[which] + texts.standard_normal((rows, dimension)) * spread) @ axes.T
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)
