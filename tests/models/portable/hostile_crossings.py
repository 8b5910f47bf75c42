"""Files of crossings that anybody may have written, with a right checksum."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from models.portable import crossing_bytes
from models.portable.tensor_file import parse_tensors, tensor_bytes
from tests.models.portable.crossings_to_take import crossings, taken

Arrays = dict[str, NDArray[Any]]
KINDS = ("affine", "one-branch", "everything", "stand-in")
SOUND = {kind: crossing_bytes(taken(crossings("cosine")[kind])) for kind in KINDS}
UNSEALED = "0" * 64


def opened(kind: str) -> tuple[dict[str, Any], Arrays]:
    """The card and the arrays of a sound file, to be changed."""
    metadata, arrays = parse_tensors(SOUND[kind])
    return json.loads(metadata["card"]), dict(arrays)


def sealed(card: object, arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """A file whose checksum is right. card: as text, or what becomes JSON."""
    text = card if isinstance(card, str) else json.dumps(card)
    return with_checksum(tensor_bytes(arrays, {"sha256": UNSEALED, "card": text}))


def with_checksum(content: bytes) -> bytes:
    return content.replace(UNSEALED.encode(), hashlib.sha256(content).hexdigest().encode(), 1)
