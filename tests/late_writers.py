"""Writers whose table is removed while they write."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa

from app.uploads import UploadedRows


@dataclass(frozen=True)
class InterruptedRows(UploadedRows):
    """Uploaded rows of which `meanwhile` is called each time before they are read."""

    meanwhile: Callable[[], object]

    def batches(self) -> Iterator[pa.RecordBatch]:
        self.meanwhile()
        yield from super().batches()


def interrupted_rows(folder: Path, columns: dict[str, Any], meanwhile: Callable[[], object]) -> InterruptedRows:
    """Rows as a decoder leaves them in a folder. columns: values by name."""
    batch = pa.record_batch(columns)
    path = folder / "rows"
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return InterruptedRows(path, batch.schema, batch.num_rows, meanwhile)


def late_commit(table: Path) -> Callable[[], object]:
    """What makes a part of a removed table anew: the commit of rows that were written while it was there. The table
    has a row at least."""
    opened = lance.dataset(str(table))
    written = lance.fragment.write_fragments(opened.head(1), opened)
    operation = lance.LanceOperation.Append(written)
    return lambda: lance.LanceDataset.commit(opened, operation, read_version=opened.version)
