"""Scores of two models together: what the old query says of the old vectors, and the new query of the crossed ones.

fused(x) = (1 − α)·z_old(x) + α·z_new(x), z(x) = (s(x) − mean)/σ, where s is the cosine, the inner product or the
negative squared Euclidean distance (which ranks as the distance does, and alone is a polynomial in x), and mean and σ
are those of the query's scores over the whole gallery. They follow from the moments of the gallery's vectors, exactly
but for rounding and for what was added to the gallery since: σ² = qᵀΣq for the cosine and the inner product, and for
the squared distance a like form in Σ and the moments of |x|² (`models.portable.moments`). α = 0 is the old search, and
α = 1 the crossing's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .card import Card, Space
from .checksummed import check_direction, read_sealed, write_sealed
from .errors import CorruptArtifact
from .layers import Array, checked
from .moments import Linear, Moments
from .pushing import FARTHEST
from .tensor_file import Arrays
from .transformation import Transformation

ItemScores = NDArray[np.float32] | NDArray[np.float64]
"""Scores of items, higher is nearer."""


@dataclasses.dataclass(frozen=True)
class Alphas:
    """How much the new query's opinion weighs, each from 0 to 1.

    pushed: over the untouched old index; exact: of items scored by their new vectors, crossed or real. These are
    weighed alike: else the scores of one answer could not be compared.
    """

    pushed: float
    exact: float

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if not 0 <= value <= 1:
                raise ValueError(f"the weight α of the {name} form is from 0 to 1, not {value}")


@dataclasses.dataclass(frozen=True)
class PushedFusion:
    """One query for each pair of queries, for an index of old vectors, that ranks it by the fused score.

    queries: (m, d_old) float32. score: what the index must compute over its rows (unit rows where the source is cosine,
    else as given): "l2", the squared distance, or "ip", the inner product. The fused score is scale[query] · score in
    the index + offset[query], higher is nearer whatever the index computes; scale, offset: (m,) float64, scale negative
    for "l2". It is approximate unless `exact`; `reason` says why.
    """

    queries: Array
    score: Literal["ip", "l2"]
    scale: NDArray[np.float64]
    offset: NDArray[np.float64]
    exact: bool
    reason: str


@dataclasses.dataclass(frozen=True)
class Fusion:
    """Fuses the scores of the old and of the new model's queries.

    card: of the two spaces. old: moments of the gallery's old vectors; crossed: of the same, transformed.
    """

    card: Card
    old: Moments
    crossed: Moments
    alphas: Alphas

    def __post_init__(self) -> None:
        for moments, space in ((self.old, self.source), (self.crossed, self.target)):
            if len(moments.mean) != space.dimension:
                raise ValueError(f"moments of {len(moments.mean)} dimensions for {space}")

    @property
    def source(self) -> Space:
        """The space of the old queries and vectors."""
        return self.card.source

    @property
    def target(self) -> Space:
        """The space of the new queries and of the crossed vectors."""
        return self.card.target

    def push(self, q_old: Array, q_new: Array, crossing: Transformation) -> PushedFusion:
        """Turns queries of both models into one each that an index of the old vectors answers by the fused score.

        q_old: (m, d_old), q_new: (m, d_new), float32. Both scores are a·|x|² + ⟨b, x⟩ in the old vector x, with a ≤ 0,
        if the crossing is pushed, and so is their sum: an inner product where a = 0, or where every x has unit length;
        otherwise −|a|·‖x − b/(2|a|)‖². So nothing but the pushing of the crossing can be inexact. z_new is scaled by
        the spread of the pushed scores themselves. Raises NotPushable unless the crossing is `pushable`, and ValueError
        for wrong dimensions or numbers of queries.
        """
        old_queries, new_queries = self._queries(q_old, q_new)
        alpha, pushed = self.alphas.pushed, crossing.push(new_queries)
        new = Linear(pushed.queries.astype(np.float64), np.zeros(len(pushed.queries)))
        if pushed.score == "l2":
            new = Linear.of(pushed.queries, "l2")
        old, new = Linear.of(old_queries, self.source.metric), new.times(pushed.scale)
        fused = old.times((1 - alpha) * _inverse(self.old.spread(old))).plus(
            new.times(alpha * _inverse(self.old.spread(new)))
        )
        exact = pushed.exact or alpha == 0
        reason = "the old search alone" if alpha == 0 else f"old scores are exact; of the new ones: {pushed.reason}"
        return self._asked(fused, exact, reason)

    def scores(self, q_old: Array, q_new: Array, s_old: ItemScores, s_new: ItemScores) -> NDArray[np.float64]:
        """Fused scores of each query's candidates: (m, c) float64, higher is nearer.

        q_old: (m, d_old), q_new: (m, d_new), float32. s_old: (m, c) what the old queries score the candidates' old
        vectors, s_new: (m, c) the new queries the crossed or real new vectors: cosine, inner product, or the negative
        squared distance. s_old is NaN where an item has no old vector: the new query's opinion then stands for both.
        Scores of real new vectors are centred and scaled as those of crossed ones. Raises ValueError for wrong shapes.
        """
        old_queries, new_queries = self._queries(q_old, q_new)
        if s_old.shape != s_new.shape or s_old.ndim != 2 or len(s_old) != len(old_queries):
            raise ValueError(
                f"scores of {len(old_queries)} queries' candidates have one shape (m, c), not "
                f"{s_old.shape} and {s_new.shape}"
            )
        alpha = self.alphas.exact
        z_new = _standardised(s_new, self.crossed, new_queries, self.target)
        z_old = _standardised(s_old, self.old, old_queries, self.source)
        z_old = np.where(np.isnan(s_old), z_new, z_old)
        return np.asarray((1 - alpha) * z_old + alpha * z_new)

    def _queries(self, q_old: Array, q_new: Array) -> tuple[Array, Array]:
        old = checked(q_old, self.source.dimension, f"queries of {self.source}")
        new = checked(q_new, self.target.dimension, f"queries of {self.target}")
        if len(old) != len(new):
            raise ValueError(f"{len(old)} queries of {self.source} and {len(new)} of {self.target}")
        return old, new

    def _asked(self, fused: Linear, exact: bool, reason: str) -> PushedFusion:
        """As queries for an index; those by inner product are brought to unit length, whatever the spaces' sizes."""
        centre = self.old.centre(fused)
        if self.source.metric == "cosine" or not fused.square.any():
            length = np.linalg.norm(fused.slope, axis=1)
            length[length == 0] = 1.0
            queries = (fused.slope / length[:, None]).astype(np.float32)
            # Under cosine |x|² = 1, which is centred away.
            constant = fused.square if self.source.metric == "cosine" else 0.0
            return PushedFusion(queries, "ip", length, constant - centre, exact, reason)
        # Where |x|² counts so little that the centre would be further away than an index takes, it counts more than it
        # should, by less than squared distances from so far away can tell in float32.
        weight = np.maximum(-fused.square, np.linalg.norm(fused.slope, axis=1) / (2 * FARTHEST))
        # A query without any spread has no weight at all: it ranks nothing, wherever it is put.
        centres = (fused.slope * (_inverse(weight) / 2)[:, None]).astype(np.float32)
        offset = weight * np.square(centres, dtype=np.float64).sum(axis=1) - centre
        return PushedFusion(centres, "l2", -weight, offset, exact, reason)


