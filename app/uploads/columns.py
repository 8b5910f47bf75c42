"""Raw Arrow columns → canonical ones, with every rule about cells checked.

A raw column is well-formed Arrow (`validate(full=True)` held), and may hold anything.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from app.problems import InvalidRows
from app.uploads.expected_columns import ID_CHARACTERS, IMAGE_BYTES, LABEL_CHARACTERS, PAYLOAD_BYTES, TEXT_BYTES, Column
from app.uploads.offences import TOLD, Chunk
from app.uploads.payloads import BadPayload, of_struct, of_text
from app.vectors import largest_component

_CONTROL = r"\p{Cc}"
_UTF8_BYTES = 4  # the most that a character takes


def canonical(column: Column, raw: pa.Array, chunk: Chunk) -> pa.Array:
    """One column of a chunk in its canonical type. Offending cells are noted in the chunk, and come back as nulls."""
    if column.required:
        chunk.refuse(_missing(raw), column.name, f"is missing; every row needs {_a(column)}")
    if pa.types.is_null(raw.type):
        return pa.nulls(len(raw), column.type)
    match column.kind:
        case "vector":
            return _vector(column, raw, chunk)
        case "id":
            return _name(column, raw, chunk, ID_CHARACTERS, empty=False)
        case "label":
            if pa.types.is_integer(raw.type):
                return raw.cast(pa.string())
            return _name(column, raw, chunk, LABEL_CHARACTERS, empty=True)
        case "payload":
            return _payload(column, raw, chunk)
        case "text":
            return _short(column, raw, chunk, TEXT_BYTES).cast(column.type)
        case "image":
            return _short(column, raw, chunk, IMAGE_BYTES).cast(column.type)


def check_type(column: Column, type_: pa.DataType) -> str | None:
    """What is wrong with a raw column's type, or None. Only types that `canonical` takes pass."""
    if pa.types.is_null(type_):  # what a column without a value, or without rows, is to some writers
        return None
    match column.kind:
        case "vector":
            return _check_vector_type(column, type_)
        case "id":
            return None if _is_string(type_, encoded=True) else f"is of type {type_}; ids are strings"
        case "label":
            fits = _is_string(type_, encoded=True) or pa.types.is_integer(type_)
            return None if fits else f"is of type {type_}; labels are strings or integers"
        case "payload":
            fits = _is_string(type_) or pa.types.is_struct(type_)
            return None if fits else f"is of type {type_}; a payload is a struct, or a JSON object as a string"
        case "text":
            return None if _is_string(type_) else f"is of type {type_}; text is a string"
        case "image":
            fits = pa.types.is_binary(type_) or pa.types.is_large_binary(type_)
            return None if fits else f"is of type {type_}; an image is binary: the encoded file's bytes"


def _check_vector_type(column: Column, type_: pa.DataType) -> str | None:
    wanted = f"send a fixed-size list of {column.dimension} float16, float32 or float64"
    fixed = pa.types.is_fixed_size_list(type_)
    if not (fixed or pa.types.is_list(type_) or pa.types.is_large_list(type_)):
        return f"is of type {type_}; {wanted}"
    if not pa.types.is_floating(type_.value_type):
        return f"is a list of {type_.value_type}; {wanted}"
    if fixed and type_.list_size != column.dimension:
        return f"has vectors of {type_.list_size} numbers; {column.dimension} are expected"
    return None


def _is_string(type_: pa.DataType, *, encoded: bool = False) -> bool:
    if encoded and pa.types.is_dictionary(type_):
        type_ = type_.value_type
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_))


def _a(column: Column) -> str:
    return f"a vector of {column.dimension} numbers" if column.kind == "vector" else f"an {column.kind}"


def _missing(raw: pa.Array) -> np.ndarray:
    """Which cells (n,) bool are null; a dictionary's entry may be the null."""
    missing = _mask(raw.is_null())
    if pa.types.is_dictionary(raw.type):
        missing |= _mask(pc.take(raw.dictionary.is_null(), raw.indices))
    return missing


def _mask(flags: pa.Array) -> np.ndarray:
    """Boolean Arrow → (n,) bool; null is False."""
    return np.asarray(flags.fill_null(False).to_numpy(zero_copy_only=False), bool)


def _without(array: pa.Array, bad: np.ndarray) -> pa.Array:
    return pc.if_else(pa.array(bad), pa.scalar(None, array.type), array) if bad.any() else array


# Vectors


