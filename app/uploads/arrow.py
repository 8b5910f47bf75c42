"""Arrow IPC streams, mapped from disk: an uncompressed batch of any size is read where it lies."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from app.problems import InvalidUpload
from app.uploads.expected_columns import Expected, UploadLimits, chunk_rows
from app.uploads.offences import Offences
from app.uploads.raw import Raw, known, reading, slices

_WHAT = "an Arrow stream"
_FILE_MAGIC = b"ARROW1"
_END_MARKER = b"\xff\xff\xff\xff\0\0\0\0"


def read_arrow(path: Path, expected: Expected, limits: UploadLimits, offences: Offences) -> Raw:
    """Reads an Arrow stream or file chunk by chunk. Raises InvalidUpload, here and while the chunks are read."""
    source = pa.memory_map(str(path))
    if source.read(len(_FILE_MAGIC)) == _FILE_MAGIC:
        raise InvalidUpload("The body is an Arrow file, not a stream. Write it with pyarrow.ipc.new_stream.")
    source.seek(0)
    with reading(_WHAT):
        reader = pa.ipc.open_stream(source, options=pa.ipc.IpcReadOptions(use_threads=False))
    rows = chunk_rows(known(expected, reader.schema) or expected.columns)

    def chunks() -> Iterator[pa.RecordBatch]:
        while True:
            read = source.tell()
            batch = _next(reader)
            if batch is None:
                break
            yield from slices(batch, rows)
        _check_end(source, read)

    return Raw(reader.schema, chunks())


def _next(reader: pa.RecordBatchReader) -> pa.RecordBatch | None:
    with reading(_WHAT):
        batch = next(reader, None)
        if batch is not None:
            batch.validate(full=True)
        return batch


def _check_end(source: pa.NativeFile, read: int) -> None:
    """A stream cut between two batches reads like a shorter one; its end marker, after the last batch, tells."""
    source.seek(read)
    if source.read(len(_END_MARKER)) != _END_MARKER:
        raise InvalidUpload("The Arrow stream is cut short: its end-of-stream marker is missing. Close the writer.")
    if (more := source.size() - source.tell()) > 0:
        raise InvalidUpload(f"{more} bytes follow the end of the Arrow stream. Send one stream.")
