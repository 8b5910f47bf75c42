"""Labels are names of classes: whole numbers, booleans, dates and times are written as the text that names them.

An integer column with gaps is one of floats to pandas: 3.0 is "3" there, and NaN is no label. 3.5 names no class that
an integer could, and a number that its neighbours in floating point cannot be told from names none for certain.
"""

import math
from decimal import Decimal
from typing import Any

import pyarrow as pa

from app.uploads.json_values import NoJson, json_values
from app.uploads.offences import Chunk

_EXACT = 2**53  # up to here every whole number is a double of its own


class BadLabel(ValueError):
    """Why a value is no label."""


def is_labelling(type_: pa.DataType) -> bool:
    """Whether values of a type, other than strings, have one text as labels."""
    tests = (pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_temporal)
    return any(test(type_) for test in tests)


def label_of(value: bool | int | float | Decimal | str | None) -> str | None:
    """One label's text; None where there is no label. Raises BadLabel."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        return str(value)
    if math.isnan(value):
        return None
    if not math.isfinite(value) or value != value.__trunc__():
        raise BadLabel(f"is {value}; a number as a label is a whole number. Send it as a string where it names a class")
    if isinstance(value, float) and abs(value) > _EXACT:
        raise BadLabel(f"is {value}, a float too large to be told from its neighbours; send integers or strings")
    return str(int(value))


def label_texts(column: str, raw: pa.Array, chunk: Chunk) -> pa.Array:
    """Labels that are no strings, as strings; what is no label is noted in the chunk, and comes back as null."""
    if pa.types.is_boolean(raw.type) or pa.types.is_integer(raw.type):
        return raw.cast(pa.string())
    numbers = pa.types.is_floating(raw.type) or pa.types.is_decimal(raw.type)
    cells = raw.to_pylist() if numbers else json_values(raw)
    return pa.array(chunk.written(column, cells, _of_cell, BadLabel), pa.string())


def _of_cell(cell: Any) -> str | None:
    if isinstance(cell, NoJson):
        raise BadLabel(cell.why)
    return label_of(cell)
