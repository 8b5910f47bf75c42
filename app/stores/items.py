"""Items as the record batches of `app.stores.protocol`, made from what stores of documents answer with."""

import base64
import binascii
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa

from app.stores.protocol import Column, Place, WrongPlace

Fields = Mapping[str, Any]
"""What a document holds beside its vector, as its store's client decodes it from JSON."""


@dataclass(frozen=True)
class StoredItem:
    """One document. vector: (d,) float32, None where it has none; marked: what else its mark changes with."""

    id: str
    vector: np.ndarray[Any, np.dtype[np.float32]] | None
    fields: Fields
    marked: bytes = b""


def items_batch(
    items: Sequence[StoredItem], columns: Sequence[Column], place: Place, dimension: int
) -> pa.RecordBatch:
    """The items with these columns, in the order given. Raises WrongPlace for an image that is not base64."""
    made = {column: _column(column, items, place, dimension) for column in columns}
    return pa.RecordBatch.from_arrays(list(made.values()), names=list(made))


def vectors_column(vectors: Sequence[np.ndarray[Any, Any] | None], dimension: int) -> pa.FixedSizeListArray:
    """Vectors (d,) float32 as one column, null for None."""
    missing = np.fromiter((vector is None for vector in vectors), bool, len(vectors))
    values = np.zeros((len(vectors), dimension), np.float32)
    if not missing.all():
        values[~missing] = [vector for vector in vectors if vector is not None]
    return pa.FixedSizeListArray.from_arrays(
        pa.array(values.reshape(-1)), dimension, mask=pa.array(missing) if missing.any() else None
    )


def column_vectors(column: pa.FixedSizeListArray) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A column without nulls as (n, d) float32."""
    values: np.ndarray[Any, np.dtype[np.float32]] = column.flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(column), -1)


def item_mark(vector: np.ndarray[Any, Any] | None, marked: bytes = b"") -> int:
    """64 bits of a hash of the vector's bytes, and of what else is marked."""
    digest = blake2b(b"" if vector is None else np.ascontiguousarray(vector, np.float32).tobytes(), digest_size=8)
    digest.update(marked)
    return int.from_bytes(digest.digest(), "little")


def field_at(fields: Fields, path: str) -> Any:
    """The value of a field, or of one within others (`metadata.source`); None where there is none."""
    if path in fields:
        return fields[path]
    found: Any = fields
    for name in path.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(name)
    return found


def read_fields(place: Place, columns: Iterable[Column]) -> list[str]:
    """The fields that these columns are made of."""
    wanted: list[str] = []
    for column in columns:
        if column == "payload":
            wanted += place.payload
        elif column in ("text", "image", "label") and (field := getattr(place, column)):
            wanted.append(field)
    return sorted(set(wanted))


def _column(column: Column, items: Sequence[StoredItem], place: Place, dimension: int) -> pa.Array:
    match column:
        case "id":
            return pa.array([item.id for item in items], pa.string())
        case "vector":
            return vectors_column([item.vector for item in items], dimension)
        case "mark":
            return pa.array([item_mark(item.vector, item.marked) for item in items], pa.uint64())
        case "text":
            return pa.array([_text(item, place.text) for item in items], pa.string())
        case "label":
            return pa.array([_text(item, place.label) for item in items], pa.string())
        case "image":
            return pa.array([_image(item, place.image) for item in items], pa.binary())
        case "payload":
            return pa.array([_payload(item, place.payload) for item in items], pa.string())


def _text(item: StoredItem, field: str | None) -> str | None:
    value = None if field is None else field_at(item.fields, field)
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _image(item: StoredItem, field: str | None) -> bytes | None:
    value = None if field is None else field_at(item.fields, field)
    if value is None:
        return None
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise WrongPlace(f"the field {field!r} of the item {item.id!r} holds no image: base64 is expected") from None


def _payload(item: StoredItem, fields: Sequence[str]) -> str | None:
    if not fields:
        return None
    found = {field: field_at(item.fields, field) for field in fields}
    return json.dumps({field: value for field, value in found.items() if value is not None}, ensure_ascii=False)
