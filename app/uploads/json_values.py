"""Arrow values as JSON has them: one form for each type.

Numbers, strings, booleans, lists and structs are what they are; NaN is null, which is what pandas means by it. A map is
an object. Timestamps, dates and times are ISO 8601, those with a zone in UTC with a `Z`; durations too, in seconds
(`PT1.5S`). Decimals are strings, so that no digit is lost; UUIDs are strings; bytes are base64. A dictionary's or run's
value, and an extension type's storage, are as if they stood in the column themselves.
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from app.json_text import BadJson, cell_value
from app.uploads import nested
from app.uploads.encodings import is_bytes, is_text, plain_type, run_of_each_row, unwrapped
from app.uploads.times import clock_texts, date_texts, duration_text, interval_text, timestamp_texts

_DEPTH = 32


@dataclass(frozen=True)
class NoJson:
    """Stands for a value that has no JSON form, and says why."""

    why: str


def json_values(array: pa.Array) -> list[Any]:
    """Each cell as Python's json would read it. Where a cell has no JSON form there is a `NoJson`."""
    type_ = array.type
    if isinstance(type_, pa.JsonType):
        return [_of_text(text) for text in json_values(array.storage)]
    if pa.types.is_dictionary(type_):
        return _of_dictionary(array)
    if pa.types.is_run_end_encoded(type_):
        return _of_runs(array)
    if isinstance(type_, pa.BaseExtensionType) and not isinstance(type_, pa.UuidType | pa.Bool8Type):
        return json_values(array.storage)
    if pa.types.is_struct(type_):
        return _of_struct(array)
    if pa.types.is_map(type_):
        return [pairs if pairs is None else _object(pairs) for pairs in _of_list(nested.entries(array))]
    if nested.is_list(type_):
        return _of_list(array)
    array = unwrapped(array)
    return _scalar(array.type)(array)


def without_json_form(type_: pa.DataType, depth: int = 0) -> str | None:
    """The part of a type that `json_values` does not take, in Arrow's words, or None."""
    type_ = plain_type(type_)
    if depth > _DEPTH:
        return f"more than {_DEPTH} types within each other"
    if pa.types.is_struct(type_) or pa.types.is_map(type_) or nested.is_list(type_):
        names = [field.name for field in type_] if pa.types.is_struct(type_) else []
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            return f"a struct with two fields {twice[:80]!r}"
        children = (type_.field(place) for place in range(type_.num_fields))
        return next((part for child in children if (part := _field_without(child, depth + 1)) is not None), None)
    return None if _has_scalar(type_) else str(type_)


def is_period(field: pa.Field) -> bool:
    """Whether a field holds pandas periods: numbers that mean nothing without their frequency."""
    told = (field.metadata or {}).get(b"ARROW:extension:name", b"").decode(errors="replace")
    return "pandas.period" in (told, getattr(field.type, "extension_name", None))


def _field_without(field: pa.Field, depth: int) -> str | None:
    return "pandas periods" if is_period(field) else without_json_form(field.type, depth)


# Nested values


def _of_dictionary(array: pa.DictionaryArray) -> list[Any]:
    """Only the entries in use are decoded, each once."""
    places = [None if place is None else int(place) for place in array.indices.to_pylist()]
    entries = {
        place: json_values(array.dictionary.slice(place, 1))[0] for place in {p for p in places if p is not None}
    }
    return [None if place is None else entries[place] for place in places]


def _of_runs(array: pa.RunEndEncodedArray) -> list[Any]:
    if not len(array):
        return []
    runs = run_of_each_row(array)
    values = json_values(array.values.slice(int(runs[0]), int(runs[-1] - runs[0]) + 1))
    return [values[run] for run in (runs - runs[0]).tolist()]


def _of_struct(array: pa.StructArray) -> list[Any]:
    names = [field.name for field in array.type]
    members = [json_values(array.field(place)) for place in range(len(names))]
    rows = zip(*members, strict=True) if members else [()] * len(array)
    there = nested.valid(array).tolist()
    return [dict(zip(names, row, strict=True)) if is_ else None for is_, row in zip(there, rows, strict=True)]


def _of_list(array: pa.Array) -> list[Any]:
    values = json_values(array.flatten())
    ends = np.cumsum(nested.lengths(array)).tolist()
    there = nested.valid(array).tolist()
    return [values[start:end] if is_ else None for is_, start, end in zip(there, [0, *ends[:-1]], ends, strict=False)]


def _object(pairs: list[dict[str, Any]]) -> dict[str, Any] | NoJson:
    """The entries of a map as an object; a key that is a whole number is written as one."""
    members: dict[str, Any] = {}
    for pair in pairs:
        key = pair["key"]
        name = str(key) if isinstance(key, int) and not isinstance(key, bool) else key
        if not isinstance(name, str):
            return NoJson("holds a map whose keys are neither strings nor integers")
        if name in members:
            return NoJson(f"holds a map with two values of {name[:80]!r}")
        members[name] = pair["value"]
    return members


def _of_text(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return cell_value(text)
    except BadJson as error:
        return NoJson(f"holds a JSON value that {error}")


# Scalars


def _has_scalar(type_: pa.DataType) -> bool:
    return any(test(type_) for test, _ in _SCALARS)


def _scalar(type_: pa.DataType) -> Callable[[pa.Array], list[Any]]:
    return next(write for test, write in _SCALARS if test(type_))


def _as_they_are(array: pa.Array) -> list[Any]:
    return list(array.to_pylist())


def _floats(array: pa.Array) -> list[float | None]:
    return [None if value is None or value != value else value for value in array.cast(pa.float64()).to_pylist()]


def _decimals(array: pa.Array) -> list[str | None]:
    return [None if value is None else format(value, "f") for value in array.to_pylist()]


def _bytes(array: pa.Array) -> list[str | None]:
    return [None if value is None else base64.b64encode(value).decode() for value in array.to_pylist()]


def _texts(write: Callable[[pa.Array], list[str | None]], outside: str) -> Callable[[pa.Array], list[Any]]:
    """A writer that has no text for some cells: those become a `NoJson`, and nulls stay nulls."""

    def written(array: pa.Array) -> list[Any]:
        there = nested.valid(array).tolist()
        return [
            NoJson(outside) if is_ and text is None else text for is_, text in zip(there, write(array), strict=True)
        ]

    return written


def _durations(array: pa.Array) -> list[str | None]:
    counts = array.cast(pa.int64()).to_pylist()
    return [None if count is None else duration_text(count, array.type.unit) for count in counts]


def _intervals(array: pa.Array) -> list[str | None]:
    return [None if cell is None else interval_text(*cell) for cell in array.to_pylist()]


_YEARS = "holds a time outside the years 1 to 9999"
_SCALARS: tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.Array], list[Any]]], ...] = (
    (pa.types.is_null, _as_they_are),
    (pa.types.is_boolean, _as_they_are),
    (pa.types.is_integer, _as_they_are),
    (pa.types.is_floating, _floats),
    (is_text, _as_they_are),
    (pa.types.is_decimal, _decimals),
    (pa.types.is_timestamp, _texts(timestamp_texts, _YEARS)),
    (pa.types.is_date, _texts(date_texts, _YEARS)),
    (pa.types.is_time, clock_texts),
    (pa.types.is_duration, _durations),
    (pa.types.is_interval, _intervals),
    (is_bytes, _bytes),
)
