"""Scores of queries against a gallery, a block of queries at a time, so that the whole matrix is never in memory.

Scores are float32, higher is nearer. Blocks run in parallel, one per thread, so that what is done with the scores uses
all cores, as their product does. All blocks in progress together hold at most `SCORES_IN_MEMORY` scores, or one row
per thread where the gallery alone has more rows than that.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from models.arrays import RowNumbers
from models.portable import Array, Distance, as_indexed

SCORES_IN_MEMORY = 64_000_000
QUERIES_PER_BLOCK = 256
BELOW_EVERY_COSINE = np.float32(-2.0)


@dataclass(frozen=True)
class Searched:
    """Queries (m, d) and the gallery (n, d) that they search, float32, by a metric.

    Scores are the cosine, the inner product, or ⟨q, x⟩ − |x|²/2, which ranks as the Euclidean distance does. A zero
    gallery row under cosine scores below every other row. Raises ValueError where the dimensions differ.
    """

    queries: Array
    gallery: Array
    metric: Distance

    def __post_init__(self) -> None:
        if self.queries.shape[1:] != self.gallery.shape[1:]:
            raise ValueError(f"queries have dimension {self.queries.shape[1:]}, the gallery {self.gallery.shape[1:]}")

    def prepared(self) -> Callable[[RowNumbers, Array], None]:
        """A function that writes the scores of the queries `rows` (b,) into a buffer (b, n)."""
        gallery, metric = np.ascontiguousarray(self.gallery, np.float32), self.metric
        squared = np.einsum("ij,ij->i", gallery, gallery)
        with np.errstate(divide="ignore"):
            scale = np.where(squared > 0, 1 / np.sqrt(squared), 0).astype(np.float32)
        zero = np.flatnonzero(squared == 0)
        with warnings.catch_warnings(action="ignore"):  # of a read-only gallery, which is not written to
            transposed = torch.from_numpy(gallery).T

        def score(rows: RowNumbers, scores: Array) -> None:
            block = as_indexed(np.asarray(self.queries[rows], np.float32), metric)
            # For few rows, PyTorch's product is faster than numpy's.
            torch.mm(torch.from_numpy(block), transposed, out=torch.from_numpy(scores))
            if metric == "cosine":
                scores *= scale
                scores[:, zero] = BELOW_EVERY_COSINE
            elif metric == "l2":
                scores -= squared / 2

        return score


def for_each_block(
    take: Callable[[RowNumbers, Array], None],
    queries: Array,
    gallery: Array,
    metric: Distance,
    exclude: RowNumbers | None,
    order: RowNumbers | None = None,
) -> None:
    """Calls `take(rows, scores)` for every block of queries: rows (b,), scores (b, n) float32, which it may overwrite.

    queries: (m, d); gallery: (n, d); exclude: (m,) or (m, e) gallery rows that score −inf, -1 for none; order: (m,) the
    order of the queries, ascending by default. A zero gallery row under cosine scores below every other row. `take` is
    called by several threads at once, each time with other rows. Raises ValueError where the dimensions differ.
    """
    excluded = exclude[:, None] if exclude is not None and exclude.ndim == 1 else exclude

    def without_excluded(rows: RowNumbers, scores: Sequence[Array]) -> None:
        if excluded is not None:
            query, place = np.nonzero(excluded[rows] >= 0)
            scores[0][query, excluded[rows[query], place]] = -np.inf
        take(rows, scores[0])

    _for_each(without_excluded, (Searched(queries, gallery, metric),), order)


def for_each_pair_of_blocks(
    take: Callable[[RowNumbers, Array, Array], None], first: Searched, second: Searched
) -> None:
    """As `for_each_block`, of two searches at once with equally many queries and rows: `take(rows, scores of the first,
    scores of the second)`. Nothing is excluded."""
    _for_each(lambda rows, scores: take(rows, scores[0], scores[1]), (first, second), None)


def _for_each(
    take: Callable[[RowNumbers, Sequence[Array]], None], searches: Sequence[Searched], order: RowNumbers | None
) -> None:
    """Calls `take(rows, the scores of each search)` for every block of queries, which all searches have as many of."""
    n, queries = len(searches[0].gallery), len(searches[0].queries)
    order = np.arange(queries) if order is None else order
    threads = torch.get_num_threads()
    step = int(np.clip(SCORES_IN_MEMORY // max(n * threads * len(searches), 1), 1, QUERIES_PER_BLOCK))
    blocks = [order[start : start + step] for start in range(0, len(order), step)]
    at_once = min(threads, len(blocks))
    prepared = [search.prepared() for search in searches]

    def work(thread: int) -> None:
        buffers = [np.empty((min(step, len(order)), n), np.float32) for _ in searches]
        for rows in blocks[thread::at_once]:
            scores = [buffer[: len(rows)] for buffer in buffers]
            for score, into in zip(prepared, scores, strict=True):
                score(rows, into)
            take(rows, scores)

    if at_once <= 1:
        deque(map(work, range(at_once)), maxlen=0)
        return
    try:
        with ThreadPoolExecutor(at_once, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            deque(pool.map(work, range(at_once)), maxlen=0)
    finally:
        torch.set_num_threads(threads)
