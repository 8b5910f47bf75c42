"""Approximates the lengths of linearly transformed vectors by terms that an index over the old ones can rank by."""

from __future__ import annotations

import numpy as np

from models.arrays import Floats
from models.portable import Affine, Array, Distance, Lengths, as_indexed
from models.spread import dimension_spreads, mean_spread

ROWS = 10_000  # most rows that lengths are fitted to
QUERIES = 256  # most queries that the cosine of answers is measured with
ANSWER_SHARE = 0.01  # share of the rows, the nearest, that count as a query's answers
SHRINKAGE = 0.1  # penalty of the ridge, in units of a feature's variance


def lengths_of(
    affine: Affine, old: Array, new: Array, source: Distance, target: Distance, *, seed: int = 0
) -> Lengths | None:
    """Ridge regression of ‖Wp + b‖² on p and ‖p‖² (l2 target), or of ‖Wp + b‖ on p (cosine target).

    old: (n, d_old), new: (n, d_new) float32, as indexed. Returns None for the inner product, which needs no lengths.
    Where all p are unit vectors, or the coefficient of ‖p‖² would be negative, it is the mean squared column norm of W.
    """
    if target == "ip":
        return None
    rows = np.random.default_rng(seed).permutation(len(old))[:ROWS]
    inputs, outputs = old[rows].astype(np.float64), affine(old[rows], None).astype(np.float64)
    lengths = np.linalg.norm(outputs, axis=1)
    if target == "cosine":
        slope, intercept = _ridge(inputs, lengths)
        cosines = new[rows[:QUERIES]] @ as_indexed(outputs.astype(np.float32), "cosine").T
        level = float(np.quantile(cosines, 1 - ANSWER_SHARE, axis=1).mean())
        return Lengths(np.asarray(slope, np.float32), float(lengths.mean()) or 1.0, intercept, level)
    # About the mean m: far from 0, |p|² and |Wp + b|² tell little but p itself.
    mean, moved = inputs.mean(axis=0), outputs.mean(axis=0)
    inputs, pulled = inputs - mean, affine.weight.T.astype(np.float64) @ moved
    squares, lengths = np.square(inputs).sum(axis=1), np.square(outputs - moved).sum(axis=1)
    scale = affine.squared_column_norm
    if source != "cosine":
        unit = mean_spread(inputs)  # squares and components can stand beside each other in this unit alone
        coefficients, _ = _ridge(np.column_stack([squares / unit**2, inputs / unit]), lengths)
        scale = float(coefficients[0]) / unit**2 if coefficients[0] > 0 else scale
    slope, intercept = _ridge(inputs, lengths - scale * squares)
    # With y = W(p − m) + moved: |y|² = c|p − m|² + 2⟨u, p − m⟩ + e + 2⟨Wᵀmoved, p − m⟩ + |moved|², and now in p.
    slope = slope / 2 + pulled
    intercept += float(moved @ moved) - float(2 * slope @ mean) + scale * float(mean @ mean)
    return Lengths(np.asarray(slope - scale * mean, np.float32), scale, intercept, 0.0)


def _ridge(inputs: Floats, outputs: Floats) -> tuple[Floats, float]:
    """Ridge regression of outputs (n,) on standardised inputs (n, d): coefficients (d,) of the inputs, and
    intercept."""
    mean, offset = inputs.mean(axis=0), float(outputs.mean())
    spreads = dimension_spreads(inputs)
    scaled = (inputs - mean) / spreads
    gram = scaled.T @ scaled + SHRINKAGE * len(inputs) * np.eye(inputs.shape[1])
    coefficients = np.linalg.solve(gram, scaled.T @ (outputs - offset)) / spreads
    return coefficients, offset - float(mean @ coefficients)