def _standardised(scores: ItemScores, moments: Moments, queries: Array, space: Space) -> NDArray[np.float64]:
    """(s − mean)/σ over the gallery whose moments these are: (m, c), queries (m, d) of the space → (m, c) float64."""
    form = Linear.of(queries, space.metric)
    centre = moments.centre(form)
    if space.metric == "l2":
        centre -= np.square(queries, dtype=np.float64).sum(axis=1)  # which the form leaves out
    return np.asarray((scores - centre[:, None]) * _inverse(moments.spread(form))[:, None])


def _inverse(spread: NDArray[np.float64]) -> NDArray[np.float64]:
    """1/σ; 0 where σ is 0, since what is the same for every item says nothing."""
    return np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)


def save_fusion(fusion: Fusion, directory: Path) -> Card:
    """Writes a fusion so that a crash leaves the new artifact or the previous one; returns the card as saved.

    Raises OSError.
    """
    return write_sealed(fusion.card, dict(_named(fusion)), directory)


def load_fusion(directory: Path, *, source: Space, target: Space) -> Fusion:
    """Reads the fusion of a crossing from `source` to `target`; raises CorruptArtifact or WrongDirection."""
    card, arrays = read_sealed(directory)
    try:
        alphas = Alphas(*arrays["alphas"].tolist())
        fusion = Fusion(card, _moments(arrays, "old"), _moments(arrays, "crossed"), alphas)
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptArtifact(f"weights do not fit the card: {error}") from error
    check_direction(card, source, target)
    return fusion


def _named(fusion: Fusion) -> Iterator[tuple[str, NDArray[Any]]]:
    yield "alphas", np.array(dataclasses.astuple(fusion.alphas), np.float64)
    for name, moments in (("old", fusion.old), ("crossed", fusion.crossed)):
        yield f"{name}.mean", np.ascontiguousarray(moments.mean)
        yield f"{name}.covariance", np.ascontiguousarray(moments.covariance)
        yield f"{name}.skew", np.ascontiguousarray(moments.skew)
        yield f"{name}.square", np.array([moments.square], np.float64)
        yield f"{name}.unit", np.array([moments.unit], np.float64)


def _moments(arrays: Arrays, name: str) -> Moments:
    mean, covariance, skew, square = (arrays[f"{name}.{part}"] for part in ("mean", "covariance", "skew", "square"))
    unit = arrays.get(f"{name}.unit")  # which older artifacts do not have
    return Moments(mean, covariance, skew, float(square[0]), 1.0 if unit is None else float(unit[0]))
