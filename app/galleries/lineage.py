"""How a generation's vectors come from the items: the model they start from, and the crossings after it."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa

from app.lance_table import ROW_ID, embedding_column, vectors_of
from models.portable import Array, Transformation, Uncertainty

SIDE_INFORMATION = "side_information"


@dataclass(frozen=True)
class Crossing:
    """One hop between two spaces: the transformation that was chosen, and one for items without side-information.

    `plain` is the best transformation that needs no side-information; the same object where `chosen` needs none. It
    serves the items that lack what `chosen` reads, unless `chosen` has learned something to stand in for it.
    `uncertainty` tells how far `chosen` is expected to miss; None where that was not learned.
    """

    chosen: Transformation
    plain: Transformation
    uncertainty: Uncertainty | None = None

    @property
    def linear(self) -> bool:
        """Whether both are."""
        return self.chosen.linear and self.plain.linear

    def apply(self, embeddings: Array, side: Array | None, has_side: np.ndarray) -> Array:
        """`embeddings` (n, d_old) float32, `side` (n, d_side) with `has_side` (n,) bool → (n, d_new) float32."""
        reads = self.chosen.card.side_dimension
        if reads is None:
            return self.chosen.apply(embeddings)
        if self.chosen.stand_in is not None:
            beside = np.zeros((len(embeddings), reads), np.float32) if side is None else side
            return self.chosen.apply(embeddings, beside, has_side)
        if side is None or not has_side.any():
            return self.plain.apply(embeddings)
        if has_side.all():
            return self.chosen.apply(embeddings, side)
        moved = self.plain.apply(embeddings)
        moved[has_side] = self.chosen.apply(embeddings[has_side], side[has_side])
        return moved

    def expected_error(self, embeddings: Array, side: Array | None, has_side: np.ndarray, moved: Array) -> Array:
        """The expected squared distance (n,) float32 of `moved`, what `apply` made, from what the new model would make.

        NaN where it was not learned: for every item, or for those that lack the side-information that `chosen` reads.
        """
        errors = np.full(len(embeddings), np.nan, np.float32)
        if self.uncertainty is None or not len(embeddings):
            return errors
        if self.chosen.card.side_dimension is None:
            return self.uncertainty.expected_error(embeddings, None, moved)
        if side is not None and has_side.any():
            errors[has_side] = self.uncertainty.expected_error(embeddings[has_side], side[has_side], moved[has_side])
        return errors


@dataclass(frozen=True)
class Projected:
    """Items in a generation's space: `rows` (m,) int64, `vectors` (m, d) float32, `native` (m,) bool.

    A native vector was made by the generation's own model; every other was transformed. `uncertainty` (m,) float32 is
    the expected squared distance of a vector from the one that the generation's model would make: 0 for a native one,
    NaN where it is unknown. Over several hops the errors are added, as if they were independent and the next hop
    neither enlarged nor shrank the one before.
    """

    rows: np.ndarray
    vectors: np.ndarray
    native: np.ndarray
    uncertainty: np.ndarray


@dataclass(frozen=True)
class Lineage:
    """The models from the gallery's first to a generation's own; `crossings[i]` leads from `models[i]` to the next."""

    models: tuple[str, ...]
    dimensions: tuple[int, ...]
    crossings: tuple[Crossing, ...] = ()

    @cached_property
    def of_vectors_alone(self) -> "Lineage":
        """The same, leaving unknown how far the vectors miss."""
        crossings = tuple(replace(crossing, uncertainty=None) for crossing in self.crossings)
        return replace(self, crossings=crossings)

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
        side = [SIDE_INFORMATION] if any(hop.chosen.card.side_dimension is not None for hop in self.crossings) else []
        return [embedding_column(model) for model in self.models] + side

    def after(self, model: str) -> tuple[str, ...]:
        """The models derived from `model` here: their vectors of an item are stale once `model` writes it anew."""
        return self.models[self.models.index(model) + 1 :] if model in self.models else ()

    def project(self, batch: pa.RecordBatch) -> Projected:
        """Each item in this space, from its newest model's vector on; items without any vector are left out."""
        side, has_side = _optional(batch, SIDE_INFORMATION)
        count = batch.num_rows
        valid = np.zeros(count, bool)
        native = np.zeros(count, bool)
        vectors = np.zeros((count, self.dimensions[0]), np.float32)
        error = np.zeros(count, np.float32)
        for step, model in enumerate(self.models):
            own, has_own = _optional(batch, embedding_column(model))
            carried = valid & ~has_own
            if own is not None and has_own.all():
                vectors = own
            elif step and carried.all():
                vectors, more = self._cross(step, vectors, side, has_side)
                error += more
            else:
                moved = np.zeros((count, self.dimensions[step]), np.float32)
                if step and carried.any():
                    beside = None if side is None else side[carried]
                    moved[carried], more = self._cross(step, vectors[carried], beside, has_side[carried])
                    error[carried] += more
                if own is not None:
                    moved[has_own] = own[has_own]
                vectors = moved
            error[has_own] = 0
            native, valid = has_own, valid | has_own
        rows = batch.column(ROW_ID).to_numpy().astype(np.int64)
        if valid.all():
            return Projected(rows, vectors, native, error)
        return Projected(rows[valid], vectors[valid], native[valid], error[valid])

    def _cross(self, step: int, vectors: Array, side: Array | None, has_side: np.ndarray) -> tuple[Array, Array]:
        """Vectors of `models[step - 1]` in the space of `models[step]`, and the error expected of that hop."""
        crossing = self.crossings[step - 1]
        moved = crossing.apply(vectors, side, has_side)
        return moved, crossing.expected_error(vectors, side, has_side, moved)


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
