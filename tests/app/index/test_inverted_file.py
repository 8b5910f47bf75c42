"""Rows are put into the list of their nearest centroid, also where that is found by a graph of many centroids."""

import numpy as np
import numpy.typing as npt
import pytest

from app.faiss_library import faiss
from app.index.inverted_file import InvertedFile, QuantisedFile
from app.index.protocol import IndexOptions, RowIds, Vectors
from models.portable import Distance

_ROWS, _LISTS = 6_000, 2_048
_OTHERWISE = 0.01  # share of rows that a graph may put elsewhere


def _rows(metric: Distance) -> Vectors:
    rows = np.random.default_rng(4).standard_normal((_ROWS, 16), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True) if metric == "cosine" else rows


def _list_of_each_row(index: faiss.IndexIVF) -> tuple[RowIds, npt.NDArray[np.int64]]:
    """The rows in the lists, and the list of each."""
    lists = faiss.downcast_InvertedLists(index.invlists)
    sizes = [lists.list_size(n) for n in range(index.nlist)]
    members = [faiss.rev_swig_ptr(lists.get_ids(n), size).copy() for n, size in enumerate(sizes) if size]
    return np.concatenate(members), np.repeat(np.arange(index.nlist), sizes)


@pytest.mark.parametrize(("kind", "metric"), [(InvertedFile, "cosine"), (QuantisedFile, "ip"), (QuantisedFile, "l2")])
def test_rows_are_in_the_list_of_their_nearest_centroid(kind: type[InvertedFile], metric: Distance) -> None:
    rows = _rows(metric)
    file = kind.build(rows[:-10], metric, IndexOptions(nlist=_LISTS), "cpu")
    file.add(rows[-10:])  # so few that they are compared with every centroid
    held, lists = _list_of_each_row(file._index)
    assert sorted(held) == list(range(_ROWS))
    centroids = file._index.quantizer.reconstruct_n(0, _LISTS).astype(np.float64)
    if metric != "l2":  # as a graph by the inner product needs
        np.testing.assert_allclose(np.linalg.norm(centroids, axis=1), 1, atol=1e-5)
    products = rows[held].astype(np.float64) @ centroids.T
    nearness = products if metric != "l2" else 2 * products - np.square(centroids).sum(axis=1)
    assert np.mean(nearness.argmax(axis=1) != lists) < _OTHERWISE
