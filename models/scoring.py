"""Scores of queries against a gallery, a block of queries at a time: the whole matrix is never in memory.

Scores are float32, higher is nearer. Blocks run side by side, one a thread with BLAS held to one thread meanwhile: what
is done with the scores then uses the cores as well as their product does. All blocks in work together hold at most
`SCORES_IN_MEMORY` scores, or one row a thread where the gallery alone is longer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_info, threadpool_limits

from models.portable import Array, Metric, as_indexed

Rows = NDArray[np.int64]

SCORES_IN_MEMORY = 64_000_000
QUERIES_PER_BLOCK = 512
BELOW_EVERY_COSINE = np.float32(-2.0)


def for_each_block(
    take: Callable[[Rows, Array], None],
    queries: Array,
    gallery: Array,
    metric: Metric,
    exclude: Rows | None,
    order: Rows | None = None,
) -> None:
    """Calls `take(rows, scores)` for every block: rows (b,) of `queries`, scores (b, n) float32 that it may write to.

    order: (m,) the queries in the order to take them in. Excluded entries score −inf; a zero gallery row under cosine
    scores below every other row. `take` runs in several threads at once, each time for other rows.
    """
    if queries.shape[1:] != gallery.shape[1:]:
        raise ValueError(f"queries have dimension {queries.shape[1:]}, the gallery {gallery.shape[1:]}")
    n, order = len(gallery), np.arange(len(queries)) if order is None else order
    gallery = np.asarray(gallery, np.float32)
    excluded = exclude[:, None] if exclude is not None and exclude.ndim == 1 else exclude
    squared = np.einsum("ij,ij->i", gallery, gallery)
    with np.errstate(divide="ignore"):
        scale = np.where(squared > 0, 1 / np.sqrt(squared), 0).astype(np.float32)
    zero = np.flatnonzero(squared == 0)
    threads = _threads()
    step = int(np.clip(SCORES_IN_MEMORY // max(n * threads, 1), 1, QUERIES_PER_BLOCK))
    blocks = [order[start : start + step] for start in range(0, len(order), step)]
    threads = min(threads, len(blocks))

    def work(thread: int) -> None:
        buffer = np.empty((min(step, len(order)), n), np.float32)
        for rows in blocks[thread::threads]:
            block = as_indexed(np.asarray(queries[rows], np.float32), metric)
            scores = np.matmul(block, gallery.T, out=buffer[: len(rows)])
            if metric == "cosine":
                scores *= scale
                scores[:, zero] = BELOW_EVERY_COSINE
            elif metric == "l2":
                scores -= squared / 2
            if excluded is not None:
                query, place = np.nonzero(excluded[rows] >= 0)
                scores[query, excluded[rows[query], place]] = -np.inf
            take(rows, scores)

    if threads <= 1:
        deque(map(work, range(threads)), maxlen=0)
        return
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(threads) as pool:
        deque(pool.map(work, range(threads)), maxlen=0)


def _threads() -> int:
    blas = (library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas")
    return max(map(int, blas), default=1)
