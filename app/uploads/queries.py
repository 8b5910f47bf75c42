"""Query vectors, from a URL or a body: always finite float32 of the right dimension, or a problem that says why not."""

import base64
import binascii
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.problems import InvalidUpload, TooLarge, Unprocessable
from app.uploads.npy import read_header, wanted_vectors
from app.uploads.offences import TOLD
from app.uploads.rows import UploadedRows
from app.vectors import largest_component
from app.wording import count_of

_LISTED = re.compile(r"[,.\[\]]")
_BASE64 = re.compile(r"[A-Za-z0-9_-]*={0,2}")
_STANDARD = bytes.maketrans(b"-_", b"+/")
_DOUBLE_BYTES = 8
# In a URL, a plus that is not escaped arrives as a space: 1e+5 as 1e 5.
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+ -]?\d+)?\s*", re.ASCII)
_PLUS = re.compile(r"([eE]) ")
_NUMBER_CHARACTERS = 64
_UNUSABLE = "NaN, an infinity, or a number too large for distances in float32"


class _Unreadable(ValueError):
    """What is wrong with a vector in a URL."""


def decode_query_vector(text: str, dimension: int, parameter: str = "vector") -> np.ndarray:
    """The `vector` of a URL, or the one in another parameter: (dimension,) float32.

    Numbers with commas between them, in brackets or not, or base64 (either alphabet, with or without padding) of
    little-endian float32. Digits alone may be read as either: they are a number where the dimension is 1. Raises
    Unprocessable.
    """
    try:
        vector = _of_plain_base64(text, dimension)
        if vector is None:
            vector = _of_numbers(text) if _is_of_numbers(text, dimension) else _of_base64(text)
        if len(vector) != dimension:
            raise _Unreadable(f"has {count_of(len(vector), 'number')}; the model's dimension is {dimension}")
        if not (np.abs(vector) <= largest_component(dimension)).all():
            raise _Unreadable(f"holds {_UNUSABLE}")
    except _Unreadable as wrong:
        named = "The query vector" if parameter == "vector" else f"`{parameter}`"
        raise Unprocessable.at(
            f"{named} {wrong}. Send base64url of little-endian float32, or numbers with commas between them.",
            parameter=parameter,
            message=str(wrong),
        ) from None
    return vector


def vectors_of_lists(lists: Sequence[Sequence[float]], dimension: int, column: str = "vector") -> np.ndarray:
    """The `vectors` of a JSON body, or what another `column` of its queries is called: (n, dimension) float32.

    Raises Unprocessable.
    """
    wrong = [
        (row, f"has {count_of(len(v), 'number')}; {dimension} are expected")
        for row, v in enumerate(lists)
        if len(v) != dimension
    ]
    _refuse(wrong, column)
    try:
        numbers = np.array(lists, np.float64).reshape(len(lists), dimension)
    except OverflowError:
        raise Unprocessable(f"`{column}s` holds an integer too large for float32.") from None
    return _finite(numbers, column)


def vectors_of_npy(body: bytes, dimension: int, limit_rows: int) -> np.ndarray:
    """The array of a body in npy: (n, dimension) float32; (dimension,) is one query.

    Raises InvalidUpload, TooLarge and Unprocessable.
    """
    header = read_header(io.BytesIO(body), "The body")
    kind, size = header.dtype.kind, header.dtype.itemsize
    if not (kind in "iu" or (kind == "f" and size <= _DOUBLE_BYTES)):
        raise InvalidUpload(f"The body is of dtype {header.dtype}; {wanted_vectors(dimension)}.")
    rows = _query_rows(header.shape, dimension)
    if rows is None and len(header.shape) == 1:
        raise Unprocessable(f"The query vector has {header.shape[0]} numbers; the model's dimension is {dimension}.")
    if rows is None:
        raise Unprocessable(f"The array has shape {header.shape}; (n, {dimension}) is expected.")
    if rows > limit_rows:
        raise TooLarge(f"The body holds {rows} queries; one request may hold {limit_rows}.", limit=limit_rows)
    if len(body) != header.total_bytes:
        raise InvalidUpload(
            f"The body takes {len(body)} bytes, but shape {header.shape} of {header.dtype} makes {header.total_bytes}."
        )
    numbers = np.frombuffer(body, header.dtype, offset=header.bytes)
    if kind in "iu":
        numbers = numbers.astype(np.float64)
    return _finite(numbers.reshape((rows, dimension), order="F" if header.by_columns else "C"))


def _query_rows(shape: tuple[int, ...], dimension: int) -> int | None:
    """How many queries an array of this shape holds; None where it does not hold vectors of the dimension."""
    if len(shape) == 2:
        return shape[0] if shape[1] == dimension else None
    if dimension == 1:
        return shape[0]
    return 1 if shape[0] == dimension else None


