"""Spaces that real models have and textbooks have not: dead, nearly dead, constant, huge, tiny, sparse, of one rank."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.portable import Distance, Space
from models.transformations.pairs import Pairs

CLASSES, PAIRS, QUERIES = 12, 180, 90
OLD, NEW = 10, 14
METRICS: tuple[Distance, ...] = ("cosine", "l2", "ip")


@dataclass(frozen=True)
class DegenerateWorld:
    """Pairs to learn from, which are the gallery as well, and queries of the same classes that nothing was learned
    from."""

    pairs: Pairs
    queries: Pairs
    source: Space
    target: Space


def plain_vectors() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Old (270, 10) and new (270, 14) float64 vectors of 12 classes, and their labels."""
    rng = np.random.default_rng(0)
    label = np.arange(PAIRS + QUERIES) % CLASSES
    hidden = 1.2 * rng.standard_normal((CLASSES, 8))[label] + 0.6 * rng.standard_normal((len(label), 8))
    old, new = (np.tanh(0.3 * hidden @ rng.standard_normal((8, d))) for d in (OLD, NEW))
    return (
        old + 0.3 * rng.standard_normal(old.shape),
        new + 0.1 * rng.standard_normal(new.shape),
        label,
    )


def world_of(old: np.ndarray, new: np.ndarray, source: Distance = "l2", target: Distance = "l2") -> DegenerateWorld:
    """The world of these vectors, (270, d) each, with the labels of `plain_vectors`."""
    label = plain_vectors()[2]
    whole = Pairs(np.asarray(old, np.float32), np.asarray(new, np.float32), None, label)
    rows = np.arange(len(label))
    return DegenerateWorld(
        whole.subset(rows[:PAIRS]),
        whole.subset(rows[PAIRS:]),
        Space("old", old.shape[1], source),
        Space("new", new.shape[1], target),
    )


def with_dead_dimensions(vectors: np.ndarray, scale: float) -> np.ndarray:
    """With three dimensions more, which hold noise of this scale in every vector; 0 for zeros."""
    noise = scale * np.random.default_rng(1).standard_normal((len(vectors), 3))
    return np.concatenate([vectors, noise], axis=1)


def collapsed(vectors: np.ndarray, how: str) -> np.ndarray:
    """Vectors that have lost what tells them apart, in one of the ways of `COLLAPSES`."""
    rng = np.random.default_rng(2)
    match how:
        case "one direction":
            return vectors[:, :1] * rng.standard_normal(vectors.shape[1])
        case "rows thrice":
            return vectors[np.arange(len(vectors)) // 3 * 3]
        case "all the same":
            return np.full_like(vectors, 0.3)
        case "all zero":
            return np.zeros_like(vectors)
        case "sparse":
            return np.where(rng.random(vectors.shape) < 0.85, 0, vectors)
        case "a huge dimension":
            return vectors * np.where(np.arange(vectors.shape[1]) == 0, 1e15, 1)
        case "a huge row":
            return vectors * np.where(np.arange(len(vectors)) == 0, 1e15, 1)[:, None]
        case "narrow":  # every cosine near 1
            return vectors + 100
    raise KeyError(how)


COLLAPSES = (
    "one direction",
    "rows thrice",
    "all the same",
    "all zero",
    "sparse",
    "a huge dimension",
    "a huge row",
    "narrow",
)
