"""How a generation's vectors come from the items: the model they start from, and the crossings after it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pyarrow as pa

from app.artifacts.crossings import Crossing
from app.storage.lance_table import ROW_ID, embedding_column, vectors_of
from models.portable import Array

SIDE_INFORMATION = "side_information"


@dataclass(frozen=True)
class Projected:
    """Items in a generation's space: `rows` (m,) int64, `vectors` (m, d) float32, `native` (m,) bool.

    A native vector was made by the generation's own model; every other was transformed. `uncertainty` (m,) float32 is
    the expected squared distance of a vector from the one that the generation's model would make: 0 for a native one,
    NaN where it is unknown. Over several crossings the errors are added, as if independent and as if the next one
    neither enlarged nor shrank the one before.
    """

    rows: np.ndarray
    vectors: np.ndarray
    native: np.ndarray
    uncertainty: np.ndarray


@dataclass(frozen=True)
class Lineage:
    """The models from the gallery's first to a generation's own; `crossings[i]` leads from `models[i]` to the next.

    `shortcuts[i, j]` leads from `models[i]` to `models[j]` past those between, where that was learned and is better
    than the crossings one after the other.
    """

    models: tuple[str, ...]
    dimensions: tuple[int, ...]
    crossings: tuple[Crossing, ...] = ()
    shortcuts: Mapping[tuple[int, int], Crossing] = field(default_factory=dict)

    @cached_property
    def of_vectors_alone(self) -> "Lineage":
        """A lineage that gives the same vectors, and leaves unknown how far they miss."""
        crossings = tuple(replace(crossing, uncertainty=None) for crossing in self.crossings)
        shortcuts = {ends: replace(crossing, uncertainty=None) for ends, crossing in self.shortcuts.items()}
        return replace(self, crossings=crossings, shortcuts=shortcuts)

    @property
    def model(self) -> str:
        """The model whose space this is."""
        return self.models[-1]

    @property
    def dimension(self) -> int:
        return self.dimensions[-1]

    @cached_property
    def columns(self) -> list[str]:
        """The item columns that a projection reads, where the table has them."""
        crossings = [*self.crossings, *self.shortcuts.values()]
        side = (
            [SIDE_INFORMATION] if any(crossing.chosen.card.side_dimension is not None for crossing in crossings) else []
        )
        return [embedding_column(model) for model in self.models] + side

    def after(self, model: str) -> tuple[str, ...]:
        """The models derived from `model` here: their vectors of an item are stale once `model` writes it anew."""
        return self.models[self.models.index(model) + 1 :] if model in self.models else ()

    def path(self, start: int) -> tuple[Crossing, ...]:
        """The crossings from `models[start]` to the last, one after the other, by the shortcuts that there are."""
        followed: list[Crossing] = []  # from the last crossing backwards
        end = len(self.models) - 1
        while end > start:
            if (shortcut := self.shortcuts.get((start, end))) is not None:
                return (shortcut, *reversed(followed))
            end -= 1
            followed.append(self.crossings[end])
        return tuple(reversed(followed))

    def project(self, batch: pa.RecordBatch) -> Projected:
        """Each item in this space, from its newest model's vector on; items without any vector are left out."""
        side, has_side = _optional(batch, SIDE_INFORMATION)
        count = batch.num_rows
        own: list[Array | None] = []
        newest = np.full(count, -1)
        for place, model in enumerate(self.models):
            vectors, has = _optional(batch, embedding_column(model))
            own.append(vectors)
            newest[has] = place
        projected = np.zeros((count, self.dimension), np.float32)
        error = np.zeros(count, np.float32)
        for place, vectors in enumerate(own):
            taken = newest == place
            if vectors is None or not taken.any():
                continue
            if taken.all():
                projected, error = self._carried(place, vectors, side, has_side)
            else:
                beside = None if side is None else side[taken]
                projected[taken], error[taken] = self._carried(place, vectors[taken], beside, has_side[taken])
        rows = batch.column(ROW_ID).to_numpy().astype(np.int64)
        native, valid = newest == len(self.models) - 1, newest >= 0
        if valid.all():
            return Projected(rows, projected, native, error)
        return Projected(rows[valid], projected[valid], native[valid], error[valid])

    def _carried(self, start: int, vectors: Array, side: Array | None, has_side: np.ndarray) -> tuple[Array, Array]:
        """Vectors of `models[start]` in the last space, and the error expected of them."""
        error = np.zeros(len(vectors), np.float32)
        for crossing in self.path(start):
            transformed = crossing.apply(vectors, side, has_side)
            error += crossing.expected_error(vectors, side, has_side, transformed)
            vectors = transformed
        return vectors, error


def _optional(batch: pa.RecordBatch, column: str) -> tuple[np.ndarray | None, np.ndarray]:
    """A vector column with zeros where it is null, and where it is not null; None where there is no such column."""
    has = np.zeros(batch.num_rows, bool)
    if column not in batch.schema.names:
        return None, has
    indices, vectors = vectors_of(batch.column(column))
    has[indices] = True
    if len(indices) == batch.num_rows:
        return vectors, has
    full = np.zeros((batch.num_rows, vectors.shape[1]), np.float32)
    full[indices] = vectors
    return full, has