@dataclass(frozen=True)
class QueryVectors:
    """The queries of a body: vectors (n, d) float32, and old_vectors (n, d_old), the same by an older model, where it
    has them."""

    vectors: np.ndarray
    old_vectors: np.ndarray | None = None


def vectors_of_rows(rows: UploadedRows, dimension: int, old_dimension: int | None) -> QueryVectors:
    """Validated rows of a column `vector` of this dimension and, perhaps, one `old_vector`, of theirs.

    Raises Unprocessable where some rows have an `old_vector` and some have none.
    """
    vectors = _column(rows, "vector", dimension)
    if old_dimension is None or "old_vector" not in rows.schema.names:
        return QueryVectors(vectors)
    return QueryVectors(vectors, _column(rows, "old_vector", old_dimension))


def _column(rows: UploadedRows, column: str, dimension: int) -> np.ndarray:
    parts, seen = [np.empty((0, dimension), np.float32)], 0
    for batch in rows.batches():
        cells = batch.column(column)
        lacking = np.flatnonzero(cells.is_null().to_numpy(zero_copy_only=False))[:TOLD] + seen
        message = "is missing; send one for every query, or leave the column out"
        _refuse([(row, message) for row in lacking.tolist()], column)
        parts.append(cells.flatten().to_numpy().reshape(-1, dimension))
        seen += batch.num_rows
    return np.concatenate(parts)


def refuse_zero_queries(vectors: np.ndarray, column: str = "vector") -> None:
    """For cosine, under which a zero query (n, d) has no direction. Raises Unprocessable."""
    zero = np.flatnonzero(~vectors.any(axis=1))[:TOLD].tolist()
    _refuse([(row, "is all zeros, which has no direction under cosine") for row in zero], column)


def _finite(vectors: np.ndarray, column: str = "vector") -> np.ndarray:
    with np.errstate(over="ignore"):
        narrow = vectors.astype(np.float32)
    usable = np.abs(narrow).max(axis=1, initial=0) <= largest_component(max(1, narrow.shape[1]))
    endless = np.flatnonzero(~usable)[:TOLD].tolist()
    _refuse([(row, f"holds {_UNUSABLE}") for row in endless], column)
    return narrow


def _refuse(wrong: Sequence[tuple[int, str]], column: str) -> None:
    if wrong:
        row, message = wrong[0]
        errors = [{"row": row, "column": column, "message": message} for row, message in wrong[:TOLD]]
        named = f"Query {row}" if column == "vector" else f"`{column}` of query {row}"
        raise Unprocessable(f"{named} {message}. Queries count from 0.", errors=errors)


def _is_of_numbers(text: str, dimension: int) -> bool:
    if _LISTED.search(text):
        return True
    digits = len(text.strip().rstrip("="))
    return bool(_NUMBER.fullmatch(text)) and (dimension == 1 or digits != math.ceil(_base64_digits(dimension)))


def _base64_digits(dimension: int) -> float:
    """Six bits a digit."""
    return 4 * dimension * 8 / 6


def _of_numbers(text: str) -> np.ndarray:
    listed = text.strip()
    if listed.startswith("[") and listed.endswith("]"):
        listed = listed[1:-1]
    numbers = listed.split(",")
    for place, number in enumerate(numbers):
        if len(number) > _NUMBER_CHARACTERS or not _NUMBER.fullmatch(number):
            raise _Unreadable(f"holds {number[:_NUMBER_CHARACTERS]!r} at position {place}, which is no finite number")
    with np.errstate(over="ignore"):
        return np.array([float(_PLUS.sub(r"\1+", number)) for number in numbers]).astype(np.float32)


def _of_plain_base64(text: str, dimension: int) -> np.ndarray | None:
    """What most clients send, told by its length, and read in a fifth of the time; None for anything else."""
    digits = math.ceil(_base64_digits(dimension))
    padding = "=" * (-digits % 4)
    if dimension == 1 or not text.isascii() or len(text) not in (digits, digits + len(padding)):
        return None
    padded = text + padding[len(text) - digits :]
    try:
        data = binascii.a2b_base64(padded.encode().translate(_STANDARD), strict_mode=True)
    except binascii.Error:
        return None
    return np.frombuffer(data, "<f4").astype(np.float32) if len(data) == 4 * dimension else None


def _of_base64(text: str) -> np.ndarray:
    # A plus that is not escaped in a URL arrives as a space.
    text = text.strip("\t\r\n").replace(" ", "-").replace("+", "-").replace("/", "_")
    if not _BASE64.fullmatch(text):
        raise _Unreadable("is neither base64 nor numbers with commas between them")
    digits = text.rstrip("=")
    if len(digits) % 4 == 1:
        raise _Unreadable("is no base64: it is cut short")
    data = base64.urlsafe_b64decode(digits + "=" * (-len(digits) % 4))
    if len(data) % 4:
        raise _Unreadable(f"decodes to {len(data)} bytes, which is no whole number of float32 values")
    return np.frombuffer(data, "<f4").astype(np.float32)
