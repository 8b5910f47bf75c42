"""One crossing in one file, to be taken away and used where there is no service: safetensors, with its card inside.

The arrays of the parts are named `chosen.…`, `plain.…` (left out where it is the chosen one), `uncertainty.…` and
`scores.…`. The metadata hold the card, and the SHA-256 of the whole file as it is with 64 zeros in the place of
that checksum: it covers the arrays, their names, and which way the crossing leads.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .artifact import transformation_arrays, transformation_of
from .crossing import Crossing
from .crossing_card import CrossingCard
from .errors import BeyondFloat32, CorruptArtifact, NotTranslated, WrongDirection
from .layers import Array, checked
from .pushing import PushedQueries
from .score_translation import ScoreRoute, ScoreTranslations, TranslatedScores, score_arrays, score_translations_of
from .strict_json import shown
from .tensor_file import Arrays, header_end, parse_tensors, tensor_bytes
from .uncertainty import uncertainty_arrays, uncertainty_of

_CHOSEN, _PLAIN, _UNCERTAINTY, _SCORES = "chosen", "plain", "uncertainty", "scores"
_CARD, _CHECKSUM = "card", "sha256"
_NO_CHECKSUM = b"0" * 64
_MOST_NAMED = 5


@dataclasses.dataclass(frozen=True)
class PortableCrossing:
    """A crossing with its card, for use away from the service.

    Each method is told in `made_by` which model made what it is given, and refuses any but the one that it is for: no
    other mistake is as easy, and none shows as little, as two models may be of one dimension.
    """

    card: CrossingCard
    crossing: Crossing
    scores: ScoreTranslations | None = None

    def apply(
        self,
        embeddings: Array,
        side_information: Array | None = None,
        has_side: NDArray[np.bool_] | None = None,
        *,
        made_by: str,
    ) -> Array:
        """Transforms vectors of the old model, `made_by`, into the new model's space, as an index of it holds them.

        embeddings: (n, d_old) float32; side_information: (n, d_side) float32, with has_side (n,) bool for the rows
        where it is known, None for all → (n, d_new) float32. Rows without it are transformed without it. Raises
        WrongDirection for another model, ValueError for a wrong dimension, or a NaN or an infinity, and BeyondFloat32
        where that, or more, would come out.
        """
        rows, side, known = self._inputs(embeddings, side_information, has_side, made_by)
        with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is looked at
            transformed = self.crossing.apply(rows, side, known)
        _refuse_beyond(np.asarray(np.isfinite(transformed).all(axis=1)))
        return transformed

    def expected_error(
        self,
        embeddings: Array,
        transformed: Array,
        side_information: Array | None = None,
        has_side: NDArray[np.bool_] | None = None,
        *,
        made_by: str,
    ) -> Array:
        """The expected squared distance (n,) float32 of `transformed`, which `apply` made of the same input, from what
        the new model itself would have made; NaN where it was not learned. Raises as `apply`."""
        rows, side, known = self._inputs(embeddings, side_information, has_side, made_by)
        outputs = _finite(transformed, self.card.target.dimension, f"transformed vectors of {self.card.target}")
        with np.errstate(over="ignore", invalid="ignore"):
            errors = self.crossing.expected_error(rows, side, known, outputs)
        if self.crossing.uncertainty is not None:
            learned = np.ones(len(rows), bool) if self.card.side_dimension is None else known
            _refuse_beyond(~np.isnan(errors) | ~learned)
        return errors

    def push(self, queries: Array, *, made_by: str) -> PushedQueries:
        """Turns queries of the new model, `made_by`, (m, d_new) float32, into queries that an index of untouched old
        vectors answers.

        Raises WrongDirection for another model, NotPushable where the crossing cannot be pushed, ValueError for a wrong
        dimension, or a NaN or an infinity, and BeyondFloat32 where that, or more, would come out.
        """
        self.card.require_target(made_by)
        rows = _finite(queries, self.card.target.dimension, f"queries of {self.card.target}")
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            pushed = self.crossing.plain.push(rows)
        finite = np.isfinite(pushed.queries).all(axis=1) & np.isfinite(pushed.offset) & np.isfinite(pushed.scale)
        _refuse_beyond(np.asarray(finite))
        return pushed

    def translate_score(
        self, scores: ArrayLike, *, made_by: str, route: ScoreRoute = "transformed"
    ) -> TranslatedScores:
        """What scores (n,), or one, of one model's search are worth in the other's: a threshold, as a rule.

        made_by: the model whose search shows them, the old one or the new one. route: how the new search is answered,
        by transformed vectors or by pushed queries. Raises WrongDirection for any other model, and NotTranslated where
        that was not learned.
        """
        if made_by not in (old_new := (self.card.source.model, self.card.target.model)):
            raise WrongDirection(f"The crossing translates scores of models {' and '.join(old_new)}, not {made_by!r}.")
        if self.scores is None or route not in self.scores.by_route:
            raise NotTranslated(f"What scores are worth was not learned for the route {route!r} of this crossing.")
        translation = self.scores.by_route[route]
        return (translation.to_new if made_by == self.card.source.model else translation.to_old)(scores)

    def _inputs(
        self, embeddings: Array, side: Array | None, has_side: NDArray[np.bool_] | None, made_by: str
    ) -> tuple[Array, Array | None, NDArray[np.bool_]]:
        self.card.require_source(made_by)
        rows = _finite(embeddings, self.card.source.dimension, f"old vectors of {self.card.source}")
        reads = self.card.side_dimension
        if side is None:
            return rows, None, np.zeros(len(rows), bool)
        if reads is None:
            raise ValueError("side-information is not expected: the crossing was learned without it")
        beside = _finite(side, reads, "side-information")
        known = np.ones(len(rows), bool) if has_side is None else np.asarray(has_side, bool)
        if {len(beside), len(known)} != {len(rows)}:
            raise ValueError(f"{len(beside)} rows of side-information, {len(known)} known, for {len(rows)} vectors")
        return rows, beside, known


def crossing_bytes(taken: PortableCrossing) -> bytes:
    """The file's content; of the same crossing and card, the same."""
    content = tensor_bytes(_arrays(taken), {_CHECKSUM: _NO_CHECKSUM.decode(), _CARD: taken.card.to_json()})
    checksum = hashlib.sha256(content).hexdigest()
    at = content.index(_NO_CHECKSUM)
    return content[:at] + checksum.encode() + content[at + len(checksum) :]


