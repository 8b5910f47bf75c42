"""The vectors of a transformed generation: a Lance dataset of its own, written fragment by fragment.

Everything in it is derived from the items, so it may be thrown away and made again at any time.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta

import lance
import numpy as np
import pyarrow as pa
import structlog
from lance.fragment import FragmentMetadata, write_fragments

from app.failpoints import Failpoint, reached
from app.galleries.lineage import Projected
from app.problems import DamagedFile
from app.storage.lance_table import vector_type, vectors_of
from app.storage.location import Location
from app.storage.table_files import TableFiles, of_a_table

log = structlog.get_logger(__name__)

_UNCERTAINTY = pa.field("uncertainty", pa.float32())


@dataclass(frozen=True)
class Standings:
    """How items stand in a generation: `rows` (m,) int64, `native` (m,) bool, `uncertainty` (m,) float32 or NaN."""

    rows: np.ndarray
    native: np.ndarray
    uncertainty: np.ndarray

    @classmethod
    def of(cls, parts: Sequence["Projected | Standings"]) -> "Standings":
        """The standings of the items in these projections, or in these parts."""
        return cls(
            np.concatenate([np.empty(0, np.int64), *(part.rows for part in parts)]),
            np.concatenate([np.empty(0, bool), *(part.native for part in parts)]),
            np.concatenate([np.empty(0, np.float32), *(part.uncertainty for part in parts)]),
        )

    def take(self, which: np.ndarray) -> "Standings":
        """Some of them: `which` (m,) bool, or their places."""
        return Standings(self.rows[which], self.native[which], self.uncertainty[which])

    def joined(self, others: "Standings") -> "Standings":
        """These standings with the others' after them."""
        return Standings(
            np.concatenate([self.rows, others.rows]),
            np.concatenate([self.native, others.native]),
            np.concatenate([self.uncertainty, others.uncertainty]),
        )


class GenerationStore:
    """One generation's vectors: `row` (the item's row id), `embedding`, `native`, `uncertainty` (null if unknown)."""

    def __init__(self, location: Location, dimension: int) -> None:
        self._files = TableFiles(location)
        self.path = self._files.uri
        self.schema = pa.schema(
            [
                pa.field("row", pa.int64(), nullable=False),
                pa.field("embedding", vector_type(dimension), nullable=False),
                pa.field("native", pa.bool_(), nullable=False),
                _UNCERTAINTY,
            ]
        )

    def write_fragment(self, parts: Iterator[Projected]) -> list[str]:
        """Writes one piece, uncommitted: a repeated or abandoned write leaves an unused file and nothing else. Any
        number of processes may write pieces at once.

        Returns what `commit` needs to know of it, as JSON.
        """
        reader = pa.RecordBatchReader.from_batches(self.schema, (self._batch(part) for part in parts))
        # Of what an abandoned generation left here, not even the schema is of any matter.
        mode = "overwrite" if self._files.exist() else "create"
        pieces = write_fragments(reader, self.path, schema=self.schema, mode=mode)
        reached(Failpoint.FRAGMENT_WRITTEN)
        # By who wrote it, so that the one who commits has not the files of all to read.
        self._files.seal_pieces([file.path for piece in pieces for file in piece.files])
        return [json.dumps(piece.to_json()) for piece in pieces]

    def commit(self, pieces: list[str], while_: Callable[[], AbstractContextManager[object]] = nullcontext) -> None:
        """Makes the pieces the dataset, in one commit, whatever was there before. while_: entered for the commit alone,
        by whoever must not commit what another has gone on from meanwhile."""
        fragments = [FragmentMetadata.from_json(piece) for piece in pieces]
        operation = lance.LanceOperation.Overwrite(self.schema, fragments)
        with while_():
            dataset = lance.LanceDataset.commit(self.path, operation)
        reached(Failpoint.GENERATION_COMMITTED)
        self._files.seal(dataset)

    def drop_pieces(self) -> None:
        """Removes the pieces that attempts wrote which were then cut off: no version names them, nor does anybody read
        the versions before. To be called by who holds the work's lease, since it takes the pieces of all others."""
        self._files.latest().cleanup_old_versions(older_than=timedelta(0), delete_unverified=True)
        self._files.drop_stale_seals()

    def rewrite(self, parts: Iterator[Projected]) -> None:
        """Makes these the dataset, in one commit, whatever was there before."""
        self.commit(self.write_fragment(part for part in parts if len(part.rows)))

    def remove(self) -> None:
        """Takes away files that are damaged, over which nothing can be written: `rewrite` makes others."""
        self._files.remove()

    def whole(self) -> bool:
        """Whether its files are there, and are what was written."""
        try:
            self._files.check()
        except DamagedFile as damage:
            log.error("a generation's vectors are damaged", error=damage.detail)
            return False
        return True

    def apply(self, removed: np.ndarray, written: list[Projected]) -> None:
        """Carries over what happened to the items since: rows gone, and rows written."""
        dataset = self._files.latest()
        over = self._files.of(dataset)
        if _UNCERTAINTY.name not in dataset.schema.names:  # Written before there was such a thing.
            dataset.add_columns(_UNCERTAINTY)
        if written:
            reader = pa.RecordBatchReader.from_batches(self.schema, (self._batch(part) for part in written))
            dataset.merge_insert("row").when_matched_update_all().when_not_matched_insert_all().execute(reader)
            reached(Failpoint.GENERATION_UPSERTED)
        if len(removed):
            gone = pa.table({"row": pa.array(removed, pa.int64())})
            dataset.merge_insert("row").when_matched_delete().execute(gone)
            reached(Failpoint.GENERATION_PURGED)
        self._files.seal(self._files.latest(), over)

    @of_a_table
    def scan(self, batch_rows: int = 8192) -> Iterator[Projected]:
        """Streams every vector."""
        for batch in self._files.latest().scanner(batch_size=batch_rows).to_batches():
            _, vectors = vectors_of(batch.column("embedding"))
            standing = _standing(batch)
            yield Projected(standing.rows, vectors, standing.native, standing.uncertainty)

    @of_a_table
    def standings(self) -> Standings:
        """Every item without its vector."""
        dataset = self._files.latest()
        columns = [name for name in self.schema.names if name != "embedding" and name in dataset.schema.names]
        return _standing(dataset.to_table(columns=columns).combine_chunks())

    @of_a_table
    def count(self, where: str | None = None) -> int:
        return int(self._files.latest().count_rows(where))

    def _batch(self, part: Projected) -> pa.RecordBatch:
        values = pa.array(np.ascontiguousarray(part.vectors, np.float32).ravel())
        columns = [
            pa.array(part.rows, pa.int64()),
            pa.FixedSizeListArray.from_arrays(values, self.schema.field("embedding").type.list_size),
            pa.array(part.native, pa.bool_()),
            pa.array(np.asarray(part.uncertainty, np.float32), from_pandas=True),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


def _standing(rows: pa.RecordBatch | pa.Table) -> Standings:
    unknown = np.full(rows.num_rows, np.nan, np.float32)
    known = "uncertainty" in rows.schema.names
    return Standings(
        rows.column("row").to_numpy(),
        rows.column("native").to_numpy(zero_copy_only=False),
        rows.column("uncertainty").to_numpy(zero_copy_only=False) if known else unknown,
    )
