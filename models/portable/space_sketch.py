"""A bounded sketch of one model's vectors: a uniform sample of the distinct ones, from which mean, covariance and norms
are read.

The sample is "bottom-k" (Cohen & Kaplan, PODC 2007): each vector has a priority that is a hash of its own components,
and the lowest priorities are kept. So a sketch does not depend on the order in which vectors came, nor on how often one
came, and merging two sketches gives exactly the sketch of everything that either saw.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

AnyArray = NDArray[Any]

_MOST_ROWS = 2_048
_MOST_COMPONENTS = 2**22
_WORDS_AT_ONCE = 2**14
_FACTORS = np.random.default_rng(384).integers(1, 2**63, 32_769, dtype=np.uint64) * np.uint64(2) + np.uint64(1)


def sketch_rows(dimension: int) -> int:
    """The most vectors that a sketch of this dimension keeps."""
    return max(1, min(_MOST_ROWS, _MOST_COMPONENTS // dimension))


@dataclass(frozen=True)
class SpaceSketch:
    """A sample of a model's non-zero vectors, in order of their priorities.

    priorities: (m,) uint64, ascending; directions: (m, d) float16, unit rows; norms: (m,) float32.
    """

    priorities: AnyArray
    directions: AnyArray
    norms: AnyArray

    @classmethod
    def empty(cls, dimension: int) -> SpaceSketch:
        return cls(np.empty(0, np.uint64), np.empty((0, dimension), np.float16), np.empty(0, np.float32))

    @classmethod
    def of(cls, vectors: AnyArray, below: int | None = None) -> SpaceSketch:
        """The sketch of vectors (n, d), finite; `below`: a priority from which on they would not be kept anyhow."""
        vectors = np.ascontiguousarray(vectors, np.float32)
        limit = sketch_rows(vectors.shape[1])
        priorities = _priorities(vectors)
        wanted = np.arange(len(vectors)) if below is None else np.flatnonzero(priorities < np.uint64(below))
        if len(wanted) > limit:  # Some may be zero, or there twice: a little more than is kept.
            most = min(len(wanted) - 1, 2 * limit)
            wanted = wanted[np.argpartition(priorities[wanted], most)[: most + 1]]
        chosen = vectors[wanted].astype(np.float64)
        norms = np.linalg.norm(chosen, axis=1)
        usable = norms > 0
        directions = (chosen[usable] / norms[usable, None]).astype(np.float16)
        return cls._lowest(priorities[wanted][usable], directions, norms[usable].astype(np.float32))

    def merged(self, other: SpaceSketch) -> SpaceSketch:
        """The sketch of all that either has seen."""
        return self._lowest(
            np.concatenate([self.priorities, other.priorities]),
            np.concatenate([self.directions, other.directions]),
            np.concatenate([self.norms, other.norms]),
        )

    def __len__(self) -> int:
        return len(self.priorities)

    @property
    def dimension(self) -> int:
        return int(self.directions.shape[1])

    @property
    def full(self) -> bool:
        return len(self) == sketch_rows(self.dimension)

    @property
    def below(self) -> int | None:
        """Vectors of this priority or a higher one would change nothing; None while every vector is kept."""
        return int(self.priorities[-1]) if self.full else None

    @property
    def distinct(self) -> int:
        """How many distinct vectors it has seen: exactly while it is not full, estimated after that."""
        return round((len(self) - 1) / (float(self.priorities[-1]) / 2.0**64)) if self.full else len(self)

    def to_bytes(self) -> bytes:
        file = io.BytesIO()
        np.savez(file, priorities=self.priorities, directions=self.directions, norms=self.norms)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> SpaceSketch:
        """Raises ValueError, KeyError, OSError or zipfile.BadZipFile where the content is none that was written."""
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return cls(file["priorities"], file["directions"], file["norms"])

    @classmethod
    def _lowest(cls, priorities: AnyArray, directions: AnyArray, norms: AnyArray) -> SpaceSketch:
        _, first = np.unique(priorities, return_index=True)
        kept = first[: sketch_rows(directions.shape[1])]
        return cls(priorities[kept], directions[kept], norms[kept])


def _priorities(vectors: AnyArray) -> AnyArray:
    """A hash of each row of (n, d) float32 as (n,) uint64, uniform for all that a sample cares."""
    if vectors.shape[1] % 2:
        vectors = np.pad(vectors, ((0, 0), (0, 1)))
    words = vectors.view(np.uint64)
    factors, hashes = _FACTORS[: words.shape[1]], np.empty(len(words), np.uint64)
    step = max(1, _WORDS_AT_ONCE // words.shape[1])
    with np.errstate(over="ignore"):
        for start in range(0, len(words), step):  # a piece at a time stays in the processor's cache
            piece = words[start : start + step]
            mixed = piece >> np.uint64(29)
            mixed ^= piece
            mixed *= factors
            hashes[start : start + step] = mixed.sum(axis=1, dtype=np.uint64)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # splitmix64's last steps
            hashes = (hashes ^ (hashes >> np.uint64(shift))) * np.uint64(factor)
        return np.asarray(hashes ^ (hashes >> np.uint64(31)), np.uint64)
