"""The expected error of transformed vectors against those of re-embedding, computed with numpy alone."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .card import Card, Space
from .checksummed import check_direction, read_sealed, write_sealed
from .errors import CorruptArtifact
from .layers import Array, Dense, as_indexed, checked, squared_norms
from .tensor_file import Arrays

Reads = Literal["inputs", "moved"]

CHUNK = 4096
_LEAST, _MOST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
SLOPE = 0.01  # added rise of the calibrated logarithm over the range of the knots, where the curve is level
BEYOND = 2.0  # how far outside the knots the curve keeps rising, in ranges of the knots
LEAST_SQUARED_DISTANCE = 1e-12  # between points of spread 1, in the place of 0, whose logarithm is not finite


@dataclasses.dataclass(frozen=True)
class Head:
    """A raw score linear in the transformed vector: the log-variance of FastFill, arXiv 2303.04766, to be calibrated.

    layer: weight (1, d_new), bias (1,), float32.
    """

    layer: Dense

    def __call__(self, inputs: Array, transformed: Array) -> NDArray[np.float64]:
        """(n, d_in), (n, d_new) → (n,) float64."""
        return np.asarray((transformed @ self.layer.weight.T + self.layer.bias)[:, 0], np.float64)


@dataclasses.dataclass(frozen=True)
class Nearest:
    """A raw score from the nearest of some points: the logarithm of the squared distance of the nearest, or of the mean
    of known errors at the k nearest.

    reads: which vectors are compared with the points, "inputs" for [p ; s] or "moved" for the transformed vectors.
    columns: (d,) float32, factors of their components, which bring the points to a spread near 1. points: (m, d)
    float32, already multiplied by these. values: (m,) float32, positive, the known errors; None to use the distance.
    """

    reads: Reads
    points: Array
    columns: Array
    values: Array | None = None
    k: int = 1

    @cached_property
    def _about_middle(self) -> tuple[Array, Array]:
        """The mean of the points (d,), and the points less it: far from 0, squares would drown the distances."""
        middle = self.points.mean(axis=0, dtype=np.float64).astype(np.float32)
        return middle, self.points - middle

    def __call__(self, inputs: Array, transformed: Array) -> NDArray[np.float64]:
        """(n, d_old + d_side), (n, d_new) → (n,) float64."""
        middle, points = self._about_middle
        rows = (inputs if self.reads == "inputs" else transformed) * self.columns - middle
        squared = squared_norms(rows)[:, None] + squared_norms(points) - 2 * rows @ points.T
        if self.values is None:
            expected = np.maximum(squared.min(axis=1).astype(np.float64), LEAST_SQUARED_DISTANCE)
        else:
            near = np.argpartition(squared, self.k - 1, axis=1)[:, : self.k]
            expected = self.values[near].mean(axis=1, dtype=np.float64)
        return np.asarray(np.log(expected))


@dataclasses.dataclass(frozen=True)
class Calibration:
    """A piecewise linear, increasing curve from the raw score to the logarithm of the expected squared error.

    at: (k,) float64, the knots, increasing; log_error: (k,) float64, not decreasing. A slight slope (`SLOPE`) is added,
    so that the order of the raw scores is kept where the curve is level.
    """

    at: NDArray[np.float64]
    log_error: NDArray[np.float64]

    def __call__(self, raw: NDArray[np.float64]) -> Array:
        """Raw scores (n,) float64 → expected squared errors, (n,) float32, positive."""
        width = (self.at[-1] - self.at[0]) or 1.0
        trifle = SLOPE * np.clip((raw - self.at[0]) / width, -BEYOND, 1 + BEYOND)
        expected = np.exp(np.interp(raw, self.at, self.log_error) + trifle)
        return np.asarray(np.clip(expected, _LEAST, _MOST), np.float32)


@dataclasses.dataclass(frozen=True)
class Uncertainty:
    """Predicts ‖h(old) − new‖², the squared error of transformed vectors, as the target's index holds them.

    card: of the two spaces, with the method that learned the prediction and its settings.
    """

    card: Card
    score: Head | Nearest
    calibration: Calibration

    def __post_init__(self) -> None:
        _check_shapes(self)

    @property
    def source(self) -> Space:
        """The space of the old vectors."""
        return self.card.source

    @property
    def target(self) -> Space:
        """The space of the transformed vectors."""
        return self.card.target

    @property
    def side_dimension(self) -> int | None:
        """The dimension of the side-information that the transformation reads; None for none."""
        return self.card.side_dimension

    def expected_error(self, old: Array, side: Array | None, transformed: Array) -> Array:
        """The expected squared distance of transformed vectors from the new model's: (n,) float32, positive.

        old: (n, d_old), side: (n, d_side) or None, transformed: (n, d_new) = h(old, side), float32. Raises ValueError
        where a dimension or a number of rows is wrong, or side-information is missing or not expected.
        """
        rows = checked(old, self.source.dimension, f"old vectors of {self.source}")
        outputs = checked(transformed, self.target.dimension, f"transformed vectors of {self.target}")
        if (side is None) != (self.side_dimension is None):
            raise ValueError("side-information is missing" if side is None else "side-information is not expected")
        beside = None if side is None or self.side_dimension is None else checked(side, self.side_dimension, "side")
        if {len(rows), len(outputs), len(rows if beside is None else beside)} != {len(rows)}:
            raise ValueError(f"{len(rows)} old vectors and {len(outputs)} transformed ones, or not as much beside them")
        errors = np.empty(len(rows), np.float32)
        for start in range(0, len(rows), CHUNK):
            part = slice(start, start + CHUNK)
            inputs = stacked_inputs(rows[part], None if beside is None else beside[part], self.source)
            errors[part] = self.calibration(self.score(inputs, as_indexed(outputs[part], self.target.metric)))
        return errors


def stacked_inputs(old: Array, side: Array | None, source: Space) -> Array:
    """[p ; s] with p normalised where the source is cosine: (n, d_old), (n, d_side) → (n, d_old + d_side) float32."""
    rows = as_indexed(old, source.metric)
    return rows if side is None else np.concatenate([rows, side], axis=1)


def save_uncertainty(uncertainty: Uncertainty, directory: Path) -> Card:
    """Writes an uncertainty so that a crash leaves the new artifact or the previous one; returns the card as saved.

    Raises OSError.
    """
    return write_sealed(uncertainty.card, uncertainty_arrays(uncertainty), directory)


def load_uncertainty(directory: Path, *, source: Space, target: Space) -> Uncertainty:
    """Reads the uncertainty of a transformation from `source` to `target`; raises CorruptArtifact or WrongDirection."""
    card, arrays = read_sealed(directory)
    uncertainty = uncertainty_of(card, arrays)
    check_direction(card, source, target)
    return uncertainty


def uncertainty_arrays(uncertainty: Uncertainty) -> Arrays:
    """The arrays of an uncertainty by name, from which `uncertainty_of` makes it again."""
    arrays: dict[str, NDArray[Any]] = {
        "calibration.at": uncertainty.calibration.at,
        "calibration.log_error": uncertainty.calibration.log_error,
    }
    match uncertainty.score:
        case Head(layer):
            arrays |= {"head.weight": layer.weight, "head.bias": layer.bias}
        case Nearest(reads, points, columns, values, k):
            arrays |= {f"nearest.{reads}": points, "nearest.columns": columns, "nearest.k": np.array([k])}
            if values is not None:
                arrays["nearest.values"] = values
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def uncertainty_of(card: Card, arrays: Arrays) -> Uncertainty:
    """The uncertainty that a card describes, of its arrays by name. Raises CorruptArtifact where they do not fit."""
    try:
        calibration = Calibration(arrays["calibration.at"], arrays["calibration.log_error"])
        return Uncertainty(card, _score(arrays), calibration)
    except (ValueError, TypeError) as error:
        raise CorruptArtifact(f"weights do not fit the card: {error}") from error
    except KeyError as error:
        raise CorruptArtifact(f"weights do not fit the card: there is no {error}") from error


def _score(arrays: Arrays) -> Head | Nearest:
    if "head.weight" in arrays:
        return Head(Dense(arrays["head.weight"], arrays["head.bias"]))
    if (k := arrays["nearest.k"]).shape != (1,) or k.dtype.kind not in "iu":
        raise ValueError(f"the number of nearest points is {k.shape} {k.dtype}, not (1,) int64")
    reads: Reads = "moved" if "nearest.moved" in arrays else "inputs"
    return Nearest(
        reads,
        arrays[f"nearest.{reads}"],
        arrays["nearest.columns"],
        arrays.get("nearest.values"),
        int(k[0]),
    )


def _check_shapes(u: Uncertainty) -> None:
    """Raises ValueError unless all arrays are finite and their shapes and dtypes fit the card and each other."""
    at, log_error = u.calibration.at, u.calibration.log_error
    if not len(at):
        raise ValueError("a calibration has knots")
    _check(at, (len(at),), np.float64)
    _check(log_error, (len(at),), np.float64)
    if not (np.diff(at) > 0).all() or not (np.diff(log_error) >= 0).all():
        raise ValueError("a calibration has knots that rise")
    if isinstance(u.score, Head):
        _check(u.score.layer.weight, (1, u.target.dimension))
        _check(u.score.layer.bias, (1,))
        return
    width = u.source.dimension + (u.side_dimension or 0) if u.score.reads == "inputs" else u.target.dimension
    _check(u.score.points, (len(u.score.points), width))
    _check(u.score.columns, (width,))
    if not 1 <= u.score.k <= len(u.score.points):
        raise ValueError(f"{u.score.k} nearest of {len(u.score.points)} points")
    if u.score.values is not None:
        _check(u.score.values, (len(u.score.points),))
        if not (u.score.values > 0).all():
            raise ValueError("errors known of points are positive")


def _check(array: NDArray[Any], shape: tuple[int, ...], dtype: type = np.float32) -> None:
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(f"weights are {array.shape} {array.dtype}, not {shape} {np.dtype(dtype)}")
    if not array.size:
        raise ValueError(f"weights are {array.shape}, which holds none")
    if not np.isfinite(array).all():
        raise ValueError("weights are not finite")
