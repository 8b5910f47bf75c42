"""Learns how far a transformation is expected to miss, item by item, by the candidate that tells it best.

FastFill's head (arXiv 2303.04766) in its two forms, and beside it plain candidates without weights. Each is judged on
rows held out from it by what it is for: the mean of the backfilling curve, or without labels the rank correlation of
expected and true error. The winner is calibrated on held-out rows to the mean squared error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Literal, get_args

import numpy as np
import torch

from models.arrays import ONE_STANDARD_ERROR, Codes, Floats, Progress, silent
from models.device import Device, resolve
from models.evaluation.bootstrap import Interval, bootstrap_mean, paired_bootstrap
from models.portable import Array, Card, Head, Nearest, Transformation, Uncertainty, as_indexed
from models.portable.uncertainty import readings
from models.re_embedding.backfill_curve import Measure, values_along
from models.transformations.labels import codes_of
from models.transformations.mixture import transform
from models.transformations.pairs import Pairs, side_factor
from models.uncertainty.calibration import ReliabilityBin, calibrate, reliability
from models.uncertainty.heads import cross_entropy_of_new_classifier, fit_head

Method = Literal["mse", "fastfill", "class_mean", "nearest_pair", "errors_nearby"]
METHODS: tuple[Method, ...] = get_args(Method)
BY_LABEL: tuple[Method, ...] = ("fastfill", "class_mean")

FEWEST_PAIRS = 10
FOLDS = 5
POINTS = 4096
NEIGHBOURS = 10
JUDGED_BY: Measure = "map"
JUDGED_PAIRS, JUDGED_QUERIES, JUDGED_STEPS = 4_000, 1_000, 5
RANDOM_ORDERS = 2


class NothingToLearn(ValueError):
    """There are too few pairs to tell where the transformation misses."""


@dataclass(frozen=True)
class Candidate:
    """What became of one candidate on held-out rows.

    rank_correlation: Spearman's, of expected and true squared error. curve: the mean of the backfilling curve in mAP of
    the pairs, and gain: the same less that of random order; None without labels.
    """

    method: Method
    rank_correlation: float
    curve: Interval | None = None
    gain: Interval | None = None


@dataclass(frozen=True)
class LearnedUncertainty:
    """The uncertainty that was chosen, and the evidence it was chosen by.

    held_out: (n,) float32 the pairs' expected squared errors, each by a score and a calibration that had not learned
    from it; `reliability` compares them to the true ones.
    """

    uncertainty: Uncertainty
    method: Method
    reliability: tuple[ReliabilityBin, ...]
    candidates: tuple[Candidate, ...]
    held_out: Array


def cross_val_transform(
    pairs: Pairs,
    refit: Callable[[Pairs], Transformation],
    *,
    folds: int = FOLDS,
    seed: int = 0,
    progress: Progress = silent,
) -> Array:
    """The pairs' old vectors, each transformed by a refit that had not learned from it: (n, d_new) float32.

    Raises NothingToLearn for fewer than `FEWEST_PAIRS`.
    """
    fold = _folds(len(pairs), folds, seed)
    parts = []
    for k in range(folds):
        rows = np.flatnonzero(fold == k)
        h = refit(pairs.subset(np.flatnonzero(fold != k)))
        parts.append((rows, transform(h, pairs.old[rows], None if pairs.side is None else pairs.side[rows])))
        progress(k + 1, folds)
    moved = np.empty((len(pairs), parts[0][1].shape[1]), np.float32)
    for rows, part in parts:
        moved[rows] = part
    return moved


def learn_uncertainty(
    pairs: Pairs,
    out_of_fold: Array,
    chosen: Transformation,
    *,
    device: Device = "auto",
    seed: int = 0,
    progress: Progress = silent,
) -> LearnedUncertainty:
    """Tries every candidate and keeps the best.

    out_of_fold: (n, d_new) float32, the pairs' old vectors transformed by refits of `chosen` that had not learned from
    them. A candidate takes the place of one before it where it is better by more than a standard error of the paired
    difference, by rank correlation where it is larger. `progress` counts candidates. Raises NothingToLearn for too few
    pairs, ValueError where shapes do not fit.
    """
    ground = _Ground.of(pairs, out_of_fold, chosen, resolve(device), seed)
    methods = [method for method in METHODS if ground.labelled or method not in BY_LABEL]
    raw: dict[Method, Floats] = {}
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
    """Spearman's; both (n,). 0 where one of them is constant."""
    ranks = [np.unique(each, return_inverse=True)[1] for each in (a, b)]
    counts = [np.bincount(each) for each in ranks]
    middle = [(np.cumsum(count) - (count - 1) / 2)[rank] for rank, count in zip(ranks, counts, strict=True)]
    centred = [each - each.mean() for each in middle]
    norm = float(np.sqrt(np.square(centred[0]).sum() * np.square(centred[1]).sum()))
    return float(centred[0] @ centred[1]) / norm if norm > 0 else 0.0


