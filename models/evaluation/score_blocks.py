"""Scores of queries against a gallery, a block of queries at a time, so that the whole matrix is never in memory.

Scores are float32, higher is nearer. Blocks run in parallel, one per thread, so that what is done with the scores uses
all cores, as their product does. A block is no larger than its product needs to be fast, so that what is done
with it finds it in the processor's caches. All blocks in progress together hold at most `SCORES_IN_MEMORY` scores, or
one row per thread where the gallery alone has more rows than that.
"""

from __future__ import annotations

import math
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from models.arrays import RowNumbers
from models.portable import Array, Distance, as_indexed
from models.portable.layers import row_lengths

SCORES_IN_MEMORY = 64_000_000
QUERIES_PER_BLOCK = 256
_QUERIES_FOR_A_PRODUCT = 64  # with fewer at once, reading the gallery takes longer than to multiply by it
_SCORES_IN_CACHE = 4_000_000
BELOW_EVERY_COSINE = np.float32(-2.0)
_ROWS_FOR_MIDDLE = 512
_LARGEST = float(np.finfo(np.float32).max) / 2  # with room for what is added
_ROWS_AT_ONCE = 8_192  # that are squared in double precision


@dataclass(frozen=True)
class Searched:
    """Queries (m, d) and the gallery (n, d) that they search, float32, by a metric.

    Scores are the cosine, or the inner product or ⟨q − o, x⟩ − |x − o|²/2, which ranks as the Euclidean distance does,
    divided by the size of the queries. Taken about a point o among the vectors, nothing cancels where they are far
    from 0, and nothing is squared that float32 could not hold. A zero gallery row under cosine scores below every other
    row. origin: (d,), the point o; None for the middle of the gallery. Scores of one query in two galleries compare
    only where this is given. Raises ValueError where the dimensions differ.
    """

    queries: Array
    gallery: Array
    metric: Distance
    origin: Array | None = None

    def __post_init__(self) -> None:
        if self.queries.shape[1:] != self.gallery.shape[1:]:
            raise ValueError(f"queries have dimension {self.queries.shape[1:]}, the gallery {self.gallery.shape[1:]}")

    def prepared(self) -> Callable[[RowNumbers, Array], None]:
        """A function that writes the scores of the queries `rows` (b,) into a buffer (b, n)."""
        gallery, metric = np.ascontiguousarray(self.gallery, np.float32), self.metric
        zero, scale = np.empty(0, np.int64), np.empty(0, np.float32)
        origin, half, size = np.zeros(gallery.shape[1], np.float32), np.empty(0, np.float32), 1.0
        if metric == "cosine":
            lengths = row_lengths(gallery)
            zero = np.flatnonzero(lengths == 0)
            scale = np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)
        elif metric == "l2":
            origin = middle_of(gallery) if self.origin is None else self.origin
        if metric != "cosine":
            size = _size(self.queries, origin)
        if metric == "l2":
            half = _half_squares(gallery, origin, size)
        with warnings.catch_warnings(action="ignore"):  # of a read-only gallery, which is not written to
            transposed = torch.from_numpy(gallery).T

        def score(rows: RowNumbers, scores: Array) -> None:
            block = np.asarray(self.queries[rows], np.float32)
            block = as_indexed(block, metric) if metric == "cosine" else (block - origin) / np.float32(size)
            # For few rows, PyTorch's product is faster than numpy's.
            torch.mm(torch.from_numpy(block), transposed, out=torch.from_numpy(scores))
            if metric == "cosine":
                scores *= scale
                scores[:, zero] = BELOW_EVERY_COSINE
            elif metric == "l2":
                scores -= half

        return score


def middle_of(rows: Array) -> Array:
    """A point among rows (n, d), (d,) float32: the median, by component, of some of them, which no outlier moves."""
    if not len(rows):
        return np.zeros(rows.shape[1], np.float32)
    some = rows[:: max(1, len(rows) // _ROWS_FOR_MIDDLE)]
    return np.asarray(np.median(some, axis=0), np.float32)


def _size(queries: Array, origin: Array) -> float:
    """A power of two near the largest component of queries (m, d) about an origin (d,); 1 where all are 0."""
    largest = max((float(np.abs(part - origin).max(initial=0)) for part in _pieces(queries)), default=0.0)
    return 2.0 ** round(math.log2(largest)) if largest > 0 else 1.0


def _half_squares(gallery: Array, origin: Array, size: float) -> Array:
    """|x − o|²/2 of every row x of a gallery (n, d), divided by `size`: (n,) float32, where that is beyond float32 the
    largest that there is."""
    parts = (np.square(part - origin, dtype=np.float64).sum(axis=1) / (2 * size) for part in _pieces(gallery))
    half = np.concatenate([np.empty(0), *parts])
    return np.asarray(np.minimum(half, _LARGEST), np.float32)


def _pieces(rows: Array) -> Iterator[Array]:
    return (rows[start : start + _ROWS_AT_ONCE] for start in range(0, len(rows), _ROWS_AT_ONCE))


def for_each_block(
    take: Callable[[RowNumbers, Array], None],
    queries: Array,
    gallery: Array,
    metric: Distance,
    exclude: RowNumbers | None,
    order: RowNumbers | None = None,
    origin: Array | None = None,
) -> None:
    """Calls `take(rows, scores)` for every block of queries: rows (b,), scores (b, n) float32, which it may overwrite.

    queries: (m, d); gallery: (n, d); exclude: (m,) or (m, e) gallery rows that score −inf, -1 for none; order: (m,) the
    order of the queries, ascending by default; origin: as of `Searched`. A zero gallery row under cosine scores below
    every other row. `take` is called by several threads at once, each time with other rows. Raises ValueError where the
    dimensions differ.
    """
    excluded = exclude[:, None] if exclude is not None and exclude.ndim == 1 else exclude

    def without_excluded(rows: RowNumbers, scores: Sequence[Array]) -> None:
        if excluded is not None:
            query, place = np.nonzero(excluded[rows] >= 0)
            scores[0][query, excluded[rows[query], place]] = -np.inf
        take(rows, scores[0])

    for_each_block_of_all(without_excluded, (Searched(queries, gallery, metric, origin),), order)


def for_each_pair_of_blocks(
    take: Callable[[RowNumbers, Array, Array], None], first: Searched, second: Searched
) -> None:
    """As `for_each_block`, of two searches at once with equally many queries and rows: `take(rows, scores of the first,
    scores of the second)`. Nothing is excluded."""
    for_each_block_of_all(lambda rows, scores: take(rows, scores[0], scores[1]), (first, second))


def for_each_block_of_all(
    take: Callable[[RowNumbers, Sequence[Array]], None], searches: Sequence[Searched], order: RowNumbers | None = None
) -> None:
    """As `for_each_block`, of any number of searches at once with equally many queries and rows: `take(rows, the scores
    of each search)`. Nothing is excluded."""
    n, queries = len(searches[0].gallery), len(searches[0].queries)
    order = np.arange(queries) if order is None else order
    threads = torch.get_num_threads()
    cached = int(np.clip(_SCORES_IN_CACHE // max(n, 1), _QUERIES_FOR_A_PRODUCT, QUERIES_PER_BLOCK))
    step = int(np.clip(SCORES_IN_MEMORY // max(n * threads * len(searches), 1), 1, cached))
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
