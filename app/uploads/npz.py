"""npz archives: one npy file a column, all rows bounded by their headers, then streamed side by side.

numpy has neither nulls nor byte strings that end in zeros: an empty string in `label`, `payload` or `text` stands for
null, as NaT does, vectors are never null, and images do not come this way.
"""

import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn, Protocol

import numpy as np
import pyarrow as pa

from app.problems import InvalidUpload, TooLarge
from app.uploads.column_types import refuse_columns
from app.uploads.expected_columns import MOST_COMPONENTS, Column, Expected, UploadLimits, chunk_rows
from app.uploads.npy import Header, read_header, wanted_vectors
from app.uploads.offences import Chunk, Offences
from app.uploads.raw import Raw, bound, reading
from app.uploads.rows_of_columns import RowsOfColumns

_WHAT = "an npz archive"
_SUFFIX = ".npy"
_ENCRYPTED = 0x1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_PIECE_BYTES = 2**20
_CHUNK_BYTES = 64 * 2**20
_DOUBLE_BYTES = 8
_LENGTHS = {("s", 1), ("ms", 1), ("us", 1), ("ns", 1)}
_TIMES = {"M": _LENGTHS | {("D", 1)}, "m": _LENGTHS}
"""The units of datetime64 and timedelta64 that Arrow has too."""
_SECONDS = {"M": "datetime64[s]", "m": "timedelta64[s]"}
_SURROGATES = (0xD800, 0xDFFF)


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class _Member:
    """One array of the archive, opened at its first row."""

    name: str
    header: Header
    file: _Readable


