"""Vectors of any list of numbers → fixed_size_list<float32>, each finite and of the right dimension."""

import numpy as np
import pyarrow as pa

from app.uploads import nested
from app.uploads.encodings import unwrapped
from app.uploads.expected_columns import Column
from app.uploads.offences import Chunk
from app.vectors import largest_component
from app.wording import count_of


def canonical_vectors(column: Column, raw: pa.Array, chunk: Chunk) -> pa.Array:
    """One column of a chunk, unwrapped. Offending cells are noted in the chunk, and come back as nulls."""
    valid, wrong = _lengths_checked(column, raw, chunk)
    if wrong.any():
        if not (pa.types.is_list(raw.type) or pa.types.is_large_list(raw.type)):
            return pa.nulls(len(raw), column.type)  # what is too long may be so by sharing, and is not copied
        raw, valid = raw.filter(pa.array(~wrong)), valid & ~wrong
    if pa.types.is_dictionary(raw.type):
        raw = raw.dictionary.take(raw.indices)
    numbers = unwrapped(raw.flatten())
    missing = ~nested.valid(numbers)
    values = _floats(numbers, missing).reshape(-1, column.dimension)
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


def _lengths_checked(column: Column, raw: pa.Array, chunk: Chunk) -> tuple[np.ndarray, np.ndarray]:
    """Which rows have a vector, and which of those one of a wrong length: (n,) bool each."""
    if pa.types.is_dictionary(raw.type):
        given = nested.valid(raw.indices)
        places = raw.indices.fill_null(0).to_numpy(zero_copy_only=False)
        entries = raw.dictionary if len(raw.dictionary) else pa.nulls(1, raw.dictionary.type)
        valid, lengths = given & nested.valid(entries)[places], nested.lengths(entries)[places]
    else:
        valid, lengths = nested.valid(raw), nested.lengths(raw)
    wrong = valid & (lengths != column.dimension)
    expected = f"{column.dimension} are expected"
    chunk.refuse(wrong, column.name, lambda place: f"has {count_of(lengths[place], 'number')}; {expected}")
    return valid, wrong


def _floats(numbers: pa.Array, missing: np.ndarray) -> np.ndarray:
    """Numbers as floats, whole ones and decimals by way of doubles, as in JSON; 0 where one is missing."""
    if pa.types.is_decimal(numbers.type):
        numbers = numbers.cast(pa.float64())
    given = numbers.fill_null(0) if missing.any() else numbers
    values = given.to_numpy(zero_copy_only=False)
    return np.asarray(values.astype(np.float64) if values.dtype.kind in "iu" else values)


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