def _vector(column: Column, raw: pa.Array, chunk: Chunk) -> pa.Array:
    valid = _mask(raw.is_valid())
    if not pa.types.is_fixed_size_list(raw.type):
        lengths = pc.list_value_length(raw).fill_null(0).to_numpy(zero_copy_only=False)
        expected = f"{column.dimension} are expected"
        wrong = valid & (lengths != column.dimension)
        if chunk.refuse(wrong, column.name, lambda place: f"has {lengths[place]} numbers; {expected}"):
            raw, valid = raw.filter(pa.array(~wrong)), valid & ~wrong
    numbers = raw.flatten()
    missing = _mask(numbers.is_null())
    given = numbers.fill_null(0) if missing.any() else numbers
    values = given.to_numpy(zero_copy_only=False).reshape(-1, column.dimension)
    with np.errstate(over="ignore"):
        vectors = values.astype(np.float32, copy=False)
    rows = np.flatnonzero(valid)

    holes = np.asarray(missing.reshape(-1, column.dimension).any(axis=1))
    chunk.refuse(_spread(holes, rows, len(valid)), column.name, "has a null among its numbers")
    # Written so that NaN, which compares as false, counts as too large.
    endless = ~(np.abs(vectors).max(axis=1, initial=0) <= largest_component(column.dimension))
    if endless.any():
        place_of = dict(zip(rows.tolist(), range(len(rows)), strict=True))
        chunk.refuse(
            _spread(endless, rows, len(valid)),
            column.name,
            lambda place: _not_finite(values[place_of[place]]),
        )
    if valid.all():
        return pa.FixedSizeListArray.from_arrays(pa.array(np.ravel(vectors)), column.dimension)
    placed = np.zeros((len(valid), column.dimension), np.float32)
    placed[rows] = vectors
    return pa.FixedSizeListArray.from_arrays(pa.array(placed.ravel()), column.dimension, mask=pa.array(~valid))


def _spread(flags: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    """Flags of the valid rows → flags of all rows."""
    spread = np.zeros(count, bool)
    spread[rows] = flags
    return spread


def _not_finite(vector: np.ndarray) -> str:
    if np.isnan(vector).any():
        return f"holds NaN, first at position {np.flatnonzero(np.isnan(vector))[0]}"
    if np.isinf(vector).any():
        return f"holds an infinity, first at position {np.flatnonzero(np.isinf(vector))[0]}"
    return "is too long to be compared with others in float32"


# Strings and bytes


def _byte_lengths(raw: pa.Array) -> np.ndarray:
    """Bytes of each cell, 0 for null, without decoding a dictionary: its entries may be huge and used often."""
    if pa.types.is_dictionary(raw.type):
        lengths = pc.take(pc.binary_length(raw.dictionary), raw.indices)
    else:
        lengths = pc.binary_length(raw)
    return np.asarray(lengths.fill_null(0).to_numpy(zero_copy_only=False), np.int64)


def _short(column: Column, raw: pa.Array, chunk: Chunk, limit_bytes: int) -> pa.Array:
    """The cells that are not too long; they are copied only afterwards."""
    lengths = _byte_lengths(raw)
    long = lengths > limit_bytes
    chunk.refuse(long, column.name, lambda place: f"takes {lengths[place]} bytes; at most {limit_bytes} are taken")
    # Rebased as well: a slice of a large column casts only where the whole column is below 2 GiB.
    if long.any() or pa.types.is_large_string(raw.type) or pa.types.is_large_binary(raw.type):
        raw = raw.take(pa.array(np.arange(len(raw)), mask=long))
    return raw


def _name(column: Column, raw: pa.Array, chunk: Chunk, characters: int, *, empty: bool) -> pa.Array:
    names = _short(column, raw, chunk, _UTF8_BYTES * characters).cast(pa.string())
    lengths = pc.utf8_length(names).fill_null(1).to_numpy(zero_copy_only=False)
    bad = lengths > characters
    chunk.refuse(bad, column.name, lambda place: f"has {lengths[place]} characters; at most {characters} are taken")
    if not empty:
        blank = lengths == 0
        chunk.refuse(blank, column.name, "is empty")
        bad |= blank
    control = _mask(pc.match_substring_regex(names, _CONTROL))
    chunk.refuse(control, column.name, "holds a control character")
    return _without(names, bad | control)


def _payload(column: Column, raw: pa.Array, chunk: Chunk) -> pa.Array:
    struct = pa.types.is_struct(raw.type)
    cells = raw if struct else _short(column, raw, chunk, 2 * PAYLOAD_BYTES)
    texts: list[str | None] = []
    refused = 0
    for place, cell in enumerate(cells):
        try:
            texts.append(of_struct(cell) if struct else of_text(cell.as_py()))
        except BadPayload as error:
            texts.append(None)
            if refused < TOLD:
                chunk.refuse_row(place, column.name, str(error))
            refused += 1
    return pa.array(texts, column.type)


def refuse_columns(errors: Sequence[tuple[str, str]]) -> None:
    """Raises InvalidRows where columns are wrong as a whole: `(column, what is wrong)`, the first few told."""
    if errors:
        name, message = errors[0]
        raise InvalidRows(
            f"Column {name[:80]!r} {message}.", errors=[{"column": n[:80], "message": m} for n, m in errors[:TOLD]]
        )
