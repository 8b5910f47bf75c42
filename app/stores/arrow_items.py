"""Items as the record batches of `app.stores.protocol`, made from the columns of files and tables that are Arrow's."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from app.stores.batches import vector_array, vector_marks, vectors_of
from app.stores.protocol import Column, Place, WrongPlace
from app.uploads import nested
from app.uploads.encodings import is_bytes, is_text, plain_type, unwrapped


def source_columns(columns: Iterable[Column], place: Place) -> list[str]:
    """The columns of the place, by its own names, that these columns of items are made of."""
    wanted: dict[str, None] = {}
    for column in columns:
        if column == "payload":
            wanted |= dict.fromkeys(place.payload)
        elif name := getattr(place, "vector" if column == "mark" else column):
            wanted[name] = None
    return list(wanted)


def check_columns(schema: pa.Schema, place: Place, where: str) -> None:
    """Raises WrongPlace for a column of the place's that is not there, and names those that are."""
    names = source_columns(("id", "vector", "text", "image", "label", "payload"), place)
    if missing := [name for name in names if name not in schema.names]:
        raise WrongPlace(f"{where} has no column {missing[0]!r}; it has {', '.join(map(repr, schema.names))}")
    if twice := [name for name in names if schema.names.count(name) > 1]:
        raise WrongPlace(f"{where} has more than one column {twice[0]!r}")
    if not is_vector(schema.field(place.vector).type):
        vectors = [field.name for field in schema if is_vector(field.type)]
        raise WrongPlace(
            f"the column {place.vector!r} of {where} holds {schema.field(place.vector).type}, and no vectors; those of "
            f"lists of numbers are: {', '.join(map(repr, vectors)) or 'none'}"
        )


def is_vector(type_: pa.DataType) -> bool:
    """Whether a column of this type holds a list of numbers in each cell."""
    plain = plain_type(type_)
    return nested.is_list(plain) and bool(
        pa.types.is_floating(plain.value_type) or pa.types.is_integer(plain.value_type)
    )


def fixed_dimension(type_: pa.DataType) -> int | None:
    """How many numbers each cell has, where the type says so."""
    plain = plain_type(type_)
    return plain.list_size if pa.types.is_fixed_size_list(plain) else None


def items_of(
    batch: pa.RecordBatch, columns: Sequence[Column], place: Place, dimension: int, ids: pa.Array | None = None
) -> pa.RecordBatch:
    """The items of a batch that has the place's own columns.

    ids: their ids, where no column holds them. Raises WrongPlace for an id that is null, and for a cell that is not
    what its column is to be.
    """
    ids = texts_of_ids(batch.column(place.id), place.id) if ids is None and place.id else ids
    vectors = float_vectors(batch.column(place.vector), dimension, ids) if {"vector", "mark"} & set(columns) else None
    made = [_column(column, batch, place, ids, vectors) for column in columns]
    return pa.RecordBatch.from_arrays(made, names=list(columns))


def texts_of_ids(array: pa.Array, name: str) -> pa.StringArray:
    """Ids as text; whole numbers in decimal. Raises WrongPlace for a null and for a type that is no key's."""
    plain = _decoded(array)
    if not (is_text(plain.type) or pa.types.is_integer(plain.type)):
        raise WrongPlace(f"the column {name!r} holds {array.type}, which is no id: strings and whole numbers are")
    if plain.null_count:
        raise WrongPlace(f"the column {name!r} has a null; every item needs an id")
    return plain.cast(pa.string())


def ids_from_texts(texts: pa.Array, type_: pa.DataType) -> pa.Array:
    """The reverse of `texts_of_ids`: null where no id of the type is written so."""
    plain = plain_type(type_)
    if not pa.types.is_integer(plain):
        return texts.cast(plain)
    numbers = pc.if_else(pc.match_substring_regex(texts, r"^-?\d{1,19}$"), texts, pa.scalar(None, pa.string()))
    try:
        found = numbers.cast(plain)
    except pa.ArrowInvalid:  # one is beyond what the type holds
        found = pa.array([_number(text, plain) for text in numbers.to_pylist()], plain)
    return pc.if_else(pc.equal(found.cast(pa.string()), texts), found, pa.scalar(None, plain))  # "007" is not 7


