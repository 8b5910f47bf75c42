"""Transformations with made-up weights, for tests of what applies them."""

from __future__ import annotations

import numpy as np

from models.portable import (
    Affine,
    Calibration,
    Card,
    Dense,
    Head,
    Metric,
    Space,
    Transformation,
    Uncertainty,
)


def space(model: str, dimension: int, metric: Metric = "ip") -> Space:
    return Space(model, dimension, metric)


def affine(source: Space, target: Space, side_dimension: int | None = None, seed: int = 0) -> Transformation:
    """h(x, s) = Wx + Vs + b with random W, V and b."""
    rng = np.random.default_rng(seed)
    weight, bias = rng.normal(size=(target.dimension, source.dimension)), rng.normal(size=target.dimension)
    side = None if side_dimension is None else rng.normal(size=(target.dimension, side_dimension)).astype(np.float32)
    card = Card("ridge", source, target, side_dimension, 1, {}, {}, "2026-01-01T00:00:00Z")
    return Transformation(card, Affine(weight.astype(np.float32), bias.astype(np.float32), side))


def uncertainty(of: Transformation, seed: int = 0) -> Uncertainty:
    """A log-variance with random weights on h's output, and a straight calibration."""
    weight = np.random.default_rng(seed).normal(size=(1, of.card.target.dimension)) / 8
    head = Head(Dense(weight.astype(np.float32), np.zeros(1, np.float32)))
    return Uncertainty(of.card, head, Calibration(np.array([-4.0, 4.0]), np.array([-4.0, 4.0])))
