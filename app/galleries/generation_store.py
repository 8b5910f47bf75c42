"""The vectors of a transformed generation: a Lance dataset of its own, written fragment by fragment.

Everything in it is derived from the items, so it may be thrown away and made again at any time.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
from lance.fragment import FragmentMetadata, write_fragments

from app.galleries.lineage import Projected
from app.lance_table import vector_type, vectors_of


class GenerationStore:
    """One generation's vectors: `row` (the item's row id), `embedding`, `native`."""

    def __init__(self, path: Path, dimension: int) -> None:
        self.path = str(path)
        self.schema = pa.schema(
            [
                pa.field("row", pa.int64(), nullable=False),
                pa.field("embedding", vector_type(dimension), nullable=False),
                pa.field("native", pa.bool_(), nullable=False),
            ]
        )

    def write_fragment(self, parts: Iterator[Projected]) -> list[str]:
        """Writes one piece, uncommitted: a repeated or abandoned write leaves an unused file and nothing else.

        Returns what `commit` needs to know of it, as JSON.
        """
        reader = pa.RecordBatchReader.from_batches(self.schema, (self._batch(part) for part in parts))
        return [json.dumps(piece.to_json()) for piece in write_fragments(reader, self.path, schema=self.schema)]

    def commit(self, pieces: list[str]) -> None:
        """Makes the pieces the dataset, in one commit, whatever was there before."""
        fragments = [FragmentMetadata.from_json(piece) for piece in pieces]
        operation = lance.LanceOperation.Overwrite(self.schema, fragments)
        lance.LanceDataset.commit(self.path, operation)

    def apply(self, removed: np.ndarray, written: list[Projected]) -> None:
        """Carries over what happened to the items since: rows gone, and rows written."""
        dataset = lance.dataset(self.path)
        if written:
            reader = pa.RecordBatchReader.from_batches(self.schema, (self._batch(part) for part in written))
            dataset.merge_insert("row").when_matched_update_all().when_not_matched_insert_all().execute(reader)
        if len(removed):
            gone = pa.table({"row": pa.array(removed, pa.int64())})
            dataset.merge_insert("row").when_matched_delete().execute(gone)

    def scan(self, batch_rows: int = 8192) -> Iterator[Projected]:
        """Streams every vector."""
        for batch in lance.dataset(self.path).scanner(batch_size=batch_rows).to_batches():
            _, vectors = vectors_of(batch.column("embedding"))
            native = batch.column("native").to_numpy(zero_copy_only=False)
            yield Projected(batch.column("row").to_numpy(), vectors, native)

    def count(self, where: str | None = None) -> int:
        return int(lance.dataset(self.path).count_rows(where))

    def _batch(self, part: Projected) -> pa.RecordBatch:
        values = pa.array(np.ascontiguousarray(part.vectors, np.float32).ravel())
        columns = [
            pa.array(part.rows, pa.int64()),
            pa.FixedSizeListArray.from_arrays(values, self.schema.field("embedding").type.list_size),
            pa.array(part.native, pa.bool_()),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)
