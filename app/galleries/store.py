"""Where a gallery's things lie, and the items themselves: what users gave, the one truth about vectors.

galleries/<id>/items.lance              one row an item, one embedding column a model
galleries/<id>/generations/<n>.lance    transformed vectors, derived
galleries/<id>/indexes/<n>/<name>/      published indexes, derived
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from app.galleries.generation_store import GenerationStore
from app.galleries.lineage import SIDE_INFORMATION, Lineage, Projected
from app.kept_cells import either, given_columns, kept_columns, with_kept
from app.storage.lance_table import (
    Changes,
    StoredRows,
    Table,
    embedding_column,
    embedding_model,
    vector_type,
    vectors_of,
)
from app.storage.removal import remove_folder
from app.storage.shared_files import SharedFiles


@dataclass(frozen=True)
class Counts:
    """Items of a generation with a vector of its own model, of an older one alone, and of newer ones alone."""

    native: int
    transformed: int
    missing: int


@dataclass(frozen=True)
class WrittenItems:
    """What an upsert of items did. `dropped`: by model, how many vectors went since they were made of an older item."""

    inserted: int
    updated: int
    dropped: dict[str, int]


class GalleryFolder:
    """What any gallery has, wherever its items lie. folder: where it is below the data directory; shared: what other
    machines have of it, left out where there is none but this one."""

    def __init__(self, folder: Path, shared: SharedFiles | None = None) -> None:
        self.folder = folder
        self.shared = shared or SharedFiles(folder, None)

    def index_folder(self, number: int) -> Path:
        return self.folder / "indexes" / str(number)

    def destroy(self) -> None:
        self.shared.remove(self.folder)
        remove_folder(self.folder)


class GalleryStore(GalleryFolder):
    """The files of one gallery whose items lie here."""

    def __init__(self, folder: Path, shared: SharedFiles | None = None) -> None:
        super().__init__(folder, shared)
        self._tables = self.shared.location(folder)
        self.items = Table(self._tables / "items.lance")

    @classmethod
    def create(
        cls,
        folder: Path,
        model: str,
        dimension: int,
        side_dimension: int | None,
        shared: SharedFiles | None = None,
    ) -> "GalleryStore":
        """Lays out an empty gallery; one that is there already is opened."""
        columns = [pa.field("label", pa.string()), pa.field("payload", pa.string())]
        if side_dimension is not None:
            columns.append(pa.field(SIDE_INFORMATION, vector_type(side_dimension)))
        columns.append(pa.field(embedding_column(model), vector_type(dimension)))
        where = folder if shared is None else shared.location(folder)
        Table.create(where / "items.lance", columns)
        return cls(folder, shared)

    def put(
        self,
        model: str,
        dimension: int,
        newer: Callable[[], Sequence[str]],
        schema: pa.Schema,
        batches: Callable[[], Iterator[pa.RecordBatch]],
    ) -> WrittenItems:
        """Upserts items with vectors of one model, in one commit.

        `schema` has `id`, `embedding` and whichever of the other item columns were given; rows may keep cells
        (`app.kept_cells`). `newer`: the models that replace this one in some generation, as of when it is called. Where
        an item's vector of this model changes, its vectors of the newer models were made of what it was before, and are
        dropped. What `newer` raises is raised.
        """
        own = embedding_column(model)
        self.items.ensure_column(pa.field(own, vector_type(dimension)))
        if SIDE_INFORMATION in schema.names:  # Where it is taken since later, the column may be still to come.
            self.items.ensure_column(schema.field(SIDE_INFORMATION).with_nullable(True))
        named = pa.schema([field.with_name(own) if field.name == "embedding" else field for field in schema])
        dropped: Counter[str] = Counter()

        def rows(stored: StoredRows) -> pa.RecordBatchReader:
            dropped.clear()
            # Asked for with each version that is written over: the first vectors of a newer model may have just come.
            derived = [
                stored.schema.field(name) for name in map(embedding_column, newer()) if name in stored.schema.names
            ]
            given = (pa.RecordBatch.from_arrays(batch.columns, schema=named) for batch in batches())
            return pa.RecordBatchReader.from_batches(
                pa.schema([*given_columns(named), *derived]),
                (_written_over(batch, stored, own, derived, dropped) for batch in given),
            )

        done = self.items.upsert_over(rows)
        return WrittenItems(done.inserted, done.updated, _by_model(dropped))

    def re_embed(
        self, model: str, ids: Sequence[str], vectors: np.ndarray, unchanged: Callable[[pa.Table], np.ndarray]
    ) -> int:
        """Gives items that are there vectors (n, d) float32 of a model, in one commit; how many there were.

        `unchanged` tells of the stored `payload` of these items (null where an item is gone), which of them, (n,) bool,
        are still what the vectors were made of: the others are passed over.
        """
        own = embedding_column(model)
        kind = vector_type(vectors.shape[1])
        self.items.ensure_column(pa.field(own, kind))
        schema = pa.schema([pa.field("id", pa.string()), pa.field(own, kind)])
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1]).cast(kind)
        given = pa.RecordBatch.from_arrays([pa.array(ids, pa.string()), column], schema=schema)

        def rows(stored: StoredRows) -> pa.RecordBatchReader:
            still = unchanged(stored.of(given.column("id"), ["payload"]))
            return pa.RecordBatchReader.from_batches(schema, [given.filter(pa.array(still))])

        return self.items.update_over(rows).updated

    def change(
        self,
        schema: pa.Schema,
        batches: Callable[[], Iterator[pa.RecordBatch]],
        refuse_unknown: Callable[[np.ndarray], None],
    ) -> int:
        """Gives items that are there other labels or payloads, in one commit; how many there were. All else of them
        stays to the bit, their vectors too.

        `schema` has `id` and what was given of `label` and `payload`; rows may keep cells (`app.kept_cells`).
        `refuse_unknown` is told which of the rows, (n,) bool, no item has the id of, and what it raises is raised.
        """

        def rows(stored: StoredRows) -> pa.RecordBatchReader:
            ids = pa.chunked_array([batch.column("id") for batch in batches()], pa.string())
            refuse_unknown(~stored.known(ids))
            kept = kept_columns(schema)
            return pa.RecordBatchReader.from_batches(
                given_columns(schema),
                (with_kept(batch, stored.of(batch.column("id"), kept)) if kept else batch for batch in batches()),
            )

        return self.items.update_over(rows).updated

    def generation(self, number: int, dimension: int) -> GenerationStore:
        return GenerationStore(self._tables / "generations" / f"{number}.lance", dimension)

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


def _written_over(
    given: pa.RecordBatch, stored: StoredRows, own: str, derived: Sequence[pa.Field], dropped: Counter[str]
) -> pa.RecordBatch:
    """Rows as they are to be written over what is stored: with the cells that they keep, and with the derived vectors
    but for those that were made of another `own` vector, which `dropped` counts by column."""
    kept = kept_columns(given.schema)
    if not kept and not derived:
        return given
    before = stored.of(given.column("id"), [*kept, own, *(field.name for field in derived)])
    changed = _changed(before.column(own), given.column(own)) if derived else np.empty(0, bool)
    for field in derived:
        cells = either(~changed, before.column(field.name), pa.nulls(given.num_rows, field.type))
        dropped[field.name] += cells.null_count - before.column(field.name).null_count
        given = given.append_column(field, cells)
    return with_kept(given, before)


def _changed(before: pa.ChunkedArray, now: pa.Array) -> np.ndarray:
    """Which items (n,) bool had another vector before; one that had none has not changed."""
    had, old = vectors_of(before)
    _, new = vectors_of(now)
    changed = np.zeros(len(now), bool)
    changed[had] = (old != new[had]).any(axis=1)
    return changed


def _by_model(dropped: Counter[str]) -> dict[str, int]:
    """Counts of columns → counts of models; a model of which nothing was dropped is left out."""
    return {str(embedding_model(name)): count for name, count in dropped.items() if count}
