"""Finding candidates without looking at every row: an inverted file, or a graph.

Both propose from the vectors of a snapshot, by position; `exact.nearest` scores what they propose. What they trade
recall for is their effort: `nprobe`, or `ef_search`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import faiss
import numpy as np
import numpy.typing as npt

from app.index.bitmap import Bitmap, Positions
from app.index.block import VectorBlock
from app.index.exact import Propose, left_out
from app.index.protocol import IndexOptions, Kind, MemoryUse, Vectors
from models.portable import Distance

_CHUNK = 65_536  # rows added at once
TRAINING_ROWS = 40  # per cluster
_TRAINING_BYTES = 2**28  # of the sample that clusters are learned from, at most
_GRAPH_SHARE = 0.1  # of rows selected, below which a graph leads nowhere and looking at each is cheaper
_SEED = 5


class Approximate(Protocol):
    """A structure over n vectors that proposes candidates at an effort of choice."""

    def add(self, vectors: Vectors) -> None:
        """Takes in vectors (m, d) float32 at positions n … n + m - 1."""

    def efforts(self) -> Iterator[int]:
        """The efforts worth trying, rising; not from 1, as queries may lie further out than the rows it is tuned on."""

    def propose(self, score: Distance, effort: int, count: int) -> Propose | None:
        """A fast pass for `count` selected rows; None where looking at each of them is the better way.

        Where they are not all, the effort is raised so that as many of them are looked at.
        """

    def write(self, path: Path) -> None: ...

    def memory(self) -> MemoryUse: ...


class InvertedFile:
    """Rows grouped by their nearest of nlist centroids; a search looks into the nprobe groups nearest to the query."""

    def __init__(self, index: faiss.IndexIVFFlat) -> None:
        self._index = index
        centroids = index.quantizer.reconstruct_n(0, index.nlist)
        longest = float(np.sqrt(np.square(centroids, dtype=np.float64).sum(axis=1).max()))
        none = np.empty(0, np.int64)
        self._centroids = VectorBlock(np.arange(index.nlist), centroids, Bitmap.full(index.nlist), none, longest)
        self._views = {metric: self._view(metric) for metric in (faiss.METRIC_INNER_PRODUCT, faiss.METRIC_L2)}

    def _view(self, metric: int) -> faiss.IndexIVFFlat:
        """This inverted file searched by another distance, over the same lists."""
        view = faiss.IndexIVFFlat(self._index.quantizer, self._index.d, self._index.nlist, metric)
        view.replace_invlists(self._index.invlists, False)
        view.ntotal = self._index.ntotal
        return view

    @classmethod
    def build(cls, vectors: Vectors, metric: Distance, options: IndexOptions) -> InvertedFile:
        """vectors: (n, d) float32, n >= 1, as the index holds them; read in order, but for the sample clustered."""
        n, d = vectors.shape
        nlist = min(n, options.nlist or math.ceil(4 * math.sqrt(n)))
        index = faiss.IndexIVFFlat(_flat(d, metric), d, nlist, _faiss_metric(metric))
        index.cp.seed, index.cp.min_points_per_centroid = _SEED, 1
        index.cp.max_points_per_centroid = TRAINING_ROWS
        size = min(n, nlist * TRAINING_ROWS, max(nlist, _TRAINING_BYTES // (4 * d)))
        chosen = np.sort(np.random.default_rng(_SEED).choice(n, size, replace=False))
        index.train(np.ascontiguousarray(vectors[chosen]))
        _add(index, vectors)
        return cls(index)

    @classmethod
    def load(cls, path: Path) -> InvertedFile:
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP)
        faiss.downcast_InvertedLists(index.invlists).prefetch_nthread = 0  # else every search starts 32 threads
        return cls(index)

    def add(self, vectors: Vectors) -> None:
        _add(self._index, vectors)
        for view in self._views.values():
            view.ntotal = self._index.ntotal

    def efforts(self) -> Iterator[int]:
        return _rising(min(8, self._index.nlist), self._index.nlist)

    def propose(self, score: Distance, effort: int, count: int) -> Propose | None:
        nprobe = math.ceil(effort * self._index.ntotal / max(count, 1))
        if nprobe >= self._index.nlist:
            return None
        view = self._views[_faiss_metric(score)]
        by: Distance = "l2" if score == "l2" else "ip"

        def probe(queries: Vectors, fetch: int, selected: Bitmap) -> tuple[Positions, npt.NDArray[np.float32]]:
            # Chosen here, not by FAISS, whose choice of lists may turn on how the queries were batched.
            lists, m, at = self._centroids.search(queries, nprobe, by), len(queries), faiss.swig_ptr
            every = selected.count == selected.size
            how = faiss.SearchParametersIVF(nprobe=nprobe, sel=None if every else selected.selector())
            values, positions = np.empty((m, fetch), np.float32), np.empty((m, fetch), np.int64)
            out = (at(values), at(positions))
            view.search_preassigned_c(m, at(queries), fetch, at(lists.rows), at(lists.scores), *out, False, how)
            return positions, left_out(-values if score == "l2" else values, positions)

        return probe

    def write(self, path: Path) -> None:
        faiss.write_index(self._index, str(path))

    def memory(self) -> MemoryUse:
        lists = (self._index.d * 4 + 8) * self._index.ntotal
        return MemoryUse(lists, 2 * self._centroids.vectors.nbytes)


class Graph:
    """Rows linked to their neighbours (HNSW); a search follows the links with a beam of ef_search."""

    def __init__(self, index: faiss.IndexHNSWFlat) -> None:
        self._index = index

    @classmethod
    def build(cls, vectors: Vectors, metric: Distance, options: IndexOptions) -> Graph:
        """vectors: (n, d) float32 as the index holds them, read in order."""
        index = faiss.IndexHNSWFlat(vectors.shape[1], options.m, _faiss_metric(metric))
        index.hnsw.efConstruction = options.ef_construction
        _add(index, vectors)
        return cls(index)

    @classmethod
    def load(cls, path: Path) -> Graph:
        return cls(faiss.read_index(str(path)))

    def add(self, vectors: Vectors) -> None:
        _add(self._index, vectors)

    def efforts(self) -> Iterator[int]:
        return _rising(64, 4096)

    def propose(self, score: Distance, effort: int, count: int) -> Propose | None:
        """None where looking at every row is better, or where the graph was built for another distance."""
        share = count / max(self._index.ntotal, 1)
        if share < _GRAPH_SHARE or _faiss_metric(score) != self._index.metric_type:
            return None

        def follow(queries: Vectors, fetch: int, selected: Bitmap) -> tuple[Positions, npt.NDArray[np.float32]]:
            selector = None if selected.count == selected.size else selected.selector()
            how = faiss.SearchParametersHNSW(efSearch=math.ceil(max(effort, fetch) / share), sel=selector)
            values, positions = self._index.search(queries, fetch, params=how)
            return positions, left_out(-values if score == "l2" else values, positions)

        return follow

    def write(self, path: Path) -> None:
        faiss.write_index(self._index, str(path))

    def memory(self) -> MemoryUse:
        return MemoryUse(0, self._index.ntotal * 4 * (self._index.d + 2 * self._index.hnsw.nb_neighbors(1) + 1))


BUILT: dict[Kind, type[InvertedFile] | type[Graph]] = {"ivf_flat": InvertedFile, "hnsw": Graph}


def _faiss_metric(score: Distance) -> int:
    return int(faiss.METRIC_L2 if score == "l2" else faiss.METRIC_INNER_PRODUCT)


def _flat(dimension: int, metric: Distance) -> faiss.IndexFlat:
    return faiss.IndexFlat(dimension, _faiss_metric(metric))


def _add(index: faiss.Index, vectors: Vectors) -> None:
    for start in range(0, len(vectors), _CHUNK):
        index.add(np.ascontiguousarray(vectors[start : start + _CHUNK]))


def _rising(first: int, last: int) -> Iterator[int]:
    """first … last in steps of about 1.4."""
    effort = first
    while effort < last:
        yield effort
        effort = max(effort + 1, round(effort * 1.4))
    yield last
