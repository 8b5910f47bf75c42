"""Arrow IPC, streams and files, mapped from disk: an uncompressed batch of any size is read where it lies."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from app.problems import InvalidUpload
from app.uploads.expected_columns import Expected, UploadLimits, chunk_rows
from app.uploads.offences import Offences
from app.uploads.raw import Raw, known, reading, slices

_STREAM, _FILE = "an Arrow stream", "an Arrow file"
_FILE_MAGIC, _FEATHER_1_MAGIC = b"ARROW1", b"FEA1"
_END_MARKER = b"\xff\xff\xff\xff\0\0\0\0"


def read_arrow(path: Path, expected: Expected, limits: UploadLimits, offences: Offences) -> Raw:
    """Reads an Arrow stream or file, whichever the first bytes say, chunk by chunk.

    Raises InvalidUpload, here and while the chunks are read.
    """
    source = pa.memory_map(str(path))
    magic = source.read(len(_FILE_MAGIC))
    source.seek(0)
    if magic.startswith(_FEATHER_1_MAGIC):
        raise InvalidUpload("The body is in Feather's version 1. Write version 2, which is an Arrow file.")
    return _file(source, expected) if magic == _FILE_MAGIC else _stream(source, expected)


def _stream(source: pa.MemoryMappedFile, expected: Expected) -> Raw:
    with reading(_STREAM):
        reader = pa.ipc.open_stream(source, options=pa.ipc.IpcReadOptions(use_threads=False))
    rows = chunk_rows(known(expected, reader.schema) or expected.columns)

    def chunks() -> Iterator[pa.RecordBatch]:
        while True:
            read = source.tell()
            with reading(_STREAM):
                batch = next(reader, None)
                if batch is not None:
                    batch.validate(full=True)
            if batch is None:
                break
            yield from slices(batch, rows)
        _check_end(source, read)

    return Raw(reader.schema, chunks())


def _file(source: pa.MemoryMappedFile, expected: Expected) -> Raw:
    with reading(_FILE):
        reader = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(use_threads=False))
    rows = chunk_rows(known(expected, reader.schema) or expected.columns)

    def chunks() -> Iterator[pa.RecordBatch]:
        for number in range(reader.num_record_batches):
            with reading(_FILE):
                batch = reader.get_batch(number)
                batch.validate(full=True)
            yield from slices(batch, rows)

    return Raw(reader.schema, chunks())


def _check_end(source: pa.NativeFile, read: int) -> None:
    """A stream cut between two batches reads like a shorter one; its end marker, after the last batch, tells."""
    source.seek(read)
    if source.read(len(_END_MARKER)) != _END_MARKER:
        raise InvalidUpload("The Arrow stream is cut short: its end-of-stream marker is missing. Close the writer.")
    if (more := source.size() - source.tell()) > 0:
        raise InvalidUpload(f"{more} bytes follow the end of the Arrow stream. Send one stream.")
