"""Makes a FAISS index file from vectors: python -m app.stores.faiss_building DESCRIPTOR.

In a process of its own, as it takes as much memory as the index and more, and may take hours. On standard input comes a
line of JSON, an `IndexOrder`, and then batches: how many vectors, 8 bytes; their ids, int64; and themselves, float32.
The index is written to the descriptor.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt

from app.faiss_library import faiss

VectorNumbers = npt.NDArray[np.int64]
MadeVectors = npt.NDArray[np.float32]

_TRAINED_ON = 256  # vectors a list: FAISS uses no more


@dataclass(frozen=True)
class IndexOrder:
    """count: of vectors. type, built: of the old index. ids: whether the index keeps them (`own`), or vectors stay in
    the order in which they come (`beside`), or are put in that of their ids (`numbers`)."""

    count: int
    dimension: int
    metric: Literal["cosine", "l2", "ip"]
    type: str
    built: Mapping[str, int]
    ids: Literal["own", "beside", "numbers"]


def main(descriptor: int) -> None:
    received = sys.stdin.buffer
    order = IndexOrder(**json.loads(received.readline()))
    numbers, vectors = _gathered(order, received)
    if order.metric == "cosine":  # which FAISS has as the inner product of unit vectors
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        np.divide(vectors, lengths, out=vectors, where=lengths > 0)
    faiss.write_index(made_index(order, numbers, vectors), f"/dev/fd/{descriptor}")


def made_index(order: IndexOrder, numbers: VectorNumbers, vectors: MadeVectors) -> Any:
    """numbers: (n,) ids where the index keeps them."""
    metric = faiss.METRIC_L2 if order.metric == "l2" else faiss.METRIC_INNER_PRODUCT
    index: Any = faiss.IndexFlat(order.dimension, metric)
    if order.type == "HNSW":
        index = faiss.IndexHNSWFlat(order.dimension, order.built["m"], metric)
        index.hnsw.efConstruction = order.built["ef_construction"]
    elif order.type == "IVF":
        lists = max(1, min(order.built["lists"], len(vectors)))
        index = faiss.IndexIVFFlat(index, order.dimension, lists, metric)
        index.train(vectors[:: max(1, len(vectors) // (_TRAINED_ON * lists))])
    if order.ids != "own":
        index.add(vectors)
        return index
    if order.type != "IVF":  # which keeps ids itself
        index = faiss.IndexIDMap2(index)
    index.add_with_ids(vectors, numbers)
    return index


def _gathered(order: IndexOrder, received: BinaryIO) -> tuple[VectorNumbers, MadeVectors]:
    """All ids and vectors."""
    numbers = np.empty(order.count, np.int64)
    vectors = np.empty((order.count, order.dimension), np.float32)
    place = 0
    for ids, rows in _batches(order, received):
        numbers[place : place + len(ids)], vectors[place : place + len(ids)] = ids, rows
        place += len(ids)
    if place != order.count:
        raise ValueError(f"{place} vectors came, of {order.count}")
    if order.ids == "numbers":
        places = np.argsort(numbers)
        numbers, vectors = numbers[places], vectors[places]
        if not np.array_equal(numbers, np.arange(order.count)):
            raise ValueError("vectors are missing in between, and their numbers are their ids")
    return numbers, vectors


def _batches(order: IndexOrder, received: BinaryIO) -> Iterator[tuple[VectorNumbers, MadeVectors]]:
    while count := int.from_bytes(received.read(8), "little"):
        ids = np.frombuffer(received.read(8 * count), np.int64)
        rows = np.frombuffer(received.read(4 * count * order.dimension), np.float32)
        yield ids, rows.reshape(count, order.dimension)


if __name__ == "__main__":
    main(int(sys.argv[1]))
