"""Linear transformations: centred orthogonal Procrustes, ridge and reduced-rank regression.

Ridge and low rank share one eigendecomposition of the centred inputs (of the smaller of the two Gram matrices), which
serves every strength. Strength and rank are chosen by retrieval: leave-one-out predictions, which for ridge are exact
and cheap (Allen's PRESS: y − ŷ₋ᵢ = (y − ŷ)/(1 − hᵢᵢ)), are searched for the neighbours that full re-embedding would
find. Of the strengths within one standard error of the best, the strongest is taken (Breiman et al., CART, 1984,
§3.4.3): retrieval is noisy, and with few pairs too strong a ridge harms less than too weak a one.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.arrays import Floats
from models.evaluation.retrieval_metrics import NEIGHBOURS, recall_at_k, top_k
from models.portable import Array, Card, Distance, Space, Transformation, as_indexed
from models.spread import living_dimensions
from models.transformations.lengths import lengths_of
from models.transformations.pairs import Design, Pairs, describe, design

STRENGTHS: Floats = np.geomspace(1e-3, 30, 20)  # in units of the mean eigenvalue of the centred inputs' Gram matrix
RANK_SHARES = (0.125, 0.25, 0.375, 0.5, 0.75, 1.0)
HELD_OUT_GALLERY = 4_000
HELD_OUT_QUERIES = 1_000


def orthogonal(pairs: Pairs, source: Space, target: Space) -> Transformation:
    """Learns centred orthogonal Procrustes with scale: y = c·R(x − x̄) + ȳ.

    R has orthonormal columns, or orthonormal rows where d_new < d_old.

    Schönemann, Psychometrika 31 (1966); Schönemann and Carroll (1970) for the scale: R = V·Uᵀ and c = tr(S)/‖X‖² of
    XᵀY = U·S·Vᵀ, X and Y centred.
    """
    d = design(pairs, source, target)
    x, y, x_mean, y_mean = _centred(d)
    left, values, right = np.linalg.svd((x.T @ y).astype(np.float64), full_matrices=False)
    scale = values.sum() / (float(np.square(x, dtype=np.float64).sum()) or 1.0)
    weight = scale * (left @ right)
    return _linear(describe("orthogonal", pairs, source, target, {}), pairs, d, weight, y_mean - x_mean @ weight)


def ridge(
    pairs: Pairs, source: Space, target: Space, *, strength: float | None = None, seed: int = 0
) -> Transformation:
    """Learns ridge regression with an intercept (Hoerl and Kennard, 1970); the strength is chosen if it is None.

    strength: the penalty, in units of the mean eigenvalue of the centred inputs' Gram matrix, so it suits any number of
    pairs.
    """
    d = design(pairs, source, target)
    spectrum = decompose(d)
    if strength is None:
        strength = choose_strength(spectrum, d, target.metric, seed)
    weight, bias = spectrum.solution(strength)
    return _linear(describe("ridge", pairs, source, target, {"strength": strength}), pairs, d, weight, bias)


def low_rank(
    pairs: Pairs,
    source: Space,
    target: Space,
    *,
    strength: float | None = None,
    rank: int | None = None,
    seed: int = 0,
) -> Transformation:
    """Learns reduced-rank ridge regression: the ridge solution projected on the leading directions of its predictions.

    Izenman (1975); Mukherjee and Zhu (2011), eq. 2.3: W·V·Vᵀ with V the leading eigenvectors of Wᵀ(XᵀX + λI)W.
    strength, in units of the mean eigenvalue of the centred inputs' Gram matrix, and rank are chosen where they are
    None.
    """
    d = design(pairs, source, target)
    spectrum = decompose(d)
    if strength is None:
        strength = choose_strength(spectrum, d, target.metric, seed)
    basis = spectrum.predicted_directions(strength)
    if rank is None:
        rank = choose_rank(spectrum, d, basis, strength, target.metric, seed)
    weight, _ = spectrum.solution(strength)
    kept = basis[:, :rank]
    weight = (weight @ kept) @ kept.T
    card = describe("low_rank", pairs, source, target, {"strength": strength, "rank": rank})
    return _linear(card, pairs, d, weight, spectrum.y_mean - spectrum.x_mean @ weight)


def _linear(card: Card, pairs: Pairs, d: Design, weight: Floats, bias: Floats) -> Transformation:
    """The affine transformation with the lengths of its outputs, which pushing it into a query needs."""
    affine = d.affine(weight, bias)
    if card.side_dimension is None:
        old = as_indexed(np.asarray(pairs.old, np.float32), card.source.metric)
        new = as_indexed(np.asarray(pairs.new, np.float32), card.target.metric)
        lengths = lengths_of(affine, old, new, card.source.metric, card.target.metric)
        affine = dataclasses.replace(affine, lengths=lengths)
    return Transformation(card, affine)


@dataclass(frozen=True)
class Spectrum:
    """The eigendecomposition of centred inputs X = Z·Uᵀ, Z with orthogonal columns, that ridge of any strength uses.

    values (k,) = ‖columns of Z‖², unit (d, k) = U, scores (n, k) = Z, cross (k, d_new) = Zᵀ(Y − ȳ), k ≤ min(n − 1, d).
    living: how many of the d dimensions vary at all; those that do not are no reason to penalise the others less.
    """

    values: Floats
    unit: Floats
    scores: Array
    cross: Floats
    x_mean: Floats
    y_mean: Floats
    living: int

    def penalty(self, strength: float) -> float:
        """The penalty λ of a strength, which is in units of the mean eigenvalue of XᵀX, of its living dimensions; of 1
        where there is none."""
        return strength * (float(self.values.sum()) / self.living or 1.0)

    def solution(self, strength: float) -> tuple[Floats, Floats]:
        """Weight (d, d_new) and bias (d_new,) of (XᵀX + λI)⁻¹Xᵀ(Y − ȳ)."""
        weight = self.unit @ (self.cross / (self.values + self.penalty(strength))[:, None])
        return weight, self.y_mean - self.x_mean @ weight

    def left_out(self, strength: float, rows: NDArray[np.int64], outputs: Array) -> Array:
        """Leave-one-out predictions (m, d_new) float32 for rows (m,), whose targets are outputs (m, d_new)."""
        shrunk = 1 / (self.values + self.penalty(strength))
        scores = self.scores[rows]
        fitted = scores @ (self.cross * shrunk[:, None]).astype(np.float32) + self.y_mean.astype(np.float32)
        leverage = 1 / len(self.scores) + np.square(scores) @ shrunk.astype(np.float32)
        kept = np.maximum(1 - leverage, 1e-3)[:, None]
        return np.asarray(outputs - (outputs - fitted) / kept, np.float32)

    def predicted_directions(self, strength: float) -> Floats:
        """Orthonormal directions of the ridge's predictions by decreasing variance: (d_new, min(k, d_new))."""
        scaled = self.cross / np.sqrt(self.values + self.penalty(strength))[:, None]
        return np.asarray(np.linalg.svd(scaled, full_matrices=False)[2].T)


