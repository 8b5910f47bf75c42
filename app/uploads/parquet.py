"""Parquet, bounded by its footer before a page is touched. A footer can lie: decoding is guarded too."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from app.problems import InvalidUpload, TooLarge
from app.uploads.expected_columns import Column, Expected, UploadLimits, chunk_rows
from app.uploads.offences import Offences
from app.uploads.raw import Raw, bound, known, reading

_WHAT = "Parquet"
_MAGIC, _ENCRYPTED_MAGIC = b"PAR1", b"PARE"
_TAIL = 8
_FOOTER_BYTES = 16 * 2**20
_FOOTER_ENTRIES = 2**20
_BUFFER_BYTES = 2**20
_CELL_BYTES = 2  # the least that a cell takes once decoded: a float16


def read_parquet(path: Path, expected: Expected, limits: UploadLimits, offences: Offences) -> Raw:
    """Reads a Parquet file chunk by chunk. Raises InvalidUpload, here and while the chunks are read, and TooLarge."""
    _check_footer(path)
    with reading(_WHAT):
        file = pq.ParquetFile(
            str(path),
            memory_map=False,
            pre_buffer=False,
            buffer_size=_BUFFER_BYTES,
            thrift_string_size_limit=_FOOTER_BYTES,
            thrift_container_size_limit=_FOOTER_ENTRIES,
            page_checksum_verification=True,
        )
        schema = file.schema_arrow
    columns = known(expected, schema)
    _check_metadata(file.metadata, columns, limits)

    def chunks() -> Iterator[pa.RecordBatch]:
        read = 0
        names = [column.name for column in columns]  # a pandas index is passed over
        batches = file.iter_batches(batch_size=chunk_rows(columns), columns=names, use_threads=False)
        while (batch := _next(batches)) is not None:
            read += batch.num_rows
            yield batch
        if read != file.metadata.num_rows:
            raise InvalidUpload(f"The Parquet footer says {file.metadata.num_rows} rows; the pages hold {read}.")

    return Raw(schema, chunks())


def _next(batches: Iterator[pa.RecordBatch]) -> pa.RecordBatch | None:
    with reading(_WHAT):
        batch = next(batches, None)
        if batch is not None:
            batch.validate(full=True)
        return batch


def _check_footer(path: Path) -> None:
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - _TAIL))
        tail = file.read(_TAIL)
    if tail[4:] == _ENCRYPTED_MAGIC:
        raise InvalidUpload("The Parquet file is encrypted. Send it in the clear, over TLS.")
    if tail[4:] != _MAGIC:
        raise InvalidUpload("The body is no Parquet file, or is cut short: it does not end in PAR1.")
    footer = int.from_bytes(tail[:4], "little")
    if footer > size - _TAIL:
        raise InvalidUpload(f"The Parquet footer says that it takes {footer} bytes; the whole body has {size}.")
    if footer > _FOOTER_BYTES:
        raise TooLarge(f"The Parquet footer takes {footer} bytes; at most {_FOOTER_BYTES}. Write larger row groups.")


def _check_metadata(metadata: pq.FileMetaData, columns: tuple[Column, ...], limits: UploadLimits) -> None:
    bound(metadata.num_rows, columns, limits)
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    counts = [metadata.num_rows, *(group.num_rows for group in groups)]
    if min(counts) < 0 or sum(counts[1:]) != metadata.num_rows:
        raise InvalidUpload("The Parquet footer contradicts itself: its row groups do not add up to its rows.")
    cells = sum(group.column(i).num_values for group in groups for i in range(group.num_columns))
    decompressed = max(sum(group.total_byte_size for group in groups), _CELL_BYTES * cells)
    if decompressed > limits.decoded_bytes:
        raise TooLarge(
            f"The Parquet file says that it decompresses to {decompressed} bytes; one request may hold "
            f"{limits.decoded_bytes}. Send it in parts.",
            limit=limits.decoded_bytes,
        )
