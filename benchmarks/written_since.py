"""What rows written since an index was published cost each search, in CPU of the thread that searches.

    OMP_NUM_THREADS=1 python -m benchmarks.written_since [--rows 50000] [--since 5000 20000 70000]

A graph of so many rows in clusters is published, and then rows are written in parts of 5,000: either like the published
ones, or without any structure. Queries are like the published rows. Each size is searched as it is, and in turns with
that without groups, as if all rows written since were compared one after the other, by fewer coordinates where that is
sooner done. Recall@10 is of all rows; medians of many searches.
"""

import argparse
import copy
import dataclasses
import statistics
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from app.index import IndexOptions, LiveIndex, RowIds, Snapshot, Vectors, publish
from app.index.faiss import ARRANGING
from benchmarks.index_speed import Mixture

K, DIMENSION, PART, TOGETHER, QUERIES = 10, 128, 5_000, 32, 1_024
TURN = 25  # searches, so that one index finds the processor's caches as it left them itself


def without_groups(index: LiveIndex) -> LiveIndex:
    """The same index with no rows in groups."""
    other = copy.copy(index)
    state = index._state
    other._state = dataclasses.replace(state, delta=dataclasses.replace(state.delta, groups=None))
    return other


def cpu(indexes: list[LiveIndex], queries: Vectors, size: int, repeats: int) -> list[float]:
    """Microseconds a query of each index, so many queries at a time; the indexes take turns."""
    spent: list[list[float]] = [[] for _ in indexes]
    for turn in range(0, repeats, TURN):
        for index, taken in zip(indexes, spent, strict=True):
            for repeat in range(turn, min(repeats, turn + TURN)):
                start = repeat * size % (len(queries) - size + 1)
                began = time.thread_time_ns()
                index.search(queries[start : start + size], K)
                taken.append(time.thread_time_ns() - began)
    return [statistics.median(taken) / 1e3 / size for taken in spent]


def recall(index: LiveIndex, queries: Vectors, vectors: Vectors) -> float:
    """vectors: all that the index holds, by row id."""
    truth: RowIds = np.argsort(-(queries @ vectors.T), axis=1)[:, :K]
    found = index.search(queries, K).rows
    return float(np.mean([np.isin(true, rows).mean() for true, rows in zip(truth, found, strict=True)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000, help="published")
    parser.add_argument("--since", type=int, nargs="+", default=[5_000, 20_000, 70_000])
    parser.add_argument("--repeats", type=int, default=300)
    chosen = parser.parse_args()
    mixture = Mixture(DIMENSION)
    queries, published = mixture.draw(QUERIES, 0), mixture.draw(chosen.rows, 1)
    with tempfile.TemporaryDirectory() as folder:
        given = [(np.arange(chosen.rows), published)]
        options = IndexOptions(kind="hnsw")
        path = publish(Path(folder), given, metric="cosine", dimension=DIMENSION, version=1, options=options)
        snapshot = Snapshot.load(path)
        for name in ("like the published", "without structure"):
            index, vectors = LiveIndex("cosine", DIMENSION, snapshot=snapshot), published
            random = np.random.default_rng(2)
            for since in [0, *chosen.since]:
                while len(index) < chosen.rows + since:
                    rows = mixture.draw(PART, 2 + len(index))
                    if name == "without structure":
                        rows = random.standard_normal((PART, DIMENSION), dtype=np.float32)
                        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
                    index.upsert(np.arange(len(index), len(index) + PART), rows, version=index.version + 1)
                    vectors = np.concatenate([vectors, rows])
                    for thread in threading.enumerate():
                        if thread.name == ARRANGING:
                            thread.join()
                both = [index, without_groups(index)]
                one, one_each = cpu(both, queries, 1, chosen.repeats)
                many, many_each = cpu(both, queries, TOGETHER, max(TURN, chosen.repeats // TOGETHER))
                found = recall(index, queries[:256], vectors)
                print(
                    f"{name}, {since:,} since: one alone {one:.0f} µs ({one_each:.0f} without groups), "
                    f"one of {TOGETHER} {many:.0f} ({many_each:.0f}); recall {found:.4f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
