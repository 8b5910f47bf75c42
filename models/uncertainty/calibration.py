"""Turns a score that only ranks items by their error into an expected squared error, and checks it on bins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from models.arrays import Floats
from models.evaluation.bootstrap import Interval, bootstrap_mean
from models.portable import Calibration

KNOTS = 20
ROWS_PER_KNOT = 25
BINS = 10
SMALLEST = 1e-12  # of the mean of all squared errors, in place of a bin's that is 0: its logarithm stays finite


@dataclass(frozen=True)
class ReliabilityBin:
    """Rows of similar expected error: their number, their mean expected error, and the observed mean and interval."""

    rows: int
    expected: float
    observed: Interval


def calibrate(raw: Floats, squared_error: Floats) -> Calibration:
    """Isotonic regression of the squared error on the score, over quantile bins; both (n,), n ≥ 1.

    A knot lies at the mean score of its bin.
    """
    order = np.argsort(raw, kind="stable")
    knots = int(np.clip(len(raw) // ROWS_PER_KNOT, 1, KNOTS))
    parts = [part for part in np.array_split(order, knots) if len(part)]
    at = np.array([raw[part].mean() for part in parts])
    risen = isotonic_regression([squared_error[part].mean() for part in parts], weights=[len(part) for part in parts]).x
    keep = np.append(True, np.diff(at) > 0)
    least = SMALLEST * float(squared_error.mean()) or float(np.finfo(np.float32).tiny)
    return Calibration(at[keep], np.log(np.maximum(risen[keep], least)))


def reliability(
    expected: NDArray[np.floating], squared_error: Floats, *, bins: int = BINS, seed: int = 0
) -> tuple[ReliabilityBin, ...]:
    """Quantile bins of expected error, smallest first, each with its observed mean and 95 % interval; both (n,)."""
    order = np.argsort(expected, kind="stable")
    parts = np.array_split(order, min(bins, len(order)))
    return tuple(
        ReliabilityBin(len(part), float(expected[part].mean()), bootstrap_mean(squared_error[part], seed=seed))
        for part in parts
    )