@dataclass(frozen=True)
class _Ground:
    """What stays the same for every candidate: inputs (n, d_old + d_side), moved and new (n, d_new), as indexed."""

    chosen: Transformation
    inputs: Array
    moved: Array
    new: Array
    codes: Codes
    error: Floats
    columns: Array
    device: torch.device
    seed: int

    @classmethod
    def of(cls, pairs: Pairs, moved: Array, chosen: Transformation, device: torch.device, seed: int) -> _Ground:
        card = chosen.card
        if len(pairs) < FEWEST_PAIRS:
            raise NothingToLearn(f"{len(pairs)} pairs do not tell where h misses; {FEWEST_PAIRS} are the fewest")
        side = None
        if card.side_dimension is not None:
            if pairs.side is None or pairs.side.shape[1] != card.side_dimension:
                raise ValueError(f"the transformation reads side-information of dimension {card.side_dimension}")
            side = np.asarray(pairs.side, np.float32)
        if moved.shape != (len(pairs), card.target.dimension) or pairs.new.shape != moved.shape:
            raise ValueError(f"pairs transformed out of fold must have shape {pairs.new.shape}, not {moved.shape}")
        old = as_indexed(np.asarray(pairs.old, np.float32), card.source.metric)
        new = as_indexed(np.asarray(pairs.new, np.float32), card.target.metric)
        landed = as_indexed(np.asarray(moved, np.float32), card.target.metric)
        columns = np.ones(old.shape[1], np.float32)
        if side is not None:
            columns = np.append(columns, np.full(side.shape[1], side_factor(old, side)))
        error = np.square(landed - new, dtype=np.float64).sum(axis=1)
        inputs = readings(old, side, card.source)
        return cls(chosen, inputs, landed, new, codes_of(pairs), error, columns, device, seed)

    @property
    def labelled(self) -> bool:
        """Whether enough labels are there to draw a curve by."""
        known = self.codes[self.codes >= 0]
        return len(known) >= FEWEST_PAIRS and bool((np.bincount(known) > 1).any()) and len(np.unique(known)) > 1

    def score(self, method: Method, rows: Codes) -> Head | Nearest:
        """The candidate, learned from these rows (k,)."""
        some = np.random.default_rng(self.seed).permutation(rows)[:POINTS]
        every = np.ones(self.moved.shape[1], np.float32)
        match method:
            case "mse":
                return fit_head(self.moved[rows], self.error[rows], device=self.device, seed=self.seed)
            case "fastfill":
                return fit_head(self.moved[rows], self.with_classifier[rows], device=self.device, seed=self.seed)
            case "class_mean":
                return Nearest("moved", _class_means(self.new[rows], self.codes[rows]), every)
            case "nearest_pair":
                return Nearest("inputs", self.inputs[some] * self.columns, self.columns)
            case "errors_nearby":
                known = np.maximum(self.error[some], np.finfo(np.float32).tiny).astype(np.float32)
                points = self.inputs[some] * self.columns
                return Nearest("inputs", points, self.columns, known, min(NEIGHBOURS, len(some)))

    @cached_property
    def with_classifier(self) -> Floats:
        """L = MSE + CE, each in units of its mean so that neither drowns the other; MSE alone for a row of no label."""
        loss = self.error / (self.error.mean() or 1.0)
        known = self.codes >= 0
        entropy = cross_entropy_of_new_classifier(
            self.moved[known], self.new[known], self.codes[known], device=self.device, seed=self.seed
        )
        loss[known] += entropy / (entropy.mean() or 1.0)
        return np.asarray(loss)

    def cross_fitted(self, method: Method) -> Floats:
        """Every row's raw score by the candidate learned from the other folds: (n,)."""
        fold = _folds(len(self.error), FOLDS, self.seed)
        raw = np.empty(len(self.error))
        for k in range(FOLDS):
            rows = np.flatnonzero(fold == k)
            raw[rows] = self.score(method, np.flatnonzero(fold != k))(self.inputs[rows], self.moved[rows])
        return raw

    def cross_calibrated(self, raw: Floats) -> Array:
        """Every row's expected squared error by the calibration learned from the other folds: (n,) float32."""
        fold = _folds(len(raw), FOLDS, self.seed)
        expected = np.empty(len(raw), np.float32)
        for k in range(FOLDS):
            expected[fold == k] = calibrate(raw[fold != k], self.error[fold != k])(raw[fold == k])
        return expected

    def card(self, method: Method, correlation: float) -> Card:
        card = self.chosen.card
        metrics = {"held-out rank correlation": correlation, "held-out mean squared error": float(self.error.mean())}
        now = datetime.now(UTC).isoformat(timespec="seconds")
        settings = {"transformation": card.sha256}
        return Card(
            method, card.source, card.target, card.side_dimension, len(self.error), settings, metrics, created_at=now
        )


@dataclass(frozen=True)
class _Judge:
    """A bounded part of the labelled pairs as queries and gallery, to draw curves by."""

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
        """The same for random orders, on the average."""
        orders = (np.random.default_rng(seed + i).permutation(len(self.rows)) for i in range(RANDOM_ORDERS))
        return np.asarray(np.mean([self._mean(order) for order in orders], axis=0))

    def _mean(self, order: Codes) -> Floats:
        g, queries = self.ground, self.rows[self.queries]
        values = values_along(
            g.new[queries],
            g.codes[queries],
            g.moved[self.rows],
            g.new[self.rows],
            g.codes[self.rows],
            order,
            g.chosen.card.target.metric,
            self.queries,
            JUDGED_BY,
            steps=JUDGED_STEPS,
        )
        return np.asarray(values.mean(axis=0))


def _class_means(vectors: Array, codes: Codes) -> Array:
    """The mean of every class's rows: (m, d), (m,) int64, -1 for no class → (classes, d) float32, one class or more."""
    classes = np.unique(codes[codes >= 0])
    return np.stack([vectors[codes == code].mean(axis=0, dtype=np.float64) for code in classes]).astype(np.float32)


def _folds(rows: int, folds: int, seed: int) -> Codes:
    if rows < FEWEST_PAIRS:
        raise NothingToLearn(f"{rows} pairs do not tell where h misses; {FEWEST_PAIRS} are the fewest")
    return np.asarray(np.random.default_rng([seed, 1]).permutation(rows) % folds)
