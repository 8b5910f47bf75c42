"""Arrays by name in the safetensors format, read and written with numpy alone.

A file is the length of its header, in 8 bytes, little-endian; the header, JSON that names each array's dtype, shape and
bytes, with texts under `__metadata__`; then the bytes of all arrays, little-endian and row by row, without gaps.
The format: https://huggingface.co/docs/safetensors.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .strict_json import shown, strict_json

Arrays = Mapping[str, NDArray[Any]]
"""The arrays of an artifact by name."""

_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "|u1",
    "BOOL": "|b1",
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_METADATA, _LENGTH_BYTES, _ALIGNED = "__metadata__", 8, 8
_MOST_AXES = 8
_LONGEST_HEADER = 100_000_000  # bytes: the format's own limit


def tensor_bytes(arrays: Arrays, metadata: Mapping[str, str]) -> bytes:
    """The arrays and texts as one file; the same input gives the same bytes.

    The widest dtypes come first, so that each array begins where its dtype is aligned. Raises KeyError for a dtype that
    the format does not know.
    """
    ordered = sorted(arrays.items(), key=lambda named: (-named[1].dtype.itemsize, named[0]))
    header: dict[str, Any] = {_METADATA: dict(metadata)}
    parts, end = [], 0
    for name, array in ordered:
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        begin, end = end, end + little.nbytes
        dtype = _NAMES[little.dtype.str]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [begin, end]}
        parts.append(little.tobytes())
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNED)
    return b"".join([len(text).to_bytes(_LENGTH_BYTES, "little"), text, *parts])


def parse_tensors(content: bytes) -> tuple[dict[str, str], dict[str, NDArray[Any]]]:
    """The texts and the arrays of a file; the arrays cannot be written to, as they share its memory.

    Raises ValueError where anything is not as the format has it: nothing of the file is believed before it was checked.
    """
    begins = header_end(content)
    try:
        header = strict_json(content[_LENGTH_BYTES:begins])
    except ValueError as error:
        raise ValueError(f"its header cannot be read as JSON: {error}") from error
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError(f"its {_METADATA} is no object of texts")
    arrays: dict[str, NDArray[Any]] = {}
    expected = 0
    for name, entry in sorted(header.items(), key=lambda named: _range(*named)):
        begin, end = _range(name, entry)
        if begin != expected:
            raise ValueError(f"the bytes of {shown(name)} do not begin where those before it end")
        arrays[name] = _array(name, entry, content, begins + begin, end - begin)
        expected = end
    if begins + expected != len(content):
        raise ValueError(f"it has {len(content) - begins:,} bytes of arrays, and its header names {shown(expected)}")
    return metadata, arrays


def header_end(content: bytes) -> int:
    """Where a file's header ends and its arrays begin. Raises ValueError where it is cut off before that."""
    length = int.from_bytes(content[:_LENGTH_BYTES], "little")
    if len(content) < _LENGTH_BYTES or length > min(_LONGEST_HEADER, len(content) - _LENGTH_BYTES):
        raise ValueError("it is no safetensors file, or is cut off")
    return _LENGTH_BYTES + length


def _range(name: str, entry: object) -> tuple[int, int]:
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    if not (isinstance(offsets, list) and len(offsets) == 2 and all(map(_counts, offsets))):
        raise ValueError(f"the header does not say where the bytes of {shown(name)} are")
    return offsets[0], offsets[1]


def _array(name: str, entry: Mapping[str, Any], content: bytes, begin: int, nbytes: int) -> NDArray[Any]:
    dtype, shape = entry.get("dtype"), entry.get("shape")
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise ValueError(f"{shown(name)} is of dtype {shown(dtype)}, which is not read here")
    if not (isinstance(shape, list) and all(map(_counts, shape))):
        raise ValueError(f"{shown(name)} has no shape")
    if len(shape) > _MOST_AXES or max(shape, default=0) > len(content):  # before anything is reckoned with them
        raise ValueError(f"{shown(name)} has a shape that no array of this file can have: {shown(shape)}")
    kind, count = np.dtype(_DTYPES[dtype]), math.prod(shape)
    if count * kind.itemsize != nbytes:
        raise ValueError(f"{shown(name)} is {dtype} of shape {shape}, and has {nbytes} bytes")
    if begin + nbytes > len(content):
        raise ValueError(f"it is cut off within {shown(name)}")
    if not count:
        return np.empty(shape, kind)
    return np.frombuffer(content, kind, count, begin).reshape(shape)


def _counts(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
