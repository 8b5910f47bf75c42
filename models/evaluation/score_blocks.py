"""Scores of queries against a gallery, a block of queries at a time, so that the whole matrix is never in memory.

Scores are float32, higher is nearer. Blocks run in parallel, one per thread, so that what is done with the scores uses
all cores, as their product does. All blocks in progress together hold at most `SCORES_IN_MEMORY` scores, or one row
per thread where the gallery alone has more rows than that.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from models.arrays import RowNumbers
from models.portable import Array, Distance, as_indexed

SCORES_IN_MEMORY = 64_000_000
QUERIES_PER_BLOCK = 256
BELOW_EVERY_COSINE = np.float32(-2.0)


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
    if queries.shape[1:] != gallery.shape[1:]:
        raise ValueError(f"queries have dimension {queries.shape[1:]}, the gallery {gallery.shape[1:]}")
    n, order = len(gallery), np.arange(len(queries)) if order is None else order
    gallery = np.ascontiguousarray(gallery, np.float32)
    excluded = exclude[:, None] if exclude is not None and exclude.ndim == 1 else exclude
    squared = np.einsum("ij,ij->i", gallery, gallery)
    with np.errstate(divide="ignore"):
        scale = np.where(squared > 0, 1 / np.sqrt(squared), 0).astype(np.float32)
    zero = np.flatnonzero(squared == 0)
    threads = torch.get_num_threads()
    step = int(np.clip(SCORES_IN_MEMORY // max(n * threads, 1), 1, QUERIES_PER_BLOCK))
    blocks = [order[start : start + step] for start in range(0, len(order), step)]
    at_once = min(threads, len(blocks))
    with warnings.catch_warnings(action="ignore"):  # of a read-only gallery, which is not written to
        transposed = torch.from_numpy(gallery).T

    def work(thread: int) -> None:
        buffer = np.empty((min(step, len(order)), n), np.float32)
        for rows in blocks[thread::at_once]:
            block = as_indexed(np.asarray(queries[rows], np.float32), metric)
            scores = buffer[: len(rows)]  # for few rows, PyTorch's product is faster than numpy's
            torch.mm(torch.from_numpy(block), transposed, out=torch.from_numpy(scores))
            if metric == "cosine":
                scores *= scale
                scores[:, zero] = BELOW_EVERY_COSINE
            elif metric == "l2":
                scores -= squared / 2
            if excluded is not None:
                query, place = np.nonzero(excluded[rows] >= 0)
                scores[query, excluded[rows[query], place]] = -np.inf
            take(rows, scores)

    if at_once <= 1:
        deque(map(work, range(at_once)), maxlen=0)
        return
    try:
        with ThreadPoolExecutor(at_once, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            deque(pool.map(work, range(at_once)), maxlen=0)
    finally:
        torch.set_num_threads(threads)
