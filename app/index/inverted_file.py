"""Rows grouped by their nearest of nlist centroids: a search looks into the nprobe groups nearest to the query.

The lists hold the vectors themselves, or a byte for each component (a scalar quantiser): a quarter of the bytes. What
these propose is scored by the vectors, as everything proposed is. `rabitq` has lists of a bit for each component.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.faiss_library import faiss
from app.index.bitmap import Bitmap, Positions
from app.index.block import VectorBlock
from app.index.device import comparing
from app.index.exact import Propose, left_out
from app.index.faiss_calls import CHUNK, faiss_metric, rising
from app.index.protocol import IndexOptions, MemoryUse, Vectors
from app.settings import IndexDevice
from models.portable import Distance

TRAINING_ROWS = 40  # per cluster
_TRAINING_BYTES = 2**28  # of the sample that clusters are learned from, at most
_LEAST_PROBES = 8
SEED = 5


class InvertedFile:
    """An inverted file over n vectors. Once loaded, its lists are mapped from their file."""

    def __init__(self, index: faiss.IndexIVF) -> None:
        self._index = index
        self._device: IndexDevice = "cpu"
        centroids = index.quantizer.reconstruct_n(0, index.nlist)
        longest = float(np.sqrt(np.square(centroids, dtype=np.float64).sum(axis=1).max()))
        none = np.empty(0, np.int64)
        self._centroids = VectorBlock(np.arange(index.nlist), centroids, Bitmap.full(index.nlist), none, longest)
        self._views = {metric: self._view(metric) for metric in self._metrics()}

    @classmethod
    def build(cls, vectors: Vectors, metric: Distance, options: IndexOptions, device: IndexDevice) -> InvertedFile:
        """vectors: (n, d) float32, n >= 1, as the index holds them; read in order, but for the sample clustered.

        device: where they, and what is added later, are compared with centroids. Raises DeviceFailed.
        """
        n, d = vectors.shape
        nlist = options.nlist_for(n)
        size = min(n, nlist * TRAINING_ROWS, max(nlist, _TRAINING_BYTES // (4 * d)))
        chosen = np.sort(np.random.default_rng(SEED).choice(n, size, replace=False))
        file = cls.trained(np.ascontiguousarray(vectors[chosen]), nlist, metric, device)
        file._device = device
        file.add(vectors)
        return file

    @classmethod
    def trained(cls, sample: Vectors, nlist: int, metric: Distance, device: IndexDevice) -> InvertedFile:
        """One without rows, whose clusters are learned on a device from a sample (s, d), s ≥ nlist."""
        return cls(cls._clustered(sample, nlist, metric, device))

    @classmethod
    def load(cls, path: Path, vectors: Vectors, metric: Distance) -> InvertedFile:
        return cls(read_lists_where_they_are(path))

    @classmethod
    def _clustered(cls, sample: Vectors, nlist: int, metric: Distance, device: IndexDevice) -> faiss.IndexIVF:
        index = cls._empty(faiss.IndexFlat(sample.shape[1], faiss_metric(metric)), nlist, faiss_metric(metric))
        index.cp.seed, index.cp.min_points_per_centroid = SEED, 1
        index.cp.max_points_per_centroid = TRAINING_ROWS
        none = faiss.IndexFlat(sample.shape[1], faiss_metric(metric))
        with comparing(none, device, centroids=nlist, rows=len(sample)) as centroids:
            index.clustering_index = centroids
            index.train(sample)
            index.clustering_index = None
        return index

    @classmethod
    def _empty(cls, centroids: faiss.IndexFlat, nlist: int, metric: int) -> faiss.IndexIVF:
        return faiss.IndexIVFFlat(centroids, centroids.d, nlist, metric)

    def _metrics(self) -> tuple[int, ...]:
        """The distances that its lists can be searched by, as FAISS numbers them."""
        return faiss.METRIC_INNER_PRODUCT, faiss.METRIC_L2

    def _view(self, metric: int) -> faiss.IndexIVF:
        """This inverted file searched by one of them, over the same lists."""
        view = self._empty(self._index.quantizer, self._index.nlist, metric)
        view.replace_invlists(self._index.invlists, False)
        view.ntotal = self._index.ntotal
        return view

    def _turned(self, vectors: Vectors) -> Vectors:
        """Vectors (m, d) float32 as the lists have them, each the same whatever came with it."""
        return vectors

    def add(self, vectors: Vectors) -> None:
        at = faiss.swig_ptr
        nlist = self._index.nlist
        with comparing(self._index.quantizer, self._device, centroids=nlist, rows=len(vectors)) as centroids:
            for start in range(0, len(vectors), CHUNK):
                part = self._turned(np.ascontiguousarray(vectors[start : start + CHUNK]))
                nearest = centroids.search(part, 1)[1]
                self._index.add_core(len(part), at(part), None, at(nearest))
        for view in self._views.values():
            view.ntotal = self._index.ntotal

    def efforts(self) -> Iterator[int]:
        return rising(min(_LEAST_PROBES, self._index.nlist), self._index.nlist)

    def propose(self, score: Distance, effort: int, count: int) -> Propose | None:
        nprobe = math.ceil(effort * self._index.ntotal / max(count, 1))
        view = self._views.get(faiss_metric(score))
        if nprobe >= self._index.nlist or view is None:
            return None
        by: Distance = "l2" if view.metric_type == faiss.METRIC_L2 else "ip"

        def probe(queries: Vectors, fetch: int, selected: Bitmap) -> tuple[Positions, npt.NDArray[np.float32]]:
            queries = self._turned(queries)
            # Chosen here, not by FAISS, whose choice of lists may turn on how the queries were batched.
            lists, m, at = self._centroids.search(queries, nprobe, by), len(queries), faiss.swig_ptr
            every = selected.count == selected.size
            how = faiss.SearchParametersIVF(nprobe=nprobe, sel=None if every else selected.selector())
            fetch = self._candidates(fetch)
            values, positions = np.empty((m, fetch), np.float32), np.empty((m, fetch), np.int64)
            out = (at(values), at(positions))
            view.search_preassigned_c(m, at(queries), fetch, at(lists.rows), at(lists.scores), *out, False, how)
            return positions, self._left_out(-values if score == "l2" else values, positions)

        return probe

    def _candidates(self, wanted: int) -> int:
        """How many rows to take from the lists, that as many are wanted of."""
        return wanted

    def _left_out(self, similarity: npt.NDArray[np.float32], positions: Positions) -> npt.NDArray[np.float32]:
        """What no row left out exceeds: (m,) float32, as `Propose` says."""
        return left_out(similarity, positions)

    def write(self, path: Path) -> None:
        faiss.write_index(self._index, str(path))

    def memory(self) -> MemoryUse:
        lists = (self._index.code_size + 8) * self._index.ntotal
        return MemoryUse(lists, 2 * self._centroids.vectors.nbytes)


def read_lists_where_they_are(path: Path) -> faiss.Index:
    """An index whose inverted lists are mapped from its file."""
    index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP)
    lists = faiss.extract_index_ivf(index).invlists
    faiss.downcast_InvertedLists(lists).prefetch_nthread = 0  # else every search starts 32 threads
    return index


class QuantisedFile(InvertedFile):
    """An inverted file of a byte for each component, for galleries whose vectors are more than memory holds.

    Its scores are rough, so it proposes more candidates than are asked for, and says nothing of what it leaves out.
    """

    @classmethod
    def _empty(cls, centroids: faiss.IndexFlat, nlist: int, metric: int) -> faiss.IndexIVF:
        kind = faiss.ScalarQuantizer.QT_8bit
        return faiss.IndexIVFScalarQuantizer(centroids, centroids.d, nlist, kind, metric, False)

    def _view(self, metric: int) -> faiss.IndexIVF:
        view = super()._view(metric)
        view.sq, view.is_trained = self._index.sq, True
        return view

    def _candidates(self, wanted: int) -> int:
        return 2 * wanted

    def _left_out(self, similarity: npt.NDArray[np.float32], positions: Positions) -> npt.NDArray[np.float32]:
        return np.full(len(positions), -np.inf, np.float32)
