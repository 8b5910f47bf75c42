"""JSON bodies: a list of rows, alone or as the one member `items` or `rows`.

`[{"id", "embedding", …}]` for galleries, `[{"id", "embeddings": {model: […]}, …}]` for datasets.
"""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from app.json_text import body_value, fault_of_text, utf8
from app.kept_cells import keeps
from app.problems import InvalidUpload, TooLarge
from app.uploads.expected_columns import Column, Expected, Kind, UploadLimits, chunk_rows
from app.uploads.labels import BadLabel, label_of
from app.uploads.offences import Chunk, Offences
from app.uploads.raw import Raw

_EMBEDDINGS = "embeddings"
_PREFIX = "embedding."
_WITH_EMBEDDINGS = ("rows", "queries")


class _Wrong(ValueError):
    """Why a value is not what its column holds."""


def read_json(
    path: Path,
    expected: Expected,
    limits: UploadLimits,
    offences: Offences,
    parse: Callable[[bytes], Any] | None = None,
) -> Raw:
    """Reads a JSON body. NaN and infinities pass, so that their rows can be named. Raises InvalidUpload, TooLarge."""
    rows = _rows((parse or _body)(path.read_bytes()), expected.noun)
    if len(rows) > limits.rows:
        raise TooLarge(f"The body holds {len(rows)} rows; one request may hold {limits.rows}. Send it in parts.")
    present = {column.name for column in expected.columns if column.required}.union(*rows)
    columns = [column for column in expected.columns if column.name in present]
    unknown = sorted(present - {column.name for column in columns})
    fields = [pa.field(column.name, _raw_type(column)) for column in columns]
    schema = pa.schema([*fields, *(pa.field(name, pa.null()) for name in unknown)])
    kept = tuple(column.name for column in columns if not column.required and _some_lack(rows, column.name))
    marked = pa.schema([*fields, *(pa.field(keeps(name), pa.bool_()) for name in kept)])
    size = chunk_rows(tuple(columns))

    def chunks() -> Iterator[pa.RecordBatch]:
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            chunk = Chunk(start, None, offences)
            marks = [pa.array([name not in row for row in part]) for name in kept]
            yield pa.record_batch([*(_array(column, part, chunk) for column in columns), *marks], schema=marked)

    return Raw(schema, chunks(), kept)


def _body(body: bytes) -> Any:
    return body_value(utf8(body, problem=InvalidUpload), problem=_no_json)


def _no_json(detail: str) -> InvalidUpload:
    lines = " One object a line is sent as application/x-ndjson." if "Extra data" in detail else ""
    return InvalidUpload(detail + lines)


def _rows(body: Any, noun: str) -> list[dict[str, Any]]:
    """The list of rows, with `embeddings` spread over one column a model."""
    if isinstance(body, dict) and set(body) == {noun}:
        body = body[noun]
    if not isinstance(body, list):
        raise InvalidUpload(f'The JSON body is neither {{"{noun}": […]}} nor a list.')
    return [_flat(row, number, noun) for number, row in enumerate(body)]


def _some_lack(rows: list[dict[str, Any]], member: str) -> bool:
    return any(member not in row for row in rows)


def _flat(row: Any, number: int, noun: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise InvalidUpload(f"Row {number} of the JSON body is {_a(row)}; a row is an object. Rows count from 0.")
    if _EMBEDDINGS not in row:
        return row
    if noun not in _WITH_EMBEDDINGS:
        raise InvalidUpload(f"Row {number} has `embeddings`, which rows of datasets have; an item takes `embedding`.")
    flat = {name: value for name, value in row.items() if name != _EMBEDDINGS}
    vectors = row[_EMBEDDINGS]
    if not isinstance(vectors, dict):
        hint = " To clear one, send null for its model; to keep all, leave it out." if vectors is None else ""
        raise InvalidUpload(
            f"`embeddings` of row {number} is {_a(vectors)}; it is an object of vectors by model id.{hint}"
        )
    for model, vector in vectors.items():
        if flat.setdefault(_PREFIX + model, vector) is not vector:
            raise InvalidUpload(f"Row {number} has two vectors of model {model[:80]!r}.")
    return flat


def _raw_type(column: Column) -> pa.DataType:
    return {"vector": pa.list_(pa.float64()), "image": pa.binary()}.get(column.kind, pa.string())


def _array(column: Column, rows: list[dict[str, Any]], chunk: Chunk) -> pa.Array:
    """One column of some rows as an array; a cell of a wrong type is noted as an offence, and left null."""
    cells: list[Any] = []
    read = _READ[column.kind]
    for place, row in enumerate(rows):
        value = row.get(column.name)
        try:
            cells.append(None if value is None else read(value))
        except _Wrong as error:
            name = row.get("id")
            chunk.offences.add(chunk.start + place, name, column.name, str(error))
            cells.append(None)
    return pa.array(cells, _raw_type(column))


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise _Wrong(f"is {_a(value)}; it is a string")
    if fault := fault_of_text(value):
        raise _Wrong(fault)
    return value


def _label(value: Any) -> str | None:
    if isinstance(value, str):
        return _string(value)
    if not isinstance(value, int | float):
        raise _Wrong(f"is {_a(value)}; labels are strings, whole numbers or booleans")
    try:
        return label_of(value)
    except BadLabel as error:
        raise _Wrong(str(error)) from None


def _payload(value: Any) -> str:
    if isinstance(value, str):
        return _string(value)
    if not isinstance(value, dict):
        raise _Wrong(f"is {_a(value)}; a payload is an object")
    try:
        return json.dumps(value)
    except RecursionError:
        raise _Wrong("is nested too deeply") from None


def _relevant(value: Any) -> str:
    if isinstance(value, str):
        return _string(value)
    if not isinstance(value, dict | list):
        raise _Wrong(f"is {_a(value)}; relevant items are a list of ids, or an object from id to grade")
    try:
        return json.dumps(value)
    except RecursionError:
        raise _Wrong("is nested too deeply") from None


def _vector(value: Any) -> np.ndarray:
    if not isinstance(value, list):
        raise _Wrong(f"is {_a(value)}; a vector is a list of numbers")
    if not set(map(type, value)) <= {int, float}:
        other = next(entry for entry in value if type(entry) not in (int, float))
        raise _Wrong(f"holds {_a(other)}; a vector is a list of numbers")
    try:
        return np.array(value, np.float64)
    except OverflowError:
        raise _Wrong("holds a number too large for float32") from None


def _image(value: Any) -> bytes:
    try:
        return base64.b64decode(_string(value), validate=True)
    except ValueError as error:
        raise _Wrong(str(error) if isinstance(error, _Wrong) else "is not base64") from None


_READ: dict[Kind, Callable[[Any], Any]] = {
    "id": _string,
    "label": _label,
    "payload": _payload,
    "relevant": _relevant,
    "vector": _vector,
    "image": _image,
    "text": _string,
}


def _a(value: Any) -> str:
    """The type of a JSON value, in JSON's words: "an object", "a number"."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    names = {dict: "an object", list: "a list", str: "a string", int: "a number", float: "a number"}
    return names[type(value)]
