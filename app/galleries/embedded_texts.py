"""The texts in payloads that embedders read, and what is noted of the one that a vector was made of.

Of a vector that the service had an embedder make, it knows which text that was of. Where the item's text becomes
another, the vector goes. Of vectors that users put, nothing is known, and they are left alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np

from app.storage.lance_table import embedding_column, embedding_model

_EMBEDDING, _MADE_OF = embedding_column(""), "made_of@"
_DIGEST_BYTES = 16


def text_in(payload: str | None, field: str) -> str | None:
    """The text in a field of a payload, as it is stored; None where there is none, or nothing but white space."""
    value = None if payload is None else json.loads(payload).get(field)
    return value if isinstance(value, str) and value.strip() else None


def made_of_column(model: str) -> str:
    """The column of items that notes which text an embedder made the model's vector of; null where a user put it."""
    return _MADE_OF + embedding_column(model).removeprefix(_EMBEDDING)


def model_made_of(column: str) -> str | None:
    """The model of whose vectors a column notes that, or None where it is no such column."""
    return embedding_model(_EMBEDDING + column.removeprefix(_MADE_OF)) if column.startswith(_MADE_OF) else None


def note_of(text: str, field: str) -> str:
    """What is noted of a text in a field of payloads: a digest of it, and the field."""
    return f"{_digest(text)}:{field}"


def of_another_text(notes: Sequence[str | None], payloads: Sequence[str | None]) -> np.ndarray:
    """Which vectors, (n,) bool, were made of another text than their items' payloads, as they are stored, hold by now.

    One without a note was not made here, and one whose item has no text any more was made of the last that it had.
    """
    return np.array([_is_another(note, payload) for note, payload in zip(notes, payloads, strict=True)], bool)


def _is_another(note: str | None, payload: str | None) -> bool:
    if note is None:
        return False
    digest, _, field = note.partition(":")
    text = text_in(payload, field)
    return text is not None and _digest(text) != digest


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=_DIGEST_BYTES).hexdigest()
