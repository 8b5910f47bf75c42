"""The dimension of vectors of which nobody has said it: that of the first one in the body."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

import numpy as np
import pyarrow as pa

from app.uploads import nested
from app.uploads.column_types import refuse_columns
from app.uploads.encodings import plain_type, unwrapped
from app.uploads.expected_columns import MOST_COMPONENTS, Column
from app.uploads.raw import Raw


def with_shown_dimensions(columns: list[Column], raw: Raw) -> tuple[list[Column], Iterator[pa.RecordBatch]]:
    """The columns, each with a dimension, and the body's chunks. A column that holds nothing at all is left out.

    Raises InvalidRows where the first rows show none, or one that no vector may have.
    """
    if all(column.dimension or column.kind != "vector" for column in columns):
        return columns, raw.chunks
    first = next(raw.chunks, None)
    if first is None:
        return [column for column in columns if column.dimension or column.kind != "vector"], iter(())
    known = [_known(column, raw.schema.field(column.name).type, first) for column in columns]
    return [column for column in known if column is not None], chain([first], raw.chunks)


def _known(column: Column, type_: pa.DataType, first: pa.RecordBatch) -> Column | None:
    if column.dimension or column.kind != "vector":
        return column
    plain = plain_type(type_)
    if pa.types.is_null(plain):
        return None
    shown = plain.list_size if pa.types.is_fixed_size_list(plain) else _first_length(first.column(column.name))
    if shown is None:
        message = (
            f"has no vector in the first {first.num_rows} rows, which would show its dimension; send rows that have one"
            f' first, or register the dataset with {{"{column.name}": {{"dimension": …}}}}'
        )
        refuse_columns([(column.name, message)])
    elif not 0 < shown <= MOST_COMPONENTS:
        refuse_columns([(column.name, f"has vectors of {shown} numbers; 1 to {MOST_COMPONENTS:,} are taken")])
    return replace(column, dimension=shown or 0)


def _first_length(raw: pa.Array) -> int | None:
    """How long the first vector is; None where there is none. Nothing that entries share is copied."""
    array = unwrapped(raw)
    places = np.flatnonzero(nested.valid(array.indices if pa.types.is_dictionary(array.type) else array))
    for place in places.tolist():
        entry = array.slice(place, 1)
        if pa.types.is_dictionary(array.type):
            entry = array.dictionary.slice(array.indices[place].as_py(), 1)
        if nested.valid(entry)[0]:
            return int(nested.lengths(entry)[0])
    return None
