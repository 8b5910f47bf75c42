"""Metrics of many judged queries over a large gallery: seconds and memory, beside ir-measures (trec_eval).

    OMP_NUM_THREADS=1 python -m benchmarks.judged_metrics [--queries 10000] [--gallery 1000000] [--dimension 64]
                                                          [--judged 10] [--reference 100] [--depth 1000]

Every query lies near one row of the gallery; that row is judged with grade 3, others at random with 0 to 2. Ours ranks
the judged items among all rows, however far down they are. ir-measures, with trec_eval behind it, reads rankings: it is
given the first `--depth` answers to the first `--reference` queries, found by the same product and
`numpy.argpartition`. Its milliseconds are of calculating alone; those of finding the answers and of writing them as
dictionaries are shown beside. Values of nDCG@10 and recall@100, which so many answers settle, are compared. Memory is
the most that ranking held at once beside the vectors, of one process.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from dataclasses import dataclass

import ir_measures
import numpy as np
import torch
from rich.console import Console

from models.arrays import Floats
from models.evaluation.judged_metrics import JudgedMetric, Judgements, judged_ranks
from models.portable import Array, unit_rows

METRICS = tuple(map(JudgedMetric.parsed, ("ndcg@10", "recall@100", "map")))
COMPARED = {"ndcg@10": ir_measures.nDCG @ 10, "recall@100": ir_measures.R @ 100}
_SPREAD = 0.5  # of a query about its row, in units of a row's length


@dataclass(frozen=True)
class Search:
    """Unit rows: queries (m, d), gallery (n, d) float32, and what was judged of it."""

    queries: Array
    gallery: Array
    judgements: Judgements


@dataclass(frozen=True)
class ReferenceRun:
    """What trec_eval says of some queries: values by metric, (q,) each, and the seconds of finding the answers, of
    writing them as dictionaries, and of calculating."""

    values: dict[str, Floats]
    finding: float
    writing: float
    calculating: float


def made(queries: int, rows: int, dimension: int, judged: int) -> Search:
    """Random unit rows, queries near some of them, and `judged` judgements of each query, one of its own row."""
    rng = np.random.default_rng(0)
    gallery = unit_rows(rng.standard_normal((rows, dimension), np.float32))
    own = rng.integers(0, rows, queries)
    noise = unit_rows(rng.standard_normal((queries, dimension), np.float32))
    asked = unit_rows(gallery[own] + np.float32(_SPREAD) * noise)
    steps = rng.integers(1, rows // judged, (queries, judged - 1)).cumsum(axis=1)  # so that no row is judged twice
    row = np.sort(np.column_stack([own, (own[:, None] + steps) % rows]))
    grade = np.where(row == own[:, None], 3.0, rng.integers(0, 3, row.shape))
    judgements = Judgements(queries, np.repeat(np.arange(queries), judged), row.ravel(), grade.ravel())
    return Search(asked, gallery, judgements)


def reference(search: Search, queries: int, depth: int) -> ReferenceRun:
    """ir-measures over the first `depth` answers to the first queries."""
    start = time.perf_counter()
    scores = np.empty((queries, len(search.gallery)), np.float32)
    torch.mm(
        torch.from_numpy(search.queries[:queries]), torch.from_numpy(search.gallery).T, out=torch.from_numpy(scores)
    )
    first = np.argpartition(-scores, depth, axis=1)[:, :depth]
    found = time.perf_counter()
    run = {
        str(query): dict(zip(map(str, rows.tolist()), scores[query, rows].tolist(), strict=True))
        for query, rows in enumerate(first)
    }
    qrels: dict[str, dict[str, int]] = {str(query): {} for query in range(queries)}
    given = search.judgements
    for query, row, grade in zip(given.query.tolist(), given.row.tolist(), given.grade.tolist(), strict=True):
        if query < queries:
            qrels[str(query)][str(row)] = int(grade)
    written = time.perf_counter()
    values = {name: np.zeros(queries) for name in COMPARED}
    names = {str(measure): name for name, measure in COMPARED.items()}
    for one in ir_measures.iter_calc(list(COMPARED.values()), qrels, run):
        values[names[str(one.measure)]][int(one.query_id)] = one.value
    return ReferenceRun(values, found - start, written - found, time.perf_counter() - written)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--gallery", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=64)
    parser.add_argument("--judged", type=int, default=10)
    parser.add_argument("--reference", type=int, default=100, help="queries that ir-measures is given")
    parser.add_argument("--depth", type=int, default=1_000, help="answers to each that it is given")
    options = parser.parse_args()
    console = Console(width=140, highlight=False)
    search = made(options.queries, options.gallery, options.dimension, options.judged)
    tracemalloc.start()
    start, cpu = time.perf_counter(), time.process_time()
    ranks = judged_ranks(search.queries, search.gallery, "ip", search.judgements)
    ranked = time.process_time() - cpu
    values = {str(metric): ranks.values(metric) for metric in METRICS}
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    more = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    many = options.queries
    console.print(
        f"{many:,} queries × {options.gallery:,} rows × {options.dimension}, {options.judged} judged items each: "
        + ", ".join(f"{name} {np.nanmean(of):.2%}" for name, of in values.items())
    )
    console.print(
        f"ours: {seconds:.1f} s, {cpu:.1f} s of the processor, {1e3 * cpu / many:.2f} ms a query, of which metrics"
        f" {1e6 * (cpu - ranked) / many:.1f} µs; {more:,.0f} MiB beside the vectors"
    )
    theirs = reference(search, options.reference, options.depth)
    per = 1e3 / options.reference
    console.print(
        f"ir-measures, of the first {options.depth:,} answers: {per * theirs.calculating:.2f} ms a query, after"
        f" {per * theirs.finding:.1f} to find them and {per * theirs.writing:.2f} to write them as dictionaries"
    )
    for name, of in theirs.values.items():
        apart = float(np.abs(values[name][: options.reference] - of).max())
        console.print(f"{name}: at most {apart:.1e} apart over {options.reference} queries")


if __name__ == "__main__":
    main()
