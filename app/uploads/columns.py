"""Raw Arrow columns → canonical ones, with every rule about cells checked.

A raw column is well-formed Arrow (`validate(full=True)` held), and may hold anything.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from app.json_text import fault_of_text
from app.uploads.encodings import cell_bytes, is_text, plain_type, unwrapped
from app.uploads.expected_columns import (
    ID_CHARACTERS,
    IMAGE_BYTES,
    LABEL_CHARACTERS,
    PAYLOAD_BYTES,
    RELEVANT_BYTES,
    TEXT_BYTES,
    Column,
)
from app.uploads.json_sizes import least_json_bytes
from app.uploads.json_values import json_values
from app.uploads.labels import label_texts
from app.uploads.offences import Chunk
from app.uploads.payloads import BadPayload, of_text, of_value
from app.uploads.relevant import BadRelevant, relevant_of_text, relevant_of_value
from app.uploads.vectors import canonical_vectors

_CONTROL = r"\p{Cc}"
_UTF8_BYTES = 4  # the most that a character takes
_JSON_BYTES = {"payload": PAYLOAD_BYTES, "relevant": RELEVANT_BYTES}
_WHITE_SPACE = 2  # how much longer JSON is taken than it may be once compact


def canonical(column: Column, raw: pa.Array, chunk: Chunk) -> pa.Array:
    """One column of a chunk in its canonical type. Offending cells are noted in the chunk, and come back as nulls."""
    if pa.types.is_null(plain_type(raw.type)):
        raw = pa.nulls(len(raw))
    struct = column.kind in ("payload", "relevant") and pa.types.is_nested(plain_type(raw.type))
    raw = raw if struct else unwrapped(raw)
    if column.required:
        chunk.refuse(_missing(raw), column.name, f"is missing; every row needs {_a(column)}")
    if pa.types.is_null(raw.type):
        return pa.nulls(len(raw), column.type)
    match column.kind:
        case "vector":
            return canonical_vectors(column, raw, chunk)
        case "id":
            return _name(column, raw, chunk, ID_CHARACTERS, empty=False)
        case "label":
            if not is_text(plain_type(raw.type)):
                raw = label_texts(column.name, raw, chunk)
            return _name(column, raw, chunk, LABEL_CHARACTERS, empty=True)
        case "payload":
            cells = _structs(column, raw, chunk) if struct else _texts(column, raw, chunk)
            return _written(column, cells, of_value if struct else of_text, BadPayload, chunk)
        case "relevant":
            cells = _structs(column, raw, chunk) if struct else _texts(column, raw, chunk)
            return _written(column, cells, relevant_of_value if struct else relevant_of_text, BadRelevant, chunk)
        case "text":
            return _text(column, raw, chunk)
        case "image":
            return _short(column, raw, chunk, IMAGE_BYTES).cast(column.type)


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


# Strings and bytes


def _byte_lengths(raw: pa.Array) -> np.ndarray:
    """Bytes of each cell, 0 for null, without decoding a dictionary: its entries may be huge and used often."""
    if not pa.types.is_dictionary(raw.type):
        return cell_bytes(raw)
    lengths = pc.take(pa.array(cell_bytes(raw.dictionary)), raw.indices)
    return np.asarray(lengths.fill_null(0).to_numpy(zero_copy_only=False), np.int64)


def _short(column: Column, raw: pa.Array, chunk: Chunk, limit_bytes: int) -> pa.Array:
    """The cells that are not too long; they are copied only afterwards."""
    lengths = _byte_lengths(raw)
    long = lengths > limit_bytes
    chunk.refuse(long, column.name, lambda place: f"takes {lengths[place]} bytes; at most {limit_bytes} are taken")
    # Rebased as well: a slice of a large column casts only where the whole column is below 2 GiB.
    if long.any() or pa.types.is_large_string(raw.type) or pa.types.is_large_binary(raw.type):
        raw = raw.take(pa.array(np.arange(len(raw)), mask=long))
    return raw.dictionary.take(raw.indices) if pa.types.is_dictionary(raw.type) else raw


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


def _text(column: Column, raw: pa.Array, chunk: Chunk) -> pa.Array:
    texts = _short(column, raw, chunk, TEXT_BYTES).cast(column.type)
    bad = _mask(pc.match_substring(texts, "\0"))
    chunk.refuse(bad, column.name, str(fault_of_text("\0")))
    return _without(texts, bad)


# Payloads, relevant items


def _texts(column: Column, raw: pa.Array, chunk: Chunk) -> list[Any]:
    return list(_short(column, raw, chunk, _WHITE_SPACE * _JSON_BYTES[column.kind]).to_pylist())


def _structs(column: Column, raw: pa.Array, chunk: Chunk) -> list[Any]:
    """Each cell as Python's json would read it; nulls alone where one is too long to be decoded."""
    most = _JSON_BYTES[column.kind]
    least = least_json_bytes(raw)
    limit = f"at most {most} are taken"
    large = least > _WHITE_SPACE * most
    if chunk.refuse(large, column.name, lambda place: f"takes at least {least[place]} bytes as JSON; {limit}"):
        return [None] * len(raw)
    return json_values(raw)


def _written(
    column: Column, cells: list[Any], write: Callable[[Any], str | None], refusal: type[Exception], chunk: Chunk
) -> pa.Array:
    return pa.array(chunk.written(column.name, cells, write, refusal), column.type)
