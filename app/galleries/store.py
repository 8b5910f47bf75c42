"""Where a gallery's things lie, and the items themselves: what users gave, the one truth about vectors.

galleries/<id>/items.lance              one row an item, one embedding column a model
galleries/<id>/generations/<n>.lance    transformed vectors, derived
galleries/<id>/indexes/<n>/<name>/      published indexes, derived
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from app.galleries.generation_store import GenerationStore
from app.galleries.lineage import SIDE_INFORMATION, Lineage, Projected
from app.storage.lance_table import Changes, Table, Written, embedding_column, vector_type


@dataclass(frozen=True)
class Counts:
    """Items of a generation with a vector of its own model, of an older one alone, and of newer ones alone."""

    native: int
    transformed: int
    missing: int


class GalleryStore:
    """The files of one gallery."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.items = Table(folder / "items.lance")

    @classmethod
    def create(cls, folder: Path, model: str, dimension: int, side_dimension: int | None) -> "GalleryStore":
        """Lays out an empty gallery; one that is there already is opened."""
        columns = [pa.field("label", pa.string()), pa.field("payload", pa.string())]
        if side_dimension is not None:
            columns.append(pa.field(SIDE_INFORMATION, vector_type(side_dimension)))
        columns.append(pa.field(embedding_column(model), vector_type(dimension)))
        Table.create(folder / "items.lance", columns)
        return cls(folder)

    def destroy(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def put(
        self, model: str, dimension: int, stale: tuple[str, ...], schema: pa.Schema, batches: Iterator[pa.RecordBatch]
    ) -> Written:
        """Upserts items with vectors of one model, in one commit.

        `schema` has `id`, `embedding` and whichever of the other item columns were given. Vectors of the `stale`
        models, which were derived from or meant to replace this model's, are dropped from the rows written.
        """
        self.items.ensure_column(pa.field(embedding_column(model), vector_type(dimension)))
        if SIDE_INFORMATION in schema.names:  # Where it is taken since later, the column may be still to come.
            self.items.ensure_column(schema.field(SIDE_INFORMATION).with_nullable(True))
        known = self.items.schema
        dropped = [known.field(name) for name in map(embedding_column, stale) if name in known.names]
        renamed = [field.with_name(_stored_name(field.name, model)) for field in schema]
        written = pa.schema([*renamed, *dropped])

        def stored() -> Iterator[pa.RecordBatch]:
            for batch in batches:
                empty = [pa.nulls(batch.num_rows, field.type) for field in dropped]
                yield pa.RecordBatch.from_arrays([*batch.columns, *empty], schema=written)

        return self.items.upsert(written, stored())

    def generation(self, number: int, dimension: int) -> GenerationStore:
        return GenerationStore(self.folder / "generations" / f"{number}.lance", dimension)

    def index_folder(self, number: int) -> Path:
        return self.folder / "indexes" / str(number)

    def project(self, lineage: Lineage, *, version: int | None = None) -> Iterator[Projected]:
        """Streams every item in a generation's space, computed from the items."""
        known = self.items.columns(version)
        columns = [name for name in lineage.columns if name in known]
        for batch in self.items.scan(columns, version=version):
            yield lineage.project(batch)

    def changes(self, lineage: Lineage, since: int) -> tuple[Changes, list[Projected]]:
        """What happened to the items after version `since`, and the written ones in a generation's space.

        Items that lost every vector of the space since are among `removed`. Raises VersionGone.
        """
        changes = self.items.changes(since, lineage.columns)
        projected = [lineage.project(batch) for batch in changes.written]
        emptied = [
            np.setdiff1d(batch.column("_rowid").to_numpy().astype(np.int64), part.rows)
            for batch, part in zip(changes.written, projected, strict=True)
        ]
        removed = np.concatenate([changes.removed, *emptied])
        return Changes(changes.version, removed, changes.written), [part for part in projected if len(part.rows)]

    def counts(self, models: Sequence[str]) -> Counts:
        """Of a generation that comes from these models, the last being its own."""
        present = [f"`{name}` IS NOT NULL" for name in map(embedding_column, models) if self.items.has(name)]
        own = f"`{embedding_column(models[-1])}` IS NOT NULL"
        native = self.items.count(own) if own in present else 0
        reachable = self.items.count(" OR ".join(present)) if present else 0
        return Counts(native, reachable - native, self.items.count() - reachable)


def _stored_name(column: str, model: str) -> str:
    return embedding_column(model) if column == "embedding" else column
