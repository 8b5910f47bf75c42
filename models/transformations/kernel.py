"""Kernel ridge regression: a non-linear transformation with a closed form, which suits few pairs.

h(x) = Wx + b + Σⱼ cⱼ·exp(−‖x − zⱼ‖²/2σ²), x = [p ; side-information], is the Gaussian process mean, one solve, for the
kernel linear + Gaussian (Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, eq. 2.25, §4.2.4).
Up to `CENTRES` pairs, each is a centre z; of more, a random part is (Nyström: Williams and Seeger, NIPS 2000). The
strength is chosen by held-out retrieval, as for ridge. The bandwidth is not: few pairs say little of it, and held-out
retrieval hardly depends on it (CLINC150, 900 pairs: 0.1 points at rank 1 between σ = 1 and 1.8).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.arrays import Floats
from models.evaluation.retrieval_metrics import top_k
from models.portable import Array, Distance, Kernel, Space, Transformation
from models.portable.layers import gaussian
from models.spread import total_spread
from models.transformations.linear import choose_strength, decompose
from models.transformations.pairs import Design, Pairs, describe, design

BANDWIDTH = 1.4  # σ in units of the inputs' spread, the root of their total variance
LINEAR_VARIANCE = 0.3  # of the kernel's linear part, where that of the Gaussian part is 1
SMOOTHING, SMOOTHING_NEIGHBOURS = 0.4, 5
MOST_SMOOTHED = 5_000  # pairs; in more, the noise of single new vectors averages out by itself
CENTRES = 2_000
ROWS_TO_CHOOSE_FROM = 1_500
JITTER = 1e-7  # added to the diagonal of the centres' kernel matrix, since centres may repeat


def kernel_ridge(
    pairs: Pairs,
    source: Space,
    target: Space,
    *,
    bandwidth: float = BANDWIDTH,
    strength: float | None = None,
    smoothing: float = SMOOTHING,
    seed: int = 0,
) -> Transformation:
    """Learns kernel ridge regression with an intercept; the strength is chosen by held-out retrieval if it is None.

    bandwidth: σ in units of the inputs' spread. strength: the penalty λ, in units of the Gaussian kernel's value at its
    centre, so that it suits any number of pairs. smoothing: from 0 to 1, how far each new vector is moved towards the
    mean of its neighbours before it is learned from.
    """
    d = design(pairs, source, target)
    if not 1 < len(pairs) <= MOST_SMOOTHED:
        smoothing = 0.0
    if smoothing:
        d = replace(d, outputs=towards_neighbours(d.outputs, target.metric, smoothing))
    generator = np.random.default_rng(seed)
    if strength is None:
        strength = _choose_strength(d, bandwidth, target.metric, generator, seed)
    basis = _basis(d, bandwidth, _some(generator, len(pairs), CENTRES))
    features = basis.features(d.inputs)
    x_mean, y_mean = features.mean(axis=0), d.outputs.mean(axis=0, dtype=np.float64)
    features -= x_mean
    gram = features.T @ features
    gram[np.diag_indices_from(gram)] += strength
    weight = np.linalg.solve(gram, features.T @ (d.outputs - y_mean))
    bias = y_mean - x_mean @ weight
    kernel, linear = basis.split(weight, d)
    card = describe(
        "kernel_ridge", pairs, source, target, {"bandwidth": bandwidth, "strength": strength, "smoothing": smoothing}
    )
    return Transformation(card, d.affine(linear, bias), kernel=kernel)


def towards_neighbours(outputs: Array, metric: Distance, share: float) -> Array:
    """Each row of outputs (n, d), n > 1, moved by the `share` of the way to the mean of its nearest other rows.

    With few pairs, what a single vector does not share with its neighbours is noise to the learner.
    """
    near = top_k(outputs, outputs, min(SMOOTHING_NEIGHBOURS, len(outputs) - 1), metric, np.arange(len(outputs)))
    return np.asarray((1 - share) * outputs + share * outputs[near].mean(axis=1), np.float32)


@dataclass(frozen=True)
class _Basis:
    """Features whose inner products equal the kernel between centres, and Nyström's approximation of it elsewhere.

    centres: (m, d) float64; root: (m, m), R with R·Rᵀ the inverse of the centres' kernel matrix; width: √2·σ, which
    inputs are divided by for the Gaussian part; slope: which they are multiplied by for the linear part.
    """

    centres: Floats
    root: Floats
    width: float
    slope: float

    def features(self, inputs: Array) -> Floats:
        """The features of inputs: (n, d) float32 → (n, m + d) float64."""
        rows = inputs.astype(np.float64)
        curved = gaussian(rows / self.width, self.centres / self.width) @ self.root
        return np.concatenate([curved, self.slope * rows], axis=1)

    def split(self, weight: Floats, d: Design) -> tuple[Kernel, Floats]:
        """Splits weights (m + d, d_new) of the features into the kernel over p and s, and the weights of the inputs."""
        m = len(self.centres)
        scales = np.array([1.0, d.factor]) / (self.width * d.unit)
        centres, coefficients = (self.centres + d.moved_origin) / self.width, self.root @ weight[:m] * d.output_unit
        kernel = Kernel(*(np.asarray(a, np.float32) for a in (centres, coefficients, scales)))
        return kernel, self.slope * weight[m:]


def _basis(d: Design, bandwidth: float, rows: NDArray[np.int64]) -> _Basis:
    unit = total_spread(d.inputs)
    width, centres = np.sqrt(2) * bandwidth * unit, d.inputs[rows].astype(np.float64)
    between = gaussian(centres / width, centres / width)
    between[np.diag_indices_from(between)] = 1 + JITTER
    root = np.linalg.inv(np.linalg.cholesky(between)).T
    return _Basis(centres, root, float(width), float(np.sqrt(LINEAR_VARIANCE) / unit))


def _choose_strength(d: Design, bandwidth: float, metric: Distance, generator: np.random.Generator, seed: int) -> float:
    """The penalty λ, chosen by held-out retrieval on a random part of at most `ROWS_TO_CHOOSE_FROM` rows."""
    rows = _some(generator, len(d.inputs), ROWS_TO_CHOOSE_FROM)
    part = replace(d, inputs=d.inputs[rows], outputs=d.outputs[rows])
    features = _basis(part, bandwidth, np.arange(len(rows))).features(part.inputs)
    curved = Design(features.astype(np.float32), part.outputs, features.shape[1])
    spectrum = decompose(curved)
    return max(spectrum.penalty(choose_strength(spectrum, curved, metric, seed)), JITTER)


def _some(generator: np.random.Generator, rows: int, most: int) -> NDArray[Any]:
    """At most `most` row numbers of `rows`, drawn at random, ascending."""
    return np.arange(rows) if rows <= most else np.sort(generator.choice(rows, most, replace=False))
