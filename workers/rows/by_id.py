"""Sorts rows by id: learning must not depend on the order in which the store happens to keep them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

ROWS_AT_ONCE = 2_000


@contextmanager
def unsorted(path: Path) -> Iterator[Path]:
    """A file beside `path` for its rows before they are sorted, which goes at the context's end."""
    as_stored = path.with_name(f".{path.name}.partial.stored")
    try:
        yield as_stored
    finally:
        as_stored.unlink(missing_ok=True)


def write_by_id(source: Path, path: Path, schema: pa.Schema) -> None:
    """Writes the rows of one Arrow file, which have a column `id`, to another in the order of ids."""
    with (
        pa.memory_map(str(source)) as stored,
        pa.OSFile(str(path), "wb") as file,
        pa.ipc.new_file(file, schema) as writer,
    ):
        reader = pa.ipc.open_file(stored)
        batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        ids = pa.chunked_array([batch.column("id") for batch in batches], pa.string())
        order = pa.compute.sort_indices(ids).to_numpy().astype(np.int64)
        for start in range(0, len(order), ROWS_AT_ONCE):
            writer.write_batch(_gathered(batches, order[start : start + ROWS_AT_ONCE]))


def _gathered(batches: Sequence[pa.RecordBatch], rows: NDArray[np.int64]) -> pa.RecordBatch:
    """The given rows, numbered across all batches, in that order; Table.take would copy every batch first."""
    starts = np.cumsum([0, *(batch.num_rows for batch in batches)])
    source = np.searchsorted(starts, rows, side="right") - 1
    parts = [batches[number].take(pa.array(rows[source == number] - starts[number])) for number in np.unique(source)]
    by_source = np.argsort(source, kind="stable")
    return pa.concat_batches(parts).take(pa.array(np.argsort(by_source)))