def read_npz(path: Path, expected: Expected, limits: UploadLimits, offences: Offences) -> Raw:
    """Reads an npz archive in chunks. Raises InvalidUpload (while chunks are read, too), InvalidRows and TooLarge."""
    with reading(_WHAT):
        archive = zipfile.ZipFile(path)
    entries = _entries(archive)
    columns = [column for column in expected.columns if column.name in entries]
    members = [_open(archive, entries[column.name], column) for column in columns]
    columns = [_as_wide(column, member) for column, member in zip(columns, members, strict=True)]
    counts = {member.name: member.header.shape[0] for member in members}
    if len(set(counts.values())) > 1:
        raise InvalidUpload(f"The arrays have unequal numbers of rows: {counts}.")
    count = max(counts.values(), default=0)
    bound(count, tuple(columns), limits)
    total = sum(member.header.total_bytes for member in members)
    if total > limits.decoded_bytes:
        raise TooLarge(f"The arrays take {total} bytes; one request may hold {limits.decoded_bytes}. Send it in parts.")
    widest = max((member.header.row_bytes for member in members), default=1)
    rows = max(1, min(chunk_rows(tuple(columns)), _CHUNK_BYTES // max(1, widest)))
    known = [pa.field(column.name, _raw_type(column, m)) for column, m in zip(columns, members, strict=True)]
    members = [_in_rows(member, path.parent) for member in members]
    unknown = [pa.field(name, pa.null()) for name in entries if expected.column(name) is None]
    schema = pa.schema(known)

    def chunks() -> Iterator[pa.RecordBatch]:
        for start in range(0, count, rows):
            size = min(rows, count - start)
            chunk = Chunk(start, None, offences)
            arrays = [_array(column, m, size, chunk) for column, m in zip(columns, members, strict=True)]
            yield pa.record_batch(arrays, schema=schema)
        for member in members:
            _check_end(member)

    return Raw(pa.schema([*known, *unknown]), chunks())


def _entries(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The archive's members by column name."""
    entries: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name, shown = info.filename.removesuffix(_SUFFIX), repr(info.filename[:80])
        if info.flag_bits & _ENCRYPTED:
            raise InvalidUpload(f"Member {shown} is encrypted. Send it in the clear, over TLS.")
        if info.compress_type not in _METHODS:
            raise InvalidUpload(f"Member {shown} is compressed by a method that numpy.savez does not use.")
        if not info.filename.endswith(_SUFFIX):
            raise InvalidUpload(f"Member {shown} is no npy file. An npz archive holds one a column, and nothing else.")
        if name in entries:
            raise InvalidUpload(f"Member {shown} is there twice.")
        entries[name] = info
    return entries


def _open(archive: zipfile.ZipFile, info: zipfile.ZipInfo, column: Column) -> _Member:
    with reading(_WHAT):
        file = archive.open(info)
        header = read_header(file, f"Member {info.filename!r}")
    if info.file_size != header.total_bytes:
        raise InvalidUpload(
            f"Member {info.filename!r} says that it inflates to {info.file_size} bytes, but shape {header.shape} of "
            f"{header.dtype} makes {header.total_bytes}."
        )
    if (wrong := _check(column, header)) is not None:
        refuse_columns([(column.name, wrong)])
    return _Member(column.name, header, file)


def _as_wide(column: Column, member: _Member) -> Column:
    """The column with the dimension of its array, where it had none."""
    wide = column.kind == "vector" and not column.dimension
    return replace(column, dimension=member.header.shape[1]) if wide else column


def _in_rows(member: _Member, folder: Path) -> _Member:
    """The member as it is, or, where its columns come first, as one that reads its rows from a file on disk."""
    if not member.header.by_columns:
        return member
    pieces = iter(lambda: _read(member, _PIECE_BYTES), b"")
    return replace(member, file=RowsOfColumns(pieces, member.header, folder))


def _check(column: Column, header: Header) -> str | None:
    """What is wrong with an array's type or shape, or None. One column of a table may come with an axis of its own."""
    told = f"has shape {header.shape} and dtype {header.dtype}"
    if column.kind == "image":
        return "cannot come as npz: numpy's byte strings lose their trailing zeros. Send Parquet, Arrow or JSON"
    row_shape = (column.dimension,) if column.kind == "vector" else (1,)
    fits = header.shape[1:] in ((row_shape, ()) if row_shape == (1,) else (row_shape,))
    if column.kind == "vector":
        if not column.dimension:
            fits = len(header.shape) == 2 and 0 < header.shape[1] <= MOST_COMPONENTS
        numbers = header.dtype.kind in "iu" or (header.dtype.kind == "f" and header.dtype.itemsize <= _DOUBLE_BYTES)
        wanted = wanted_vectors(column.dimension or "d")
        return None if fits and numbers else f"{told}; {wanted}"
    if column.kind == "label":
        if header.dtype.kind in "Mm" and np.datetime_data(header.dtype) not in _TIMES[header.dtype.kind]:
            seconds = _SECONDS[header.dtype.kind]
            return f"{told}; times are taken in s, ms, us or ns, and dates in days: save values.astype('{seconds}')"
        short = header.dtype.kind != "f" or header.dtype.itemsize <= _DOUBLE_BYTES
        return (
            None
            if fits and short
            else f"{told}; (n,) of strings (U or S), whole numbers, booleans, dates or times is expected"
        )
    strings = fits and header.dtype.kind in "US"
    reason = "; ids are strings, so save ids.astype(str)" if column.kind == "id" else ""
    return None if strings else f"{told}; (n,) of strings (U or S) is expected{reason}"


def _raw_type(column: Column, member: _Member) -> pa.DataType:
    dtype = member.header.dtype
    if column.kind == "vector":
        return pa.list_(pa.from_numpy_dtype(dtype.newbyteorder("=")), column.dimension)
    return pa.string() if dtype.kind in "US" else pa.from_numpy_dtype(dtype.newbyteorder("="))


def _array(column: Column, member: _Member, rows: int, chunk: Chunk) -> pa.Array:
    """The member's next rows."""
    wanted = rows * member.header.row_bytes
    data = _read(member, wanted)
    if len(data) < wanted:
        _cut_short(member)
    dtype = member.header.dtype
    values = np.frombuffer(data, dtype).astype(dtype.newbyteorder("="), copy=False)
    if column.kind == "vector":
        return pa.FixedSizeListArray.from_arrays(pa.array(values), column.dimension)
    return _strings(column, values, chunk) if dtype.kind in "US" else pa.array(values)


def _read(member: _Member, size: int) -> bytes:
    with reading(_WHAT):
        return member.file.read(size)


def _strings(column: Column, values: np.ndarray, chunk: Chunk) -> pa.Array:
    bad = ~_are_characters(values) if values.dtype.kind == "U" else np.fromiter(map(_is_not_utf8, values), bool)
    chunk.refuse(bad, column.name, "is not valid Unicode")
    good = np.where(bad, np.zeros_like(values), values).tolist()
    strings = [cell.decode() if isinstance(cell, bytes) else cell for cell in good]
    return pa.array(strings if column.required else [cell or None for cell in strings], pa.string())


def _are_characters(values: np.ndarray) -> np.ndarray:
    """(n,) bool: whether a U cell holds Unicode characters alone. numpy lets any 32 bits through, Python raises."""
    points = values.view(np.uint32).reshape(len(values), -1)
    surrogate = (points >= _SURROGATES[0]) & (points <= _SURROGATES[1])
    return np.asarray(~((points > sys.maxunicode) | surrogate).any(axis=1))


def _is_not_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return True
    return False


def _check_end(member: _Member) -> None:
    """Reads past the last row, which is when a member's checksum is compared."""
    if _read(member, 1):
        raise InvalidUpload(f"Member '{member.name}{_SUFFIX}' goes on after its last row.")


def _cut_short(member: _Member) -> NoReturn:
    raise InvalidUpload(f"Member '{member.name}{_SUFFIX}' is cut short: it ends before its last row.")
