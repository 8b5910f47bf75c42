"""What the readers of the formats have in common: a schema known before a row is read, then chunks of rows."""

import errno
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa

from app.problems import InvalidUpload, TooLarge
from app.uploads.expected_columns import Column, Expected, UploadLimits

_SAID = 200
_DECODERS_RAISE = (
    pa.ArrowException,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    OSError,
    RuntimeError,
    ValueError,
)


@dataclass(frozen=True)
class Raw:
    """A body's columns under their own names and types, in chunks of well-formed Arrow that may hold anything.

    `kept`: the columns that some rows leave out, so that stored rows keep those cells. For each of them the chunks have
    one column more, of bools, named by `keeps`; `schema` is without these.
    """

    schema: pa.Schema
    chunks: Iterator[pa.RecordBatch]
    kept: tuple[str, ...] = ()


def known(expected: Expected, schema: pa.Schema) -> tuple[Column, ...]:
    """The expected columns that a body has, in the expected order."""
    present = set(schema.names)
    return tuple(column for column in expected.columns if column.name in present)


def slices(batch: pa.RecordBatch, rows: int) -> Iterator[pa.RecordBatch]:
    """A batch in pieces of at most `rows` rows, without copying."""
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)


def bound(rows: int, columns: tuple[Column, ...], limits: UploadLimits) -> None:
    """Refuses more rows than are taken, by what the body claims, before anything is allocated. Raises TooLarge."""
    if rows > limits.rows:
        raise TooLarge(
            f"The body says that it holds {rows} rows; one request may hold {limits.rows}. Send it in parts.",
            limit=limits.rows,
        )
    vectors = rows * sum(column.planned_bytes for column in columns if column.kind == "vector")
    if vectors > limits.decoded_bytes:
        raise TooLarge(
            f"{rows} rows of these columns are {vectors} bytes of vectors; one request may hold "
            f"{limits.decoded_bytes}. Send it in parts.",
            limit=limits.decoded_bytes,
        )


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Around every call of a decoder: what it raises becomes InvalidUpload; want of memory stays MemoryError."""
    try:
        yield
    except MemoryError:  # pyarrow's is an ArrowException too
        raise
    except _DECODERS_RAISE as error:
        if isinstance(error, OSError) and error.errno in (errno.EIO, errno.ENOSPC, errno.EDQUOT):
            raise  # the disk's fault, not the body's
        message = (str(error).strip().splitlines() or [type(error).__name__])[0][:_SAID]
        raise InvalidUpload(f"The body is not readable as {what}: {message}") from error
