"""Reads back every stored vector that a model made, wherever it lies."""

from collections.abc import Iterator
from contextlib import suppress

import numpy as np

from app.datasets.service import Datasets
from app.galleries.service import Galleries
from app.problems import NotFound
from app.storage.lance_table import Table, embedding_column, vectors_of


class StoredSpaces:
    """The vectors of a model in all galleries and datasets."""

    def __init__(self, galleries: Galleries, datasets: Datasets) -> None:
        self._galleries = galleries
        self._datasets = datasets

    def vectors(self, model: str) -> Iterator[np.ndarray]:
        """In pieces (n, d) float32."""
        column = embedding_column(model)
        for table in self._tables():
            if not table.has(column):
                continue
            for batch in table.scan([column]):
                yield vectors_of(batch.column(column))[1]

    def _tables(self) -> Iterator[Table]:
        for info in self._galleries.every():
            if info.elsewhere is None:  # nothing comes to a user's own store through here, so nothing is compared
                yield self._galleries.store(info).items
        for dataset in self._datasets.every():
            with suppress(NotFound):  # deleted meanwhile
                yield self._datasets.store(dataset.id).rows
