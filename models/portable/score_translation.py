"""What a score of the old model's search is worth in the new one, and the other way round, computed with numpy alone.

A threshold that an application compares scores with means something else after a change of model. A translation is one
piecewise linear, monotone curve for each direction, with an interval around it, for each way in which new queries are
answered: a `route`. Scores are those that a search shows: the cosine, the inner product, or the Euclidean distance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .card import Card, Space
from .checksummed import check_direction, read_sealed, write_sealed
from .errors import CorruptArtifact
from .tensor_file import Arrays

_Floats = NDArray[np.float64]
ScoreRoute = Literal["transformed", "instant"]
"""Whose scores the new ones are: of transformed items (a cascade's too), or of queries pushed into the old index."""

SCORE_ROUTES: tuple[ScoreRoute, ...] = ("transformed", "instant")
_ARRAYS = ("at", "value", "low", "high")


@dataclasses.dataclass(frozen=True)
class TranslatedScores:
    """Scores in the other space, (n,) float64 each.

    value: the translated score; low, high: between them lie 90 % of the scores that items of just the given score have
    in the other space. extrapolated: (n,) bool, the scores given that lie outside the range that was seen: they were
    translated as the nearest end of that range.
    """

    value: _Floats
    low: _Floats
    high: _Floats
    extrapolated: NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class ScoreCurve:
    """A monotone, piecewise linear curve from scores to scores of another space.

    at: (k,) float64, k ≥ 1, rising, the scores at its knots. value: (k,) float64, never falling or, between a
    similarity and a distance, never rising. low, high: (k,) float64, the interval around it. error: how far the scores
    of held-out queries lie from it, on average over all items of the gallery.
    """

    at: _Floats
    value: _Floats
    low: _Floats
    high: _Floats
    error: float

    def __post_init__(self) -> None:
        for name in _ARRAYS:
            array = getattr(self, name)
            if array.ndim != 1 or array.shape != self.at.shape or array.dtype != np.float64:
                raise ValueError(f"a curve has equally many float64 numbers in every part, not {array.shape} {name}")
            if not np.isfinite(array).all():
                raise ValueError("a curve's numbers are finite")
        if not 0 <= self.error < np.inf:
            raise ValueError("a curve's error is finite and not negative")
        steps = np.diff(self.value)
        if not len(self.at) or not (np.diff(self.at) > 0).all() or not ((steps >= 0).all() or (steps <= 0).all()):
            raise ValueError("a curve has knots that rise, and goes one way")

    @property
    def seen(self) -> tuple[float, float]:
        """The least and the largest score that it was fitted on."""
        return float(self.at[0]), float(self.at[-1])

    def __call__(self, scores: ArrayLike) -> TranslatedScores:
        """Translates scores (n,), or one, which counts as n = 1. NaN is translated as NaN."""
        given = np.atleast_1d(np.asarray(scores, np.float64))
        first, last = self.seen
        value, low, high = (np.interp(given, self.at, curve) for curve in (self.value, self.low, self.high))
        return TranslatedScores(value, low, high, (given < first) | (given > last))


@dataclasses.dataclass(frozen=True)
class ScoreTranslation:
    """The curves of one route: from the old search's scores to the new one's, and back."""

    to_new: ScoreCurve
    to_old: ScoreCurve


@dataclasses.dataclass(frozen=True)
class ScoreTranslations:
    """The translations of a crossing's scores, by route. card: of the two spaces, and how they were fitted."""

    card: Card
    by_route: Mapping[ScoreRoute, ScoreTranslation]


def save_score_translations(translations: ScoreTranslations, directory: Path) -> Card:
    """Writes translations so that a crash leaves the new artifact or the previous one; returns the card as saved.

    Raises OSError.
    """
    return write_sealed(translations.card, score_arrays(translations), directory)


def load_score_translations(directory: Path, *, source: Space, target: Space) -> ScoreTranslations:
    """Reads the translations of a crossing from `source` to `target`; raises CorruptArtifact or WrongDirection."""
    card, arrays = read_sealed(directory)
    translations = score_translations_of(card, arrays)
    check_direction(card, source, target)
    return translations


def score_arrays(translations: ScoreTranslations) -> Arrays:
    """The arrays of translations by name, from which `score_translations_of` makes them again."""
    return dict(_named(translations))


def score_translations_of(card: Card, arrays: Arrays) -> ScoreTranslations:
    """The translations that a card describes, of their arrays by name. Raises CorruptArtifact where they do not fit."""
    try:
        routes = [route for route in SCORE_ROUTES if f"{route}.to_new.at" in arrays]
        by_route = {
            route: ScoreTranslation(_curve(arrays, f"{route}.to_new"), _curve(arrays, f"{route}.to_old"))
            for route in routes
        }
    except (ValueError, TypeError) as error:
        raise CorruptArtifact(f"weights do not fit the card: {error}") from error
    except KeyError as error:
        raise CorruptArtifact(f"weights do not fit the card: there is no {error}") from error
    if not by_route:
        raise CorruptArtifact("weights do not fit the card: there is no curve")
    return ScoreTranslations(card, by_route)


def _named(translations: ScoreTranslations) -> Iterator[tuple[str, NDArray[Any]]]:
    for route, translation in translations.by_route.items():
        for direction, curve in (("to_new", translation.to_new), ("to_old", translation.to_old)):
            for name in _ARRAYS:
                yield f"{route}.{direction}.{name}", np.ascontiguousarray(getattr(curve, name))
            yield f"{route}.{direction}.error", np.array([curve.error])


def _curve(arrays: Arrays, name: str) -> ScoreCurve:
    at, value, low, high = (arrays[f"{name}.{part}"] for part in _ARRAYS)
    if (error := arrays[f"{name}.error"]).shape != (1,) or error.dtype.kind != "f":
        raise ValueError(f"the error of a curve is {error.shape} {error.dtype}, not (1,) float64")
    return ScoreCurve(at, value, low, high, float(error[0]))
