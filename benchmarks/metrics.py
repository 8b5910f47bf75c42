"""CMC@1, CMC@5 and mAP of 10,000 queries in 10,000 rows, own entry excluded: against sorting and looping in Python.

    python -m benchmarks.metrics [--queries 10000] [--gallery 10000] [--classes 100] [--dimension 128]
                                 [--baseline-queries 500] [--repeats 3]

Vectors are normal around a centre for each class, of one length, rounded to whole numbers: their inner products are
exact in float32, so that every way ranks the same scores. Queries are gallery rows. Two baselines, each timed on the
first `--baseline-queries` queries and scaled to all of them (0 leaves them out):

- the papers' way, as their public code does it: the rows of the distance matrix sorted whole, once for CMC and once for
  mAP, and the labels of the whole ranking compared; then a loop over queries that compares both lists of labels to see
  whether to mask the own entry, passes over queries without a match, finds the first, and leaves average precision to
  scikit-learn;
- a plain loop: rows sorted once, then one Python loop down each ranking for everything.

"AP differs" is the largest difference of one query's average precision from the plain loop's, whose sort keeps gallery
order among equal scores as ours does; the papers' way does not, and takes equal scores together.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.metrics import average_precision_score
from threadpoolctl import threadpool_limits

from models.evaluation.retrieval_metrics import cmc, label_metrics
from models.portable import as_indexed

TOP = 5
LENGTH = 4080  # of every vector: inner products stay below 2²⁴

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class MeasuredMetrics:
    """CMC@1, CMC@5 and average precision of every query (m,), and what they took."""

    first: NDArray[np.float64]
    fifth: NDArray[np.float64]
    precision: NDArray[np.float64]
    seconds: float = 0.0
    cpu_seconds: float = 0.0


def papers_way(rows: Floats, labels: Labels, queries: Labels, many: int) -> MeasuredMetrics:
    """The first `many` rows of `rows` (n, d) as queries; queries: the labels of all that would be asked."""
    distances = -rows[:many] @ rows.T
    hits, precision = np.zeros((many, TOP)), np.zeros(many)
    ranking = np.argsort(distances, axis=1)
    matches = labels[ranking] == labels[:many, None]
    for i in range(many):
        valid = _valid(ranking, i, queries, labels)
        if not np.any(matches[i, valid]):
            continue
        for place in np.nonzero(matches[i, valid])[0]:
            hits[i, place:] = 1
            break
    ranking = np.argsort(distances, axis=1)
    matches = labels[ranking] == labels[:many, None]
    for i in range(many):
        valid = _valid(ranking, i, queries, labels)
        right, scores = matches[i, valid], -distances[i][ranking[i]][valid]
        if not np.any(right):
            continue
        precision[i] = average_precision_score(right, scores)
    return MeasuredMetrics(hits[:, 0], hits[:, 4], precision)


def _valid(ranking: Labels, i: int, queries: Labels, labels: Labels) -> NDArray[np.bool_]:
    among = list(queries) == list(labels) or len(queries) < len(labels)  # fewer queries are gallery rows here, too
    return ranking[i] != i if among else np.ones(len(labels), bool)


def plain_loop(rows: Floats, labels: Labels, many: int) -> MeasuredMetrics:
    """One Python loop down each ranking."""
    scores = rows[:many] @ rows.T
    names = labels.tolist()
    hits, precision = np.zeros((many, TOP)), np.zeros(many)
    for i in range(many):
        place = right = 0
        total = 0.0
        for row in np.argsort(-scores[i], kind="stable").tolist():
            if row == i:
                continue
            place += 1
            if names[row] == names[i]:
                right += 1
                total += right / place
                if place <= TOP:
                    hits[i, place - 1 :] = 1
        precision[i] = total / right
    return MeasuredMetrics(hits[:, 0], hits[:, 4], precision)


def ours(rows: Floats, labels: Labels, many: int) -> MeasuredMetrics:
    """The library."""
    metrics = label_metrics(rows[:many], labels[:many], rows, labels, "ip", np.arange(many))
    first, fifth = (cmc(metrics.ranks, k).astype(np.float64) for k in (1, TOP))
    return MeasuredMetrics(first, fifth, metrics.average_precision)


def best_of(repeats: int, work: Callable[[], MeasuredMetrics]) -> MeasuredMetrics:
    """The least time and the least CPU time of several runs."""
    seconds, cpu_seconds = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        seconds.append(time.perf_counter() - wall)
        cpu_seconds.append(time.process_time() - cpu)
    return replace(result, seconds=min(seconds), cpu_seconds=min(cpu_seconds))


def working_memory(work: Callable[[], MeasuredMetrics]) -> int:
    """The most bytes held at once beside what was there before."""
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--gallery", type=int, default=10_000)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--spread", type=float, default=2.0, help="of a class, in units of the centres'")
    parser.add_argument("--baseline-queries", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    n, m = options.gallery, min(options.queries, options.gallery)
    part = min(options.baseline_queries, m)
    labels = rng.integers(0, options.classes, n)
    rows = rng.standard_normal((n, options.dimension), np.float32) * np.float32(options.spread)
    rows += rng.standard_normal((options.classes, options.dimension), np.float32)[labels]
    rows = np.rint(as_indexed(rows, "cosine") * np.float32(LENGTH))
    threads = torch.get_num_threads()

    measured: list[tuple[str, MeasuredMetrics, float]] = []
    torch.set_num_threads(1)
    if part:
        with threadpool_limits(1):
            paper = best_of(options.repeats, lambda: papers_way(rows, labels, labels[:m], part))
            plain = best_of(options.repeats, lambda: plain_loop(rows, labels, part))
        measured += [("papers' way", paper, m / part), ("plain loop", plain, m / part)]
    measured.append(("Crosswalk, 1 thread", best_of(options.repeats, lambda: ours(rows, labels, m)), 1.0))
    torch.set_num_threads(threads)
    if threads > 1:
        several = best_of(options.repeats, lambda: ours(rows, labels, m))
        measured.append((f"Crosswalk, {threads} threads", several, 1.0))
    memory = working_memory(lambda: ours(rows, labels, m))

    ours_last = measured[-1][1]
    figures = (ours_last.first.mean(), ours_last.fifth.mean(), ours_last.precision.mean())
    table = Table(
        title=f"{m:,} queries × {n:,} rows × {options.dimension}, {options.classes} classes; "
        + "CMC@1 {:.1%}, CMC@5 {:.1%}, mAP {:.1%}; ".format(*figures)
        + f"{memory / 2**20:.0f} MiB beside the vectors"
        + (f"; baselines timed on {part} queries and scaled" if part else "")
    )
    for name in (
        "",
        "seconds",
        "CPU seconds",
        "µs a query",
        "times faster",
        "in CPU",
        "AP differs",
        "mAP",
        "CMC@1, @5",
    ):
        table.add_column(name, justify="right")
    for name, result, scale in measured:
        seconds, cpu = result.seconds * scale, result.cpu_seconds * scale
        cells = [name, f"{seconds:.2f}", f"{cpu:.2f}", f"{1e6 * seconds / m:.0f}"]
        if part:
            gap = result.precision[:part] - plain.precision
            flips = [
                int(np.abs(a[:part] - b).sum()) for a, b in ((result.first, plain.first), (result.fifth, plain.fifth))
            ]
            cells += [f"{paper.seconds * m / part / seconds:.1f}", f"{paper.cpu_seconds * m / part / cpu:.1f}"]
            cells += [f"{np.abs(gap).max():.1e}", f"{abs(gap.mean()):.1e}", f"{flips[0]}, {flips[1]} differ"]
        table.add_row(*cells)
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
