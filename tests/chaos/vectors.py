"""Vectors that say which write they belong to, so that a score tells what was compared with what."""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Model = Literal["old", "new"]

DIMENSION = 12
"""Of both models: only where dimensions agree can spaces be confused without anybody noticing."""

_NOISE = 0.35


@lru_cache(maxsize=1)
def _turn() -> NDArray[np.float64]:
    """The orthogonal map from the old model's space to the new one's, but for the new model's noise."""
    turn: NDArray[np.float64] = np.linalg.qr(np.random.default_rng(5).normal(size=(DIMENSION, DIMENSION)))[0]
    return turn


@lru_cache(maxsize=200_000)
def vector(model: Model, name: str, number: int) -> Floats:
    """What a model makes of an item (or query, or pair) as its write `number` left it: (DIMENSION,) float32."""
    random = np.random.default_rng([zlib.crc32(name.encode()), number])
    old = random.normal(size=DIMENSION)
    if model == "old":
        return old.astype(np.float32)
    return (_turn() @ old + _NOISE * random.normal(size=DIMENSION)).astype(np.float32)


def vectors(model: Model, name: str, numbers: list[int]) -> Floats:
    """The same of several writes of one item: (n, DIMENSION) float32."""
    return np.stack([vector(model, name, number) for number in numbers])


def cosines(query: Floats, rows: Floats) -> NDArray[np.float64]:
    """Cosine of a query (d,) with each row of (n, d), in float64."""
    rows64, query64 = rows.astype(np.float64), query.astype(np.float64)
    lengths = np.linalg.norm(rows64, axis=1) * np.linalg.norm(query64)
    products: NDArray[np.float64] = rows64 @ query64 / lengths
    return products
