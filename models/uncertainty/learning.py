"""Learns, for each item, how far a transformation's output is expected to be from the item's true new vector.

The candidates are FastFill's head (arXiv 2303.04766) in its two forms, and simpler scores that learn no weights. Each
is judged on rows held out from it by what it is for: the mean of the backfilling curve, or without labels the rank
correlation of expected and true error. The best is calibrated on held-out rows to the mean squared error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Literal, get_args

import numpy as np
import torch
from scipy.stats import spearmanr

from models.arrays import ONE_STANDARD_ERROR, Codes, Floats, Progress, silent
from models.device import Device, resolve
from models.evaluation.bootstrap import Interval, bootstrap_mean, paired_bootstrap
from models.evaluation.retrieval_metrics import RetrievalMetric
from models.portable import Array, Card, Head, Nearest, Transformation, Uncertainty, as_indexed
from models.portable.uncertainty import LEAST_SQUARED_DISTANCE, stacked_inputs
from models.re_embedding.backfill_curve import values_along
from models.spread import unit_of
from models.training.threads import fits_side_by_side
from models.transformations.labels import codes_of
from models.transformations.mixture import transform
from models.transformations.pairs import Pairs, side_factor
from models.uncertainty.calibration import ReliabilityBin, calibrate, reliability
from models.uncertainty.heads import cross_entropy_of_new_classifier, fit_head

UncertaintyMethod = Literal["mse", "fastfill", "class_mean", "nearest_pair", "errors_nearby"]
UNCERTAINTY_METHODS: tuple[UncertaintyMethod, ...] = get_args(UncertaintyMethod)
METHODS_BY_LABEL: tuple[UncertaintyMethod, ...] = ("fastfill", "class_mean")

FEWEST_PAIRS = 10
EXACT = 1e-6  # of the length of the new vectors: a distance that is float32's rounding, and no error
FOLDS = 5
_COPIED_BYTES = 2**29
POINTS = 4096
NEIGHBOURS = 10
JUDGED_BY: RetrievalMetric = "map"
JUDGED_PAIRS, JUDGED_QUERIES, JUDGED_STEPS = 4_000, 1_000, 5
RANDOM_ORDERS = 2


class NothingToLearn(ValueError):
    """There are too few pairs to tell where the transformation misses, or it misses none."""


@dataclass(frozen=True)
class Candidate:
    """How one candidate did on held-out rows.

    rank_correlation: Spearman's, of the candidate's score and the true squared error. curve: the mean, in mAP, of the
    curve along which the pairs are re-embedded in order of the score; gain: the same less that of random order. Both
    are None without labels.
    """

    method: UncertaintyMethod
    rank_correlation: float
    curve: Interval | None = None
    gain: Interval | None = None


@dataclass(frozen=True)
class LearnedUncertainty:
    """The best candidate, fitted on all pairs and calibrated, and the evidence it was chosen by.

    held_out: (n,) float32 the pairs' out-of-fold expected squared errors: each comes from a score and a calibration
    that were fitted without its pair. `reliability` compares them to the true ones.
    """

    uncertainty: Uncertainty
    method: UncertaintyMethod
    reliability: tuple[ReliabilityBin, ...]
    candidates: tuple[Candidate, ...]
    held_out: Array


def cross_val_fits(
    pairs: Pairs,
    refit: Callable[[Pairs], Transformation],
    *,
    folds: int = FOLDS,
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[Transformation, ...]:
    """What `refit` learns from the pairs outside each fold, in the order of the folds.

    Raises NothingToLearn for fewer than `FEWEST_PAIRS`.
    """
    fold = held_out_folds(len(pairs), folds, seed)
    fits: list[Transformation] = []
    copied = 4 * len(pairs) * (pairs.old.shape[1] + pairs.new.shape[1])  # by each fold: nearly all pairs
    with fits_side_by_side(max(1, _COPIED_BYTES // copied)) as threads:
        for fit in threads.map(lambda k: refit(pairs.subset(np.flatnonzero(fold != k))), range(folds)):
            fits.append(fit)
            progress(len(fits), folds)
    return tuple(fits)


def cross_val_transform(pairs: Pairs, fits: Sequence[Transformation], *, seed: int = 0) -> Array:
    """The pairs' old vectors, each transformed by the one of `cross_val_fits` that has not learned from it, given the
    same seed: (n, d_new) float32."""
    fold = held_out_folds(len(pairs), len(fits), seed)
    transformed = np.empty((len(pairs), fits[0].card.target.dimension), np.float32)
    for k, h in enumerate(fits):
        rows = np.flatnonzero(fold == k)
        transformed[rows] = transform(h, pairs.old[rows], None if pairs.side is None else pairs.side[rows])
    return transformed


def learn_uncertainty(
    pairs: Pairs,
    cross_val: Array,
    chosen: Transformation,
    *,
    device: Device = "auto",
    seed: int = 0,
    progress: Progress = silent,
) -> LearnedUncertainty:
    """Fits every candidate score of the error of `chosen`, a transformation, and keeps the best.

    cross_val: (n, d_new) float32, the pairs' old vectors as `cross_val_transform` gives them. With labels, a later
    candidate replaces the best so far where its curve is better by more than a standard error of the paired difference;
    without, where its rank correlation is larger. `progress` counts candidates. Raises NothingToLearn for too few
    pairs, and ValueError where shapes do not fit.
    """
    ground = _Ground.of(pairs, cross_val, chosen, resolve(device), seed)
    methods = [method for method in UNCERTAINTY_METHODS if ground.labelled or method not in METHODS_BY_LABEL]
    raw: dict[UncertaintyMethod, Floats] = {}
    for done, method in enumerate(methods, start=1):
        raw[method] = ground.cross_fitted(method)
        progress(done, len(methods) + 1)
    judge = _Judge.of(ground, seed) if ground.labelled else None
    curves = {method: judge.mean_along(scores) for method, scores in raw.items()} if judge else {}
    correlations = {method: rank_correlation(scores, ground.error) for method, scores in raw.items()}
    best = methods[0]
    for method in methods[1:]:
        if curves:
            lead = paired_bootstrap(curves[method], curves[best], seed=seed, confidence=ONE_STANDARD_ERROR).low > 0
        else:
            lead = correlations[method] > correlations[best]
        best = method if lead else best
    expected = ground.cross_calibrated(raw[best])
    random = judge.mean_at_random(seed) if judge else None
    candidates = tuple(
        Candidate(
            method,
            correlations[method],
            None if random is None else bootstrap_mean(curves[method], seed=seed),
            None if random is None else paired_bootstrap(curves[method], random, seed=seed),
        )
        for method in methods
    )
    uncertainty = Uncertainty(
        ground.card(best, correlations[best]),
        ground.score(best, np.arange(len(pairs))),
        calibrate(raw[best], ground.error),
    )
    progress(len(methods) + 1, len(methods) + 1)
    return LearnedUncertainty(uncertainty, best, reliability(expected, ground.error, seed=seed), candidates, expected)


def rank_correlation(a: Floats, b: Floats) -> float:
    """Spearman's rank correlation of two arrays of shape (n,); 0 where one of them is constant and it is undefined."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(spearmanr(a, b).statistic)


