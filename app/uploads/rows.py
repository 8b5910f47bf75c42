"""The rows of a body that passed every check."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from app.failpoints import Failpoint, reached


@dataclass(frozen=True)
class UploadedRows:
    """Validated rows, on disk in canonical form; they can be read as long as the upload is open, and again and again.

    `schema` has the columns that the body had: `id`, `label`, `payload` (a JSON object), `text`: utf8; `image`:
    binary; vectors: fixed_size_list<float32>. Where some rows leave out what others have, it also has bool columns that
    say which (`app.kept_cells`).
    """

    path: Path
    schema: pa.Schema
    count: int

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Streams the rows in the body's order, a few MiB at a time."""
        with pa.OSFile(str(self.path)) as file, pa.ipc.open_stream(file) as reader:
            yield from reader
        reached(Failpoint.UPLOAD_READ)

    @classmethod
    def at(cls, path: Path, count: int) -> "UploadedRows":
        """The rows that a decoder left in a file."""
        with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as reader:
            return cls(path, reader.schema, count)
