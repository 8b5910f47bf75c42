"""A body on disk → the same rows in canonical form on disk, or the problem with it. Memory holds a chunk at a time."""

import errno
from collections import Counter
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path

import pyarrow as pa

from app.kept_cells import keeps
from app.problems import InvalidUpload, TooLarge
from app.storage.disk import disk_problem
from app.uploads import media_types
from app.uploads.arrow import read_arrow
from app.uploads.column_types import check_type, refuse_columns
from app.uploads.columns import canonical
from app.uploads.encodings import unwrapped
from app.uploads.expected_columns import Column, Expected, UploadLimits
from app.uploads.json_rows import read_json
from app.uploads.ndjson import read_ndjson
from app.uploads.npz import read_npz
from app.uploads.offences import TOLD, Chunk, Offences
from app.uploads.pandas_index import index_columns
from app.uploads.parquet import read_parquet
from app.uploads.raw import Raw
from app.uploads.rows import UploadedRows
from app.uploads.shown_dimensions import with_shown_dimensions
from app.uploads.unique import Ids

Reader = Callable[[Path, Expected, UploadLimits, Offences], Raw]
_READERS: dict[str, Reader] = {
    media_types.PARQUET: read_parquet,
    media_types.ARROW: read_arrow,
    media_types.ARROW_FILE: read_arrow,
    media_types.NPZ: read_npz,
    media_types.JSON: read_json,
    media_types.NDJSON: read_ndjson,
}
_COLUMNS_NAMED = 20
_OF_A_MODEL = "embedding."


def decode(body: Path, media_type: str, expected: Expected, limits: UploadLimits, into: Path) -> UploadedRows:
    """Reads a body, checks everything, and writes it as canonical rows to `into`.

    Raises InvalidUpload, InvalidRows and TooLarge, and DiskFull.
    """
    if body.stat().st_size == 0:
        raise InvalidUpload("The body is empty.")
    try:
        return _decode(body, media_type, expected, limits, into)
    except MemoryError:
        raise TooLarge(
            "Decoding the body takes more memory than its rows can justify. Write it in smaller pieces (Parquet pages, "
            "Arrow record batches) or send it in parts."
        ) from None
    except UnicodeError:  # Arrow's names are validated by nobody, JSON's may be lone surrogates
        raise InvalidUpload("The body names a column in what is no Unicode.") from None
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise _too_long(limits) from None
        if (problem := disk_problem(error, into.parent)) is not None:
            raise problem from error
        raise


def _decode(body: Path, media_type: str, expected: Expected, limits: UploadLimits, into: Path) -> UploadedRows:
    offences = Offences()
    raw = _READERS[media_type](body, expected, limits, offences)
    columns, chunks = with_shown_dimensions(_check_columns(raw.schema, expected), raw)
    marks = [pa.field(keeps(column.name), pa.bool_()) for column in columns if column.name in raw.kept]
    schema = pa.schema([*(column.field for column in columns), *marks])
    ids, count = Ids(), 0
    with pa.OSFile(str(into), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        for batch in chunks:
            _check_size(count + batch.num_rows, sink.tell(), limits)
            chunk = Chunk(count, unwrapped(batch.column("id")) if "id" in schema.names else None, offences)
            arrays = [_canonical(column, batch.column(column.name), chunk) for column in columns]
            arrays += [batch.column(mark.name) for mark in marks]
            offences.settle()
            if not offences:
                checked = pa.record_batch(arrays, schema=schema)
                ids.add(checked)
                writer.write_batch(checked)
            count += batch.num_rows
    offences.raise_if_any()
    rows = UploadedRows(into, schema, count)
    ids.refuse_repeated(rows, offences)
    offences.settle()
    offences.raise_if_any()
    return rows


def _canonical(column: Column, raw: pa.Array, chunk: Chunk) -> pa.Array:
    try:
        return canonical(column, raw, chunk)
    except NotImplementedError:  # pyarrow's: encodings nested in a way that it cannot take apart
        wrong = f"is of type {str(raw.type)[:200]}, which is not read here; write it without dictionaries and runs"
        refuse_columns([(column.name, wrong)])
        raise


def _check_size(rows: int, written: int, limits: UploadLimits) -> None:
    if rows > limits.rows:
        raise TooLarge(
            f"The body holds more than {limits.rows} rows, the most of one request. Send it in parts.",
            limit=limits.rows,
        )
    if written > limits.decoded_bytes:
        raise _too_long(limits)


def _too_long(limits: UploadLimits) -> TooLarge:
    return TooLarge(
        f"Decoded, the body takes more than {limits.decoded_bytes} bytes, the most of one request. Send it in parts.",
        limit=limits.decoded_bytes,
    )


def _check_columns(schema: pa.Schema, expected: Expected) -> list[Column]:
    """The expected columns that are there. Raises InvalidRows: a column misspelt must not be lost in silence.

    A pandas index is passed over, as it is no column to pandas, unless it has nearly the name of one.
    """
    index = {name for name in index_columns(schema) if expected.column(name) is None}
    passed_over = {name for name in index if not _close(name, expected)}
    unknown = [name for name in schema.names if expected.column(name) is None and name not in passed_over][:TOLD]
    refuse_columns([(name, _unknown(name, expected)) for name in unknown])
    twice = [name for name, times in Counter(schema.names).items() if times > 1 and name not in passed_over]
    refuse_columns([(name, "is there twice") for name in twice])
    present = [column for column in expected.columns if column.name in schema.names]
    hint = f"; the table has a pandas index instead, {min(index)[:80]!r}" if index else ""
    errors = [(c.name, f"is missing{hint}") for c in expected.columns if c.required and c not in present]
    checked = [(column.name, check_type(column, schema.field(column.name))) for column in present]
    errors += [(name, wrong) for name, wrong in checked if wrong is not None]
    refuse_columns(errors)
    return present


def _unknown(name: str, expected: Expected) -> str:
    names = [column.name for column in expected.columns]
    of_models = [one for one in names if one.startswith(_OF_A_MODEL)]
    if of_models and (name == _OF_A_MODEL[:-1] or name.startswith(_OF_A_MODEL)):
        # Another model's column is never suggested: who followed that would store vectors as what they are not.
        there = ", ".join(of_models[:_COLUMNS_NAMED])
        return f"is of no registered model; there are {there}, and POST /models registers others"
    close = _close(name, expected)
    if close and not close[0].startswith(_OF_A_MODEL):
        return f"is not known here (did you mean {close[0]!r}?)"
    return f"is not known here; there are {', '.join(names[:_COLUMNS_NAMED])}"


def _close(name: str, expected: Expected) -> list[str]:
    return get_close_matches(name[:80], [column.name for column in expected.columns], 1)
