"""Crossings with made-up weights, of every kind that can be taken away."""

from __future__ import annotations

import numpy as np

from models.portable import (
    Affine,
    Array,
    Calibration,
    Card,
    Crossing,
    CrossingCard,
    Dense,
    Distance,
    Head,
    Kernel,
    Nearest,
    Network,
    PortableCrossing,
    Space,
    Transformation,
    Uncertainty,
)

OLD, NEW, SIDE = 6, 5, 3


def normal(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def dense(seed: int, d_out: int, d_in: int) -> Dense:
    return Dense(normal(seed, d_out, d_in), normal(seed + 1, d_out))


def card(metric: Distance, side: int | None = None, method: str = "ridge") -> Card:
    spaces = Space("old", OLD, metric), Space("new", NEW, metric)
    return Card(method, *spaces, side, 9, {"alpha": 0.5}, {"cmc@1": 0.5}, "2026-01-01T00:00:00Z")


def affine(metric: Distance) -> Transformation:
    return Transformation(card(metric), Affine(normal(1, NEW, OLD), normal(2, NEW)))


def everything(metric: Distance, *, stand_in: bool) -> Transformation:
    """Affine, network and kernel together, with side-information."""
    network = Network((dense(3, 7, OLD),), (dense(5, 4, SIDE), dense(7, 4, 4)), (dense(9, 8, 11), dense(11, NEW, 8)))
    kernel = Kernel(normal(13, 10, OLD + SIDE), normal(14, 10, NEW), np.array([0.3, 0.2], np.float32))
    beside = Affine(normal(15, SIDE, OLD), normal(16, SIDE)) if stand_in else None
    linear = Affine(normal(17, NEW, OLD), normal(18, NEW), normal(19, NEW, SIDE))
    return Transformation(card(metric, SIDE, "fct"), linear, network, kernel, beside)


def one_branch(metric: Distance) -> Transformation:
    """A network whose both branches read the old vector, as where there is no side-information."""
    network = Network((dense(3, 7, OLD),), (dense(5, 4, OLD),), (dense(9, 8, 11), dense(11, NEW, 8)))
    return Transformation(card(metric, method="residual_mlp"), None, network)


def crossings(metric: Distance) -> dict[str, Crossing]:
    plain = affine(metric)
    head = Uncertainty(plain.card, Head(dense(20, 1, NEW)), Calibration(np.array([-4.0, 4.0]), np.array([-4.0, 4.0])))
    reads_all = everything(metric, stand_in=False)
    nearest = Nearest("inputs", normal(21, 8, OLD + SIDE), np.ones(OLD + SIDE, np.float32), np.ones(8, np.float32), 3)
    return {
        "affine": Crossing(plain, plain, head),
        "one-branch": Crossing(one_branch(metric), plain),
        "everything": Crossing(reads_all, plain, Uncertainty(reads_all.card, nearest, head.calibration)),
        "stand-in": Crossing(everything(metric, stand_in=True), plain),
    }


def taken(crossing: Crossing) -> PortableCrossing:
    proof = {"shop": {"accepted": True, "proved_at": "2026-01-02T00:00:00+00:00", "reason": "it is – much – better"}}
    uncertainty = None if crossing.uncertainty is None else crossing.uncertainty.card
    cards = (crossing.chosen.card, crossing.plain.card, uncertainty)
    return PortableCrossing(CrossingCard("upg-1", *cards, "exact: inner product", "crossing", proof), crossing)


def rows(crossing: Crossing, n: int = 40) -> tuple[Array, Array | None, np.ndarray]:
    """Old vectors, a row of zeros among them, the side-information that the crossing reads, and which rows have it."""
    old, known = normal(30, n, OLD), np.random.default_rng(31).random(n) < 0.5
    old[3] = 0
    if crossing.chosen.card.side_dimension is None:
        return old, None, np.zeros(n, bool)
    return old, normal(32, n, SIDE), known
