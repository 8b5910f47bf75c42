"""One crossing in one file, to be taken away and used where there is no service: safetensors, with its card inside.

The arrays of the parts are named `chosen.…`, `plain.…` (left out where it is the chosen one) and `uncertainty.…`. The
metadata hold the card, and the SHA-256 of the whole file as it is with 64 zeros in the place of that checksum: it
covers the arrays, their names, and which way the crossing leads.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .artifact import transformation_arrays, transformation_of
from .crossing import Crossing
from .crossing_card import CrossingCard
from .errors import CorruptArtifact
from .layers import Array, checked
from .pushing import PushedQueries
from .tensor_file import Arrays, header_end, parse_tensors, tensor_bytes
from .uncertainty import uncertainty_arrays, uncertainty_of

_CHOSEN, _PLAIN, _UNCERTAINTY = "chosen", "plain", "uncertainty"
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
        WrongDirection for another model, and ValueError for a wrong dimension, or a NaN or an infinity.
        """
        rows, side, known = self._inputs(embeddings, side_information, has_side, made_by)
        return self.crossing.apply(rows, side, known)

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
        return self.crossing.expected_error(rows, side, known, outputs)

    def push(self, queries: Array, *, made_by: str) -> PushedQueries:
        """Turns queries of the new model, `made_by`, (m, d_new) float32, into queries that an index of untouched old
        vectors answers.

        Raises WrongDirection for another model, NotPushable where the crossing cannot be pushed, and ValueError for a
        wrong dimension, or a NaN or an infinity.
        """
        self.card.require_target(made_by)
        return self.crossing.plain.push(_finite(queries, self.card.target.dimension, f"queries of {self.card.target}"))

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
    crossing = taken.crossing
    chosen, plain = transformation_arrays(crossing.chosen), transformation_arrays(crossing.plain)
    arrays = _prefixed(_CHOSEN, chosen)
    if not _same(chosen, plain):
        arrays |= _prefixed(_PLAIN, plain)
    if crossing.uncertainty is not None:
        arrays |= _prefixed(_UNCERTAINTY, uncertainty_arrays(crossing.uncertainty))
    content = tensor_bytes(arrays, {_CHECKSUM: _NO_CHECKSUM.decode(), _CARD: taken.card.to_json()})
    checksum = hashlib.sha256(content).hexdigest()
    at = content.index(_NO_CHECKSUM)
    return content[:at] + checksum.encode() + content[at + len(checksum) :]


def parse_crossing(content: bytes) -> PortableCrossing:
    """The crossing in a file's content. Raises CorruptArtifact where any bit is another than was written."""
    try:
        metadata, arrays = parse_tensors(content)
    except ValueError as error:
        raise CorruptArtifact(f"the file cannot be read: {error}") from error
    if not {_CHECKSUM, _CARD} <= metadata.keys():
        raise CorruptArtifact("the file holds arrays, and no card of a crossing")
    if _checksum(content, metadata[_CHECKSUM].encode()) != metadata[_CHECKSUM]:
        raise CorruptArtifact("the file does not have the checksum that it names: copy it again")
    card = CrossingCard.from_json(metadata[_CARD])
    chosen = transformation_of(card.chosen, _within(_CHOSEN, arrays))
    apart = _within(_PLAIN, arrays)
    plain = transformation_of(card.plain, apart) if apart else chosen
    uncertainty = None
    if card.uncertainty is not None:
        uncertainty = uncertainty_of(card.uncertainty, _within(_UNCERTAINTY, arrays))
    return PortableCrossing(card, Crossing(chosen, plain, uncertainty))


def load_crossing(path: str | Path) -> PortableCrossing:
    """Reads the file of a crossing, and checks all of it. Raises CorruptArtifact, and OSError."""
    return parse_crossing(Path(path).read_bytes())


def check_crossing(path: str | Path) -> CrossingCard:
    """The card of a crossing's file that is whole. Raises CorruptArtifact for any other, and OSError."""
    return load_crossing(path).card


def _checksum(content: bytes, named: bytes) -> str:
    """The checksum of a file but for the one in its header, which is `named`."""
    at = content.find(named, 0, header_end(content))
    if at < 0 or len(named) != len(_NO_CHECKSUM):
        return ""
    whole, digest = memoryview(content), hashlib.sha256()
    for part in (whole[:at], _NO_CHECKSUM, whole[at + len(named) :]):
        digest.update(part)
    return digest.hexdigest()


def _prefixed(part: str, arrays: Arrays) -> dict[str, NDArray[np.generic]]:
    return {f"{part}.{name}": array for name, array in arrays.items()}


def _same(one: Arrays, other: Arrays) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def _within(part: str, arrays: Arrays) -> Arrays:
    prefix = f"{part}."
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _finite(values: Array, dimension: int, name: str) -> Array:
    rows = checked(values, dimension, name)
    wrong = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(wrong):
        first = ", ".join(map(str, wrong[:_MOST_NAMED]))
        raise ValueError(f"{len(wrong)} of the {name} hold a NaN or an infinity; rows {first}")
    return rows