def float_vectors(array: pa.Array, dimension: int, ids: pa.Array | None = None) -> pa.FixedSizeListArray:
    """Lists of numbers as fixed-size lists of float32, null where there is none. Raises WrongPlace."""
    lists = _decoded(array)
    given, lengths = nested.valid(lists), nested.lengths(lists)
    if (wrong := given & (lengths != dimension)).any():
        place = int(np.flatnonzero(wrong)[0])
        raise WrongPlace(f"{_named(ids, place)} has a vector of {lengths[place]} numbers; others have {dimension}")
    numbers = unwrapped(lists.flatten())
    if numbers.null_count:
        row = int(np.flatnonzero(given)[np.flatnonzero(~nested.valid(numbers))[0] // dimension])
        raise WrongPlace(f"{_named(ids, row)} has a vector with a null among its numbers")
    values = numbers.cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False).reshape(-1, dimension)
    if given.all():
        return vector_array(values)
    placed = np.zeros((len(lists), dimension), np.float32)
    placed[given] = values
    return vector_array(placed, given)


def _column(
    column: Column, batch: pa.RecordBatch, place: Place, ids: pa.Array, vectors: pa.FixedSizeListArray | None
) -> pa.Array:
    match column:
        case "id":
            return ids
        case "vector":
            return vectors
        case "mark":
            return vector_marks(*vectors_of(pa.RecordBatch.from_arrays([vectors], ["vector"])))
        case "payload":
            return _payloads(batch, place.payload)
        case "image":
            return _images(batch, place.image)
        case "text" | "label":
            return _texts(batch, getattr(place, column))


def _texts(batch: pa.RecordBatch, name: str | None) -> pa.StringArray:
    if name is None:
        return pa.nulls(batch.num_rows, pa.string())
    cells = _decoded(batch.column(name))
    if pa.types.is_nested(cells.type) or is_bytes(cells.type):
        raise WrongPlace(f"the column {name!r} holds {cells.type}, and no text")
    return cells.cast(pa.string())


def _images(batch: pa.RecordBatch, name: str | None) -> pa.BinaryArray:
    """Bytes, or what Hugging Face's `Image` is stored as: a struct of `bytes` and `path`. No path is followed."""
    if name is None:
        return pa.nulls(batch.num_rows, pa.binary())
    cells = _decoded(batch.column(name))
    if pa.types.is_struct(cells.type) and cells.type.get_field_index("bytes") >= 0:
        cells = pc.struct_field(cells, "bytes")
    if not is_bytes(cells.type):
        raise WrongPlace(f"the column {name!r} holds {cells.type}, and no images: those are bytes")
    return cells.cast(pa.binary())


def _payloads(batch: pa.RecordBatch, names: Sequence[str]) -> pa.StringArray:
    if not names:
        return pa.nulls(batch.num_rows, pa.string())
    cells = [_values(batch.column(name)) for name in names]
    return pa.array((_object(names, row) for row in zip(*cells, strict=True)), pa.string())


def _values(array: pa.Array) -> list[Any]:
    """Cells as Python values; those of Arrow's type of JSON as what they say."""
    cells: list[Any] = array.to_pylist()
    if isinstance(array.type, pa.JsonType):
        return [None if cell is None else json.loads(cell) for cell in cells]
    return cells


def _object(names: Sequence[str], values: Sequence[Any]) -> str:
    """Dates, decimals and the like as their text."""
    filled = {name: value for name, value in zip(names, values, strict=True) if value is not None}
    return json.dumps(filled, ensure_ascii=False, default=str)


def _decoded(array: pa.Array) -> pa.Array:
    """Without extension types and encodings."""
    plain = unwrapped(array)
    return plain.dictionary.take(plain.indices) if pa.types.is_dictionary(plain.type) else plain


def _named(ids: pa.Array | None, row: int) -> str:
    return f"the item {ids[row].as_py()!r}" if ids is not None else "an item"


def _number(text: str | None, type_: pa.DataType) -> int | None:
    """None where the type has no such number."""
    try:
        return None if text is None else pa.scalar(int(text), type_).as_py()
    except (pa.ArrowInvalid, OverflowError):
        return None
