"""Queries by example: the vectors by which items like those of a gallery are searched for.

An item's vector is always one in the queries' space, as the route compares it: the one that the generation holds of it
where that is in this space; else what the queries' own model made of the item, where it is stored, or else what the
crossing makes of the vector that the generation holds. So no two spaces are mixed, before, during and after an upgrade.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from app.index import RowIds, VectorIndex, Vectors
from app.search.options import LikeItems
from app.search.reranking import CascadeSource, Reranking
from app.storage.lance_table import ROW_ID, Table, embedding_column, vectors_of
from models.portable import Space


@dataclass(frozen=True)
class ExampleRows:
    """The rows (n,) int64 of items that are examples, in the order of the queries that they stand for."""

    like: LikeItems
    rows: RowIds

    @classmethod
    def find(cls, like: LikeItems, items: Table, version: int, gallery: str) -> ExampleRows:
        """Raises NotFound for an id that no item has as of a version."""
        found = items.by_id(list(dict.fromkeys(like.ids)), ["id"], version=version)
        places = pc.index_in(pa.array(like.ids, pa.string()), value_set=found.column("id").combine_chunks())
        if places.null_count:
            raise like.unknown(places.to_pylist().index(None), gallery)
        return cls(like, found.column(ROW_ID).to_numpy().astype(np.int64)[places.to_numpy()])

    def held_in(self, index: VectorIndex, space: Space) -> Vectors:
        """What an index, whose space is given, holds of the items: (n, d) float32, unit under cosine.

        Raises Unprocessable for an item that it holds no vector of.
        """
        held = index.held(self.rows)
        self._refuse_lacking(held.versions < 0, space)
        return held.vectors

    def crossed(self, reranking: Reranking, name: tuple[str, ...], source: CascadeSource, target: Space) -> Vectors:
        """The items in the space of the queries' model, where the index holds vectors of an older one: (n, d) float32.

        name: of the crossing, as `Reranking` takes it; target: the queries' space. Raises Unprocessable for an item of
        which neither model's vector is there.
        """
        vectors, own = self._own(source, target)
        crossed = np.flatnonzero(~own)
        rows, places = np.unique(self.rows[crossed], return_inverse=True)
        lacking = np.zeros(len(self.rows), bool)
        lacking[crossed] = source.index.versions(self.rows[crossed]) < 0
        self._refuse_lacking(lacking, target)
        if len(rows):
            vectors[crossed] = reranking.transformed(name, source, rows)[places]
        return vectors

    def refuse_zeros(self, vectors: Vectors) -> None:
        """For cosine: raises Unprocessable for an item whose vector, of (n, d), has no direction."""
        zeros = np.flatnonzero(~vectors.any(axis=1))
        if len(zeros):
            raise self.like.unusable(int(zeros[0]), "has a vector of zeros, which has no direction under cosine")

    def _own(self, source: CascadeSource, target: Space) -> tuple[Vectors, np.ndarray]:
        """What the queries' own model made of the items: (n, d), zeros where it made nothing, and where not: (n,)."""
        vectors, own = np.zeros((len(self.rows), target.dimension), np.float32), np.zeros(len(self.rows), bool)
        version, column = source.index.version, embedding_column(target.model)
        if column in source.items.columns(version):
            rows = np.unique(self.rows)
            found = source.items.by_row(rows, [column], version=version)
            indices, stored = vectors_of(found.column(column))
            there = found.column(ROW_ID).to_numpy().astype(np.int64)[indices]
            for row, vector in zip(there.tolist(), stored, strict=True):
                vectors[self.rows == row], own[self.rows == row] = vector, True
        return vectors, own

    def _refuse_lacking(self, lacking: np.ndarray, space: Space) -> None:
        if lacking.any():
            place = int(np.flatnonzero(lacking)[0])
            raise self.like.unusable(place, f"has no vector of model {space.model!r}, nor one that leads to its space")
