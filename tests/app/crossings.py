"""Transformations with made-up weights, for tests of what applies them."""

from __future__ import annotations

import numpy as np

from app.artifacts.crossings import Crossing
from models.portable import (
    Affine,
    Array,
    Calibration,
    Card,
    Dense,
    Distance,
    Head,
    Network,
    Space,
    Transformation,
    Uncertainty,
)


def space(model: str, dimension: int, metric: Distance = "ip") -> Space:
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


def network_crossing(source: Space, target: Space, side: int) -> Crossing:
    """Neither linear nor without side-information; without any, its linear part alone."""
    rng = np.random.default_rng(1)

    def dense(d_out: int, d_in: int) -> Dense:
        return Dense(normal(rng, d_out, d_in), normal(rng, d_out))

    cards = [Card("test", source, target, beside, 9, {}, {}, "2026-01-01T00:00:00Z") for beside in (side, None)]
    linear = dense(target.dimension, source.dimension)
    affine = Affine(linear.weight, linear.bias)
    trunk = (dense(9, 12), dense(target.dimension, 9))
    network = Network((dense(7, source.dimension),), (dense(5, side),), trunk)
    return Crossing(Transformation(cards[0], affine, network), Transformation(cards[1], affine))


def normal(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape).astype(np.float32)
