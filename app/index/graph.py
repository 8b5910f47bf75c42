"""Rows linked to their neighbours (HNSW): a search follows the links with a beam of ef_search rows.

Malkov and Yashunin, Efficient and robust approximate nearest neighbor search using HNSW graphs, TPAMI 2020.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.faiss_library import faiss
from app.index.bitmap import Bitmap, Positions
from app.index.exact import Propose, left_out
from app.index.faiss_calls import CHUNK, faiss_metric, rising
from app.index.protocol import IndexOptions, MemoryUse, Vectors
from app.settings import IndexDevice
from models.portable import Distance

_LEAST_SHARE = 0.1  # of rows selected, below which a graph leads nowhere and looking at each is cheaper
_EFFORTS = 40, 4096


class Graph:
    """A graph over n vectors. Once loaded, its links are mapped from their file, and the vectors are those given."""

    def __init__(self, index: faiss.IndexHNSW, vectors: Vectors | None, unit: bool) -> None:
        """vectors: what the index reads in place and must outlive it; unit: whether every row has length 1."""
        self._index = index
        self._vectors = vectors
        self._unit = unit
        self._last: tuple[Bitmap, int, faiss.SearchParametersHNSW] | None = None

    @classmethod
    def build(cls, vectors: Vectors, metric: Distance, options: IndexOptions, device: IndexDevice) -> Graph:
        """vectors: (n, d) float32 as the index holds them, read in order and copied. On any device, FAISS builds graphs
        on the processor."""
        index = faiss.IndexHNSWFlat(vectors.shape[1], options.m, faiss_metric(metric))
        index.hnsw.efConstruction = options.ef_construction
        graph = cls(index, None, metric == "cosine")
        graph.add(vectors)
        return graph

    @classmethod
    def load(cls, path: Path, vectors: Vectors, metric: Distance) -> Graph:
        """vectors: (n, d) float32, contiguous, those it was built of."""
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC | faiss.IO_FLAG_SKIP_STORAGE)
        storage = faiss.IndexFlat(vectors.shape[1], faiss_metric(metric))
        owner = storage.codes.owner  # of nothing: `self._vectors` keeps the memory
        storage.codes = faiss.MaybeOwnedVectorUInt8.create_view(faiss.swig_ptr(vectors), vectors.nbytes, owner)
        storage.ntotal = len(vectors)
        index.storage, index.own_fields = storage, False
        index.referenced_objects = [storage]
        return cls(index, vectors, metric == "cosine")

    @classmethod
    def reopen(cls, path: Path, vectors: Vectors, metric: Distance) -> Graph:
        """To add to it: with everything in memory, the vectors (n, d) that it was built of too."""
        index = faiss.read_index(str(path), faiss.IO_FLAG_SKIP_STORAGE)
        storage = faiss.IndexFlat(vectors.shape[1], faiss_metric(metric))
        for start in range(0, len(vectors), CHUNK):
            storage.add(np.ascontiguousarray(vectors[start : start + CHUNK]))
        index.storage, index.own_fields = storage, False
        index.referenced_objects = [storage]
        return cls(index, None, metric == "cosine")

    def add(self, vectors: Vectors) -> None:
        for start in range(0, len(vectors), CHUNK):
            self._index.add(np.ascontiguousarray(vectors[start : start + CHUNK]))

    def efforts(self) -> Iterator[int]:
        return rising(*_EFFORTS)

    def propose(self, score: Distance, effort: int, count: int) -> Propose | None:
        """None where looking at every row is better, or where the graph's own distance orders rows otherwise.

        Unit rows are in one order by inner product and by Euclidean distance, whatever the query's length:
        |q - x|² = |q|² + 1 - 2·q·x.
        """
        share = count / max(self._index.ntotal, 1)
        of_inner_products = self._index.metric_type == faiss.METRIC_INNER_PRODUCT
        if share < _LEAST_SHARE or ((score == "l2") == of_inner_products and not self._unit):
            return None

        def follow(queries: Vectors, fetch: int, selected: Bitmap) -> tuple[Positions, npt.NDArray[np.float32]]:
            how = self._how(selected, math.ceil(max(effort, fetch) / share))
            m, at = len(queries), faiss.swig_ptr
            values, positions = np.empty((m, fetch), np.float32), np.empty((m, fetch), np.int64)
            self._index.search_c(m, at(queries), fetch, at(values), at(positions), how)
            if not of_inner_products:
                return positions, left_out(-values, positions)
            bound = left_out(values, positions)
            return positions, 2 * bound - np.square(queries).sum(axis=1) - 1 if score == "l2" else bound

        return follow

    def _how(self, selected: Bitmap, ef_search: int) -> faiss.SearchParametersHNSW:
        """The parameters of a search; those of the last are kept, as most searches are like the last."""
        last = self._last
        if last is not None and last[0] is selected and last[1] == ef_search:
            return last[2]
        selector = None if selected.count == selected.size else selected.selector()
        how = faiss.SearchParametersHNSW(efSearch=ef_search, sel=selector)
        self._last = selected, ef_search, how
        return how

    def write(self, path: Path) -> None:
        """The links alone: the vectors are kept once, elsewhere."""
        faiss.write_index(self._index, str(path), faiss.IO_FLAG_SKIP_STORAGE)

    def memory(self) -> MemoryUse:
        links = self._index.hnsw
        return MemoryUse(4 * links.neighbors.size(), 8 * links.offsets.size() + 4 * links.levels.size())
