"""Vectors as PostgreSQL sends and takes them in binary: of each, its dimension and two unused bytes, then its numbers,
all of it big-endian (pgvector's `vector_send`, `halfvec_send`)."""

import hashlib
import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from app.stores.batches import FloatRows
from app.stores.pgvector.layout import VectorType

_HEAD_BYTES = 4
_FLOATS = {"vector": ">f4", "halfvec": ">f2"}
_SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END = b"\xff\xff"


class WrongDimension(ValueError):
    """FloatRows of one column that differ in their dimensions."""


def sent_vectors(sent: bytes, count: int, dimension: int, type_: VectorType) -> npt.NDArray[np.uint8]:
    """What was sent for `count` vectors, a row each. Raises WrongDimension where one is of another dimension."""
    width = _HEAD_BYTES + dimension * np.dtype(_FLOATS[type_]).itemsize
    rows = np.frombuffer(sent, dtype=np.uint8)
    if rows.size != count * width:
        raise WrongDimension
    rows = rows.reshape(count, width)
    if (rows[:, :2].copy().view(">i2") != dimension).any():
        raise WrongDimension
    return rows


def decoded(sent: npt.NDArray[np.uint8], type_: VectorType) -> FloatRows:
    """(n, d) float32 of rows of `sent_vectors`."""
    return sent[:, _HEAD_BYTES:].view(_FLOATS[type_]).astype(np.float32)


def marks_of_sent(sent: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """(n,) of rows of `sent_vectors`: the number that the first eight bytes of the MD5 of each are, which is what
    `writing.MARK` has the server compute."""
    rows, width = sent.reshape(-1).data, sent.shape[1]
    digests = b"".join(
        hashlib.md5(rows[place : place + width], usedforsecurity=False).digest()[:8]
        for place in range(0, sent.size, width)
    )
    return np.frombuffer(digests, dtype=">u8").astype(np.uint64)


def copied_rows(
    keys: Sequence[Sequence[str]], marks: npt.NDArray[np.uint64], vectors: FloatRows, type_: VectorType
) -> bytes:
    """What COPY takes for rows of: a text for each column of the key, the row's number, its mark, its vector.

    keys: a list of texts a column. marks: (n,). vectors: (n, d) float32.
    """
    count, dimension = vectors.shape
    width = _HEAD_BYTES + dimension * np.dtype(_FLOATS[type_]).itemsize
    row = np.dtype(
        [
            ("number_bytes", ">i4"),
            ("number", ">i4"),
            ("mark_bytes", ">i4"),
            ("mark", ">u8"),
            ("vector_bytes", ">i4"),
            ("dimension", ">i2"),
            ("unused", ">i2"),
            ("vector", _FLOATS[type_], (dimension,)),
        ]
    )
    rows = np.zeros(count, row)
    rows["number_bytes"], rows["mark_bytes"], rows["vector_bytes"] = 4, 8, width
    rows["number"], rows["mark"], rows["dimension"], rows["vector"] = np.arange(count), marks, dimension, vectors
    tails, length = rows.view(np.uint8).data, row.itemsize
    fields = struct.pack(">h", len(keys) + 3)
    parts: list[bytes | memoryview] = [_SIGNATURE]
    for number, texts in enumerate(zip(*keys, strict=True)):
        parts.append(fields)
        for text in texts:
            encoded = text.encode()
            parts += (struct.pack(">i", len(encoded)), encoded)
        parts.append(tails[number * length : (number + 1) * length])
    parts.append(_END)
    return b"".join(parts)