@dataclass(frozen=True)
class _Ground:
    """Pairs and the transformation's errors on them, which every candidate learns from and is compared on.

    inputs: (n, d_old + d_side) what the transformation reads; transformed, new: (n, d_new) its out-of-fold output and
    the true new vectors, both as the new model's index holds them; codes: (n,) of labels; error: (n,) the squared
    distances of `transformed` from `new`; columns: (d_old + d_side,) factors that give old vectors and side-information
    a spread near 1.
    """

    chosen: Transformation
    inputs: Array
    transformed: Array
    new: Array
    codes: Codes
    error: Floats
    columns: Array
    device: torch.device
    seed: int

    @classmethod
    def of(cls, pairs: Pairs, transformed: Array, chosen: Transformation, device: torch.device, seed: int) -> _Ground:
        card = chosen.card
        if len(pairs) < FEWEST_PAIRS:
            raise NothingToLearn(
                f"{len(pairs)} pairs do not tell where the transformation misses; {FEWEST_PAIRS} are the fewest"
            )
        side = None
        if card.side_dimension is not None:
            if pairs.side is None or pairs.side.shape[1] != card.side_dimension:
                raise ValueError(f"the transformation reads side-information of dimension {card.side_dimension}")
            side = np.asarray(pairs.side, np.float32)
        if transformed.shape != (len(pairs), card.target.dimension) or pairs.new.shape != transformed.shape:
            raise ValueError(
                f"pairs transformed out of fold must have shape {pairs.new.shape}, not {transformed.shape}"
            )
        old = as_indexed(np.asarray(pairs.old, np.float32), card.source.metric)
        new = as_indexed(np.asarray(pairs.new, np.float32), card.target.metric)
        landed = as_indexed(np.asarray(transformed, np.float32), card.target.metric)
        unit = np.float32(unit_of(old))
        columns = np.full(old.shape[1], 1 / unit)
        if side is not None:
            columns = np.append(columns, np.full(side.shape[1], side_factor(old, side) / unit))
        error = np.square(landed - new, dtype=np.float64).sum(axis=1)
        mean_square = float(np.square(new, dtype=np.float64).sum(axis=1).mean())
        if not (error > EXACT**2 * mean_square).any():
            raise NothingToLearn(
                "the transformation misses no pair by more than rounding, so there is no error to learn"
            )
        inputs = stacked_inputs(old, side, card.source)
        return cls(chosen, inputs, landed, new, codes_of(pairs), error, columns, device, seed)

    @property
    def labelled(self) -> bool:
        """Whether there are enough labels to measure mAP along a curve."""
        known = self.codes[self.codes >= 0]
        return len(known) >= FEWEST_PAIRS and bool((np.bincount(known) > 1).any()) and len(np.unique(known)) > 1

    def score(self, method: UncertaintyMethod, rows: Codes) -> Head | Nearest:
        """The candidate, learned from these rows (k,)."""
        some = np.random.default_rng(self.seed).permutation(rows)[:POINTS]
        every = np.full(self.transformed.shape[1], 1 / unit_of(self.new), np.float32)
        match method:
            case "mse":
                return fit_head(self.transformed[rows], self.error[rows], device=self.device, seed=self.seed)
            case "fastfill":
                return fit_head(self.transformed[rows], self.with_classifier[rows], device=self.device, seed=self.seed)
            case "class_mean":
                return Nearest("moved", _class_means(self.new[rows], self.codes[rows]) * every, every)
            case "nearest_pair":
                return Nearest("inputs", self.inputs[some] * self.columns, self.columns)
            case "errors_nearby":
                mean = float(self.error[some].mean()) or 1.0
                known = np.maximum(self.error[some] / mean, LEAST_SQUARED_DISTANCE).astype(np.float32)
                points = self.inputs[some] * self.columns
                return Nearest("inputs", points, self.columns, known, min(NEIGHBOURS, len(some)))

    @cached_property
    def with_classifier(self) -> Floats:
        """FastFill's loss with a classifier, MSE + cross-entropy, (n,): each divided by its mean, so that neither
        outweighs the other. A row without a label has the MSE alone."""
        loss = self.error / (self.error.mean() or 1.0)
        known = self.codes >= 0
        entropy = cross_entropy_of_new_classifier(
            self.transformed[known], self.new[known], self.codes[known], device=self.device, seed=self.seed
        )
        loss[known] += entropy / (entropy.mean() or 1.0)
        return np.asarray(loss)

    def cross_fitted(self, method: UncertaintyMethod) -> Floats:
        """Every row's raw score by the candidate learned from the other folds: (n,)."""
        fold = held_out_folds(len(self.error), FOLDS, self.seed)
        raw = np.empty(len(self.error))
        for k in range(FOLDS):
            rows = np.flatnonzero(fold == k)
            raw[rows] = self.score(method, np.flatnonzero(fold != k))(self.inputs[rows], self.transformed[rows])
        return raw

    def cross_calibrated(self, raw: Floats) -> Array:
        """Every row's expected squared error by the calibration fitted on the other folds: (n,) float32."""
        fold = held_out_folds(len(raw), FOLDS, self.seed)
        expected = np.empty(len(raw), np.float32)
        for k in range(FOLDS):
            expected[fold == k] = calibrate(raw[fold != k], self.error[fold != k])(raw[fold == k])
        return expected

    def card(self, method: UncertaintyMethod, correlation: float) -> Card:
        card = self.chosen.card
        metrics = {"held-out rank correlation": correlation, "held-out mean squared error": float(self.error.mean())}
        now = datetime.now(UTC).isoformat(timespec="seconds")
        settings = {"transformation": card.sha256}
        return Card(
            method, card.source, card.target, card.side_dimension, len(self.error), settings, metrics, created_at=now
        )


