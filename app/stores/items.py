"""Items of stores that hold documents: their fields, as a client decodes them from JSON, made into record batches."""

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from app.stores.batches import FloatRows, RowFlags, item_batch, vector_array, vector_marks
from app.stores.protocol import Column, Place, WrongPlace

_REQUEST_BYTES = 8 * 2**20
"""Of vectors as JSON in one request or answer: servers take 10 MiB and more, and Python holds it several times over."""

_NUMBER_BYTES = 22
"""Of one number in JSON, at the most."""

Fields = Mapping[str, Any]
Numbers = Sequence[float] | npt.NDArray[np.float32]


@dataclass(frozen=True)
class Document:
    """One item. vector: None where it has none. copied: whatever else of it is copied to a target of whole items, in a
    form that changes with it; then its mark does too."""

    id: str
    vector: Numbers | None
    fields: Fields
    copied: bytes = b""


def document_batch(
    documents: Sequence[Document], columns: Sequence[Column], place: Place, dimension: int
) -> pa.RecordBatch:
    """The documents, in their order. Raises WrongPlace for an image that is not base64."""
    vectors, there = rows_of([document.vector for document in documents], dimension)
    made: dict[Column, pa.Array | Sequence[object]] = {}
    for column in columns:
        match column:
            case "id":
                made[column] = [document.id for document in documents]
            case "vector":
                made[column] = vector_array(vectors, there)
            case "mark":
                made[column] = _marks(vectors, there, documents)
            case "text":
                made[column] = [_text(document, place.text) for document in documents]
            case "label":
                made[column] = [_text(document, place.label) for document in documents]
            case "image":
                made[column] = [_image(document, place.image) for document in documents]
            case "payload":
                made[column] = [_payload(document, place.payload) for document in documents]
    return item_batch(columns, made)


def rows_at_once(dimension: int) -> int:
    """How many vectors may go in one request or answer."""
    return max(1, _REQUEST_BYTES // (_NUMBER_BYTES * dimension))


def rows_of(vectors: Sequence[Numbers | None], dimension: int) -> tuple[FloatRows, RowFlags]:
    """Vectors as (n, d) float32, with (n,) whether each is there; the rows of those that are not are zeros."""
    there = np.fromiter((vector is not None for vector in vectors), np.bool_, len(vectors))
    rows = np.zeros((len(vectors), dimension), np.float32)
    if there.any():
        rows[there] = [vector for vector in vectors if vector is not None]
    return rows, there


def held_batch(vectors: Mapping[str, Numbers | None], dimension: int) -> pa.RecordBatch:
    """Transformed vectors by their items' ids as a batch of `id` and `vector`; None is left out."""
    held = {id: vector for id, vector in vectors.items() if vector is not None}
    rows, _ = rows_of(list(held.values()), dimension)
    return item_batch(["id", "vector"], {"id": list(held), "vector": vector_array(rows)})


def fields_read(place: Place, columns: Iterable[Column]) -> list[str]:
    """The names of the fields that these columns are made of."""
    wanted: set[str] = set()
    for column in columns:
        if column == "payload":
            wanted.update(place.payload)
        elif column in ("text", "image", "label") and (field := getattr(place, column)) is not None:
            wanted.add(field)
    return sorted(wanted)


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


def _marks(vectors: FloatRows, there: RowFlags, documents: Sequence[Document]) -> pa.UInt64Array:
    marks = vector_marks(vectors, there)
    if not any(document.copied for document in documents):
        return marks
    both = (
        hashlib.blake2b(mark.to_bytes(8, "little") + document.copied, digest_size=8).digest()
        for mark, document in zip(marks.to_pylist(), documents, strict=True)
    )
    hashed = np.fromiter((int.from_bytes(digest, "little") for digest in both), np.uint64, len(documents))
    hashed[~there] = 0
    return pa.array(hashed)


def _text(document: Document, field: str | None) -> str | None:
    value = None if field is None else field_at(document.fields, field)
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _image(document: Document, field: str | None) -> bytes | None:
    value = None if field is None else field_at(document.fields, field)
    if value is None:
        return None
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise WrongPlace(f"the field {field!r} of the item {document.id!r} is no image in base64") from None


def _payload(document: Document, fields: Sequence[str]) -> str | None:
    if not fields:
        return None
    found = {field: field_at(document.fields, field) for field in fields}
    return json.dumps({field: value for field, value in found.items() if value is not None}, ensure_ascii=False)
