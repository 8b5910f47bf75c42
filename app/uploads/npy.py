"""Headers of numpy's npy format: read without trusting a number in them, and without ever unpickling."""

import io
from dataclasses import dataclass
from functools import lru_cache
from typing import IO

import numpy as np

from app.problems import InvalidUpload

_HEADER_BYTES = 10_000
_HEADERS_KEPT = 64
_LENGTH_BYTES = {(1, 0): 2, (2, 0): 4, (3, 0): 4}
_KINDS = "fiubUSMm"


@dataclass(frozen=True)
class Header:
    """The header of an npy file: shape, dtype and order of the array that follows it."""

    shape: tuple[int, ...]
    dtype: np.dtype
    by_columns: bool
    """Whether the second axis comes first in the file (Fortran order) and it matters."""
    bytes: int
    """Length of the header itself, bytes."""

    @property
    def row_bytes(self) -> int:
        """Bytes of one row, an entry along the first axis."""
        size = self.dtype.itemsize
        for length in self.shape[1:]:
            size *= length
        return size

    @property
    def total_bytes(self) -> int:
        """Bytes of header and array together."""
        return self.bytes + self.shape[0] * self.row_bytes


def read_header(file: IO[bytes], name: str) -> Header:
    """The header of an npy file, which is left at its first row. Raises InvalidUpload.

    Taken are arrays of one or two axes of floats, integers, booleans, dates and times, or strings.
    """
    magic = file.read(8)
    if magic[:6] != np.lib.format.MAGIC_PREFIX:
        raise InvalidUpload(f"{name} is not in npy format: it does not start with \\x93NUMPY.")
    version = (magic[6], magic[7]) if len(magic) == 8 else (0, 0)
    if version not in _LENGTH_BYTES:
        raise InvalidUpload(f"{name} is in npy version {version[0]}.{version[1]}, which is not known here.")
    prefix = file.read(_LENGTH_BYTES[version])
    length = int.from_bytes(prefix, "little")
    if length > _HEADER_BYTES:
        raise InvalidUpload(f"{name} says that its header takes {length} bytes; at most {_HEADER_BYTES} are read.")
    text = file.read(length)
    if len(text) < length:
        raise InvalidUpload(f"{name} is cut short: it ends within its header.")
    shape, fortran, dtype = _parse(version, prefix + text, name)
    if dtype.hasobject or dtype.kind not in _KINDS or dtype.itemsize == 0:
        raise InvalidUpload(
            f"{name} is of dtype {dtype}; floats, integers, booleans, dates, times and strings (U, S) are taken. "
            "Objects are never unpickled: save numpy.array(values, dtype=str), or the numbers as numbers."
        )
    if not 1 <= len(shape) <= 2 or any(isinstance(n, bool) or n < 0 for n in shape):
        raise InvalidUpload(f"{name} has shape {shape}; arrays of one or two axes are taken.")
    by_columns = fortran and len(shape) == 2 and min(shape) > 1
    return Header(shape, dtype, by_columns, len(magic) + len(prefix) + length)


def wanted_vectors(dimension: int | str) -> str:
    """What is said of an array that does not hold vectors of a dimension."""
    return (
        f"(n, {dimension}) of float16, float32, float64 or integers is expected (a longdouble differs from machine to "
        "machine)"
    )


@lru_cache(_HEADERS_KEPT)  # requests of one client mostly have the same, and Python's parser takes its time
def _parse(version: tuple[int, int], rest: bytes, name: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    # Version 3 is version 2 with utf8 field names, and a dtype with fields is refused anyway.
    parse = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        return parse(io.BytesIO(rest), max_header_size=_HEADER_BYTES)
    except (
        Exception
    ) as error:  # numpy evaluates a Python literal and a dtype: there is no closed list of what they raise
        raise InvalidUpload(f"{name} has no valid npy header.") from error