def _arrays(taken: PortableCrossing) -> Arrays:
    """The arrays of all parts, by the names that they have in the file."""
    crossing = taken.crossing
    chosen, plain = transformation_arrays(crossing.chosen), transformation_arrays(crossing.plain)
    arrays = _prefixed(_CHOSEN, chosen)
    if not _same(chosen, plain):
        arrays |= _prefixed(_PLAIN, plain)
    if crossing.uncertainty is not None:
        arrays |= _prefixed(_UNCERTAINTY, uncertainty_arrays(crossing.uncertainty))
    if taken.scores is not None:
        arrays |= _prefixed(_SCORES, score_arrays(taken.scores))
    return arrays


def parse_crossing(content: bytes) -> PortableCrossing:
    """The crossing in a file's content. Raises CorruptArtifact where any bit is another than was written, and where
    what is written is no crossing: a checksum says nothing of who wrote it."""
    try:
        metadata, arrays = parse_tensors(content)
    except ValueError as error:
        raise CorruptArtifact(f"the file cannot be read: {error}") from error
    if not {_CHECKSUM, _CARD} <= metadata.keys():
        raise CorruptArtifact("the file holds arrays, and no card of a crossing")
    if not _has_checksum(content, metadata[_CHECKSUM]):
        raise CorruptArtifact("the file does not have the checksum that it names: copy it again")
    card = CrossingCard.from_json(metadata[_CARD])
    chosen = transformation_of(card.chosen, _within(_CHOSEN, arrays))
    apart = _within(_PLAIN, arrays)
    as_chosen = not apart and card.plain == card.chosen
    plain = chosen if as_chosen else transformation_of(card.plain, apart or _within(_CHOSEN, arrays))
    uncertainty = scores = None
    if card.uncertainty is not None:
        uncertainty = uncertainty_of(card.uncertainty, _within(_UNCERTAINTY, arrays))
    if card.scores is not None:
        scores = score_translations_of(card.scores, _within(_SCORES, arrays))
    taken = PortableCrossing(card, Crossing(chosen, plain, uncertainty), scores)
    _check_together(taken, arrays)
    return taken


def _check_together(taken: PortableCrossing, arrays: Arrays) -> None:
    """Raises CorruptArtifact where parts that are each sound are none of one crossing, or arrays are of no part."""
    crossing = taken.crossing
    if crossing.plain.card.side_dimension is not None:
        raise CorruptArtifact("what transforms rows without side-information reads side-information")
    if crossing.uncertainty is not None and crossing.uncertainty.side_dimension != taken.card.side_dimension:
        raise CorruptArtifact("what predicts the error does not read the side-information that the crossing reads")
    if unknown := sorted(arrays.keys() - _arrays(taken).keys()):
        raise CorruptArtifact(f"it holds arrays that no part of a crossing reads: {shown(unknown[0])}")


def load_crossing(path: str | Path) -> PortableCrossing:
    """Reads the file of a crossing, and checks all of it. Raises CorruptArtifact, and OSError."""
    return parse_crossing(Path(path).read_bytes())


def check_crossing(path: str | Path) -> CrossingCard:
    """The card of a crossing's file that is whole. Raises CorruptArtifact for any other, and OSError."""
    return load_crossing(path).card


def _has_checksum(content: bytes, named: str) -> bool:
    """Whether `named`, which stands in a file's header, is the checksum of all else in the file."""
    at = content.find(named.encode(errors="replace"), 0, header_end(content))
    if at < 0 or len(named) != len(_NO_CHECKSUM):
        return False
    whole, digest = memoryview(content), hashlib.sha256()
    for part in (whole[:at], _NO_CHECKSUM, whole[at + len(named) :]):
        digest.update(part)
    return digest.hexdigest() == named


def _prefixed(part: str, arrays: Arrays) -> dict[str, NDArray[np.generic]]:
    return {f"{part}.{name}": array for name, array in arrays.items()}


def _same(one: Arrays, other: Arrays) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def _within(part: str, arrays: Arrays) -> Arrays:
    prefix = f"{part}."
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _refuse_beyond(finite: NDArray[np.bool_]) -> None:
    """Raises BeyondFloat32 where some rows (n,) are not finite."""
    if not finite.all():
        raise BeyondFloat32(np.flatnonzero(~finite).tolist())


def _finite(values: Array, dimension: int, name: str) -> Array:
    rows = checked(values, dimension, name)
    wrong = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(wrong):
        first = ", ".join(map(str, wrong[:_MOST_NAMED]))
        raise ValueError(f"{len(wrong)} of the {name} hold a NaN or an infinity; rows {first}")
    return rows
