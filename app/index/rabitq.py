"""An inverted file of one bit for each component: a thirty-second of the vectors' bytes, and eight bytes a row.

Gao and Long, RaBitQ: Quantizing High-Dimensional Vectors with a Theoretical Error Bound for Approximate Nearest
Neighbor Search, SIGMOD 2024. A bit says on which side of its centroid a row lies along an axis. For that to say equally
much of every row, all are turned at random first: by signs and Hadamard's matrix, which takes d·log d steps and is the
same for a vector whatever comes with it. Nothing but the clusters is learned. Components are padded to a power of two.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from app.faiss_library import faiss
from app.index.inverted_file import SEED, InvertedFile, QuantisedFile, read_lists_where_they_are
from app.index.protocol import Vectors
from app.settings import IndexDevice
from models.portable import Distance

_CANDIDATES = 8  # times as many as are wanted: with 4, real features were found a hundredth less often


class RaBitQFile(QuantisedFile):
    """Searches by the distance that it was built for alone, as bits are made for one, and by any where rows are unit:
    then all order them alike."""

    def __init__(self, turning: faiss.IndexPreTransform, unit: bool) -> None:
        """turning: how vectors are turned, and the inverted file of turned ones. unit: whether all have length 1."""
        self._turning = turning
        self._turn = faiss.downcast_VectorTransform(turning.chain.at(0))
        self._unit = unit
        super().__init__(faiss.downcast_index(turning.index))

    @classmethod
    def trained(cls, sample: Vectors, nlist: int, metric: Distance, device: IndexDevice) -> InvertedFile:
        turn = faiss.HadamardRotation(sample.shape[1], SEED)
        lists = cls._clustered(turn.apply(sample), nlist, metric, device)
        return cls(faiss.IndexPreTransform(turn, lists), metric == "cosine")

    @classmethod
    def load(cls, path: Path, vectors: Vectors, metric: Distance) -> InvertedFile:
        return cls(read_lists_where_they_are(path), metric == "cosine")

    @classmethod
    def _empty(cls, centroids: faiss.IndexFlat, nlist: int, metric: int) -> faiss.IndexIVF:
        return faiss.IndexIVFRaBitQ(centroids, centroids.d, nlist, metric)

    def _metrics(self) -> tuple[int, ...]:
        return super()._metrics() if self._unit else (self._index.metric_type,)

    def _view(self, metric: int) -> faiss.IndexIVF:
        return self._index

    def _turned(self, vectors: Vectors) -> Vectors:
        return np.asarray(self._turn.apply(vectors), np.float32)

    def _candidates(self, wanted: int) -> int:
        return _CANDIDATES * wanted

    def write(self, path: Path) -> None:
        faiss.write_index(self._turning, str(path))