def decompose(d: Design) -> Spectrum:
    """Decomposes the centred inputs X by eigenvectors of XᵀX (d, d) or XXᵀ (n, n), whichever is smaller."""
    x, y, x_mean, y_mean = _centred(d)
    rows, columns = x.shape
    dual = rows < columns
    values, vectors = np.linalg.eigh(((x @ x.T) if dual else (x.T @ x)).astype(np.float64))
    kept = values > max(float(values[-1]), 0.0) * 1e-6  # float32 sums: what lies below is rounding
    values, vectors = values[kept], vectors[:, kept]
    if dual:
        scores = vectors * np.sqrt(values)
        unit = x.T @ (vectors / np.sqrt(values))
    else:
        scores, unit = x @ vectors.astype(np.float32), vectors
    cross = scores.T @ y if dual else unit.T @ (x.T @ y)
    living = living_dimensions(x)
    return Spectrum(values, unit, np.asarray(scores, np.float32), cross.astype(np.float64), x_mean, y_mean, living)


def choose_strength(spectrum: Spectrum, d: Design, metric: Distance, seed: int) -> float:
    """The strongest of `STRENGTHS` whose leave-one-out retrieval is within one standard error of the best."""
    search = _HeldOutSearch(d.outputs, metric, seed)
    recalls = np.array([search.recall(spectrum.left_out(s, search.gallery, search.outputs)) for s in STRENGTHS])
    return float(STRENGTHS[_last_within_one_standard_error(recalls)])


def choose_rank(spectrum: Spectrum, d: Design, basis: Floats, strength: float, metric: Distance, seed: int) -> int:
    """Of `RANK_SHARES` of the full rank, the one with the best leave-one-out retrieval; the smallest of equals."""
    search = _HeldOutSearch(d.outputs, metric, seed)
    left_out = spectrum.left_out(strength, search.gallery, search.outputs) - spectrum.y_mean.astype(np.float32)
    ranks: list[int] = sorted({max(1, round(share * basis.shape[1])) for share in RANK_SHARES})
    recalls: list[float] = []
    for rank in ranks:
        kept = basis[:, :rank].astype(np.float32)
        predicted = np.asarray((left_out @ kept) @ kept.T + spectrum.y_mean, np.float32)
        recalls.append(float(search.recall(predicted).mean()))
    return ranks[int(np.argmax(recalls))]


class _HeldOutSearch:
    """Recall of the neighbours that full re-embedding finds, on a random part of the rows of bounded size.

    gallery: the row numbers of the part; outputs: their new vectors. The first of them are the queries, and no query
    finds its own row.
    """

    def __init__(self, outputs: Array, metric: Distance, seed: int) -> None:
        order = np.random.default_rng(seed).permutation(len(outputs))
        self.gallery: NDArray[np.int64] = order[:HELD_OUT_GALLERY]
        self.outputs = outputs[self.gallery]
        self._metric = metric
        self._queries = self.outputs[:HELD_OUT_QUERIES]
        self._own = np.arange(len(self._queries))
        self._neighbours = max(1, min(NEIGHBOURS, len(self.gallery) - 1))
        self._truth = self._search(self.outputs)

    def recall(self, gallery: Array) -> Floats:
        """Every query's recall when the gallery holds these predicted vectors, (m, d_new) float32."""
        return recall_at_k(self._search(gallery), self._truth)

    def _search(self, gallery: Array) -> NDArray[np.int64]:
        return top_k(self._queries, gallery, self._neighbours, self._metric, exclude=self._own)


def _last_within_one_standard_error(measured: NDArray[Any]) -> int:
    """The last candidate that is not worse than the best by more than one standard error of the paired difference.

    measured: (candidates, queries), the simplest candidate last.
    """
    means = measured.mean(axis=1)
    best = int(means.argmax())
    errors = (measured - measured[best]).std(axis=1) / np.sqrt(measured.shape[1])
    return int(np.flatnonzero(means >= means[best] - errors).max())


def _centred(d: Design) -> tuple[Array, Array, Floats, Floats]:
    """Centred inputs and outputs, and their means."""
    x_mean, y_mean = d.inputs.mean(axis=0, dtype=np.float64), d.outputs.mean(axis=0, dtype=np.float64)
    return d.inputs - x_mean.astype(np.float32), d.outputs - y_mean.astype(np.float32), x_mean, y_mean