@dataclass(frozen=True)
class _Judge:
    """Compares orders of re-embedding by mAP, with a bounded part of the labelled pairs as queries and gallery."""

    ground: _Ground
    rows: Codes
    queries: Codes

    @classmethod
    def of(cls, ground: _Ground, seed: int) -> _Judge:
        labelled = np.flatnonzero(ground.codes >= 0)
        rows = np.random.default_rng(seed).permutation(labelled)[:JUDGED_PAIRS]
        shared = np.bincount(ground.codes[rows])[ground.codes[rows]] > 1
        return cls(ground, rows, np.flatnonzero(shared)[:JUDGED_QUERIES])

    def mean_along(self, raw: Floats) -> Floats:
        """Every query's mean over the curve where what scores highest is re-embedded first; raw (n,) → (q,)."""
        return self._mean(np.argsort(-raw[self.rows], kind="stable"))

    def mean_at_random(self, seed: int) -> Floats:
        """Every query's mean over the curve of a random order, averaged over several orders: (q,)."""
        orders = (np.random.default_rng(seed + i).permutation(len(self.rows)) for i in range(RANDOM_ORDERS))
        return np.asarray(np.mean([self._mean(order) for order in orders], axis=0))

    def _mean(self, order: Codes) -> Floats:
        return np.asarray(self._along(order, JUDGED_STEPS, self._ends).mean(axis=0))

    @cached_property
    def _ends(self) -> tuple[Floats, Floats]:
        """Every query's value with nothing re-embedded and with everything, which no order changes: (q,) each."""
        nothing, everything = self._along(np.arange(len(self.rows)), 1, None)
        return nothing, everything

    def _along(self, order: Codes, steps: int, ends: tuple[Floats, Floats] | None) -> Floats:
        ground, queries = self.ground, self.rows[self.queries]
        return values_along(
            ground.new[queries],
            ground.codes[queries],
            ground.transformed[self.rows],
            ground.new[self.rows],
            ground.codes[self.rows],
            order,
            ground.chosen.card.target.metric,
            self.queries,
            JUDGED_BY,
            steps=steps,
            ends=ends,
        )


def _class_means(vectors: Array, codes: Codes) -> Array:
    """The mean of every class's rows: (m, d), (m,) int64, -1 for no class → (classes, d) float32, one class or more."""
    classes = np.unique(codes[codes >= 0])
    return np.stack([vectors[codes == code].mean(axis=0, dtype=np.float64) for code in classes]).astype(np.float32)


def held_out_folds(rows: int, folds: int, seed: int) -> Codes:
    """The fold, 0 to folds - 1, in which `cross_val_fits` holds each of its pairs out: (rows,) int64.

    Raises NothingToLearn for fewer than `FEWEST_PAIRS`.
    """
    if rows < FEWEST_PAIRS:
        raise NothingToLearn(f"{rows} pairs do not tell where the transformation misses; {FEWEST_PAIRS} are the fewest")
    return np.asarray(np.random.default_rng([seed, 1]).permutation(rows) % folds)
