"""What a pushed query finds in the untouched old gallery, and how many candidates a cascade would have to re-rank.

    python -m benchmarks.pushing --data DIR [--pairs 500,0]

Ridge is learned from pairs of train (0: all), and 500 queries of the other part search exact indexes of train as the
service keeps them: `transformed` that of the transformed vectors, `pushed` that of the old ones by the query that the
transformation is pushed into. `candidates` is how many an upgrade would have its cascade re-rank for 99 % of the
transformed gallery's top 10. Two that the service does not do stand beside them: the push without knowing how long the
transformation makes old vectors, and the reverse map, ridge from new to old, whose outputs search the old index.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rich.console import Console
from rich.table import Table

from app.artifacts.crossings import Crossing
from app.index import IndexOptions, LiveIndex, RowIds, Snapshot, publish
from benchmarks.crossing import TASKS, Task
from models.portable import Array, Space, Transformation
from models.transformations.linear import ridge
from models.transformations.pairs import Pairs
from workers.rows.items import Items
from workers.rows.partial import Partial
from workers.serving.cascade import CascadeQueries, measure_cascade

QUERIES, SHARE, SEED, TOP = 500, 0.99, 0, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds clinc150/ and tiny-imagenet-100/")
    parser.add_argument("--only", choices=list(TASKS))
    parser.add_argument("--pairs", default="500,0", help="counts, 0 for all")
    options = parser.parse_args()
    shown = Table("task", "pairs", "search", "top-1", "candidates")
    for name in [options.only] if options.only else TASKS:
        task = TASKS[name](options.data)
        for pairs in map(int, options.pairs.split(",")):
            with TemporaryDirectory() as folder:
                for line in searched(task, pairs, Path(folder)):
                    shown.add_row(name, str(pairs or "all"), *line)
    Console(width=120).print(shown)


def searched(task: Task, pairs: int, folder: Path) -> Iterator[tuple[str, str, str]]:
    """How it is searched, the share of queries whose label is at rank 1, and the candidates that a cascade needs."""
    rows, queries = task.learn_from, task.queries.new[:QUERIES]
    learned = rows.subset(np.random.default_rng(SEED).permutation(len(rows))[: pairs or len(rows)])
    h = ridge(learned.without_side(), task.source, task.target)
    assert h.affine is not None
    new = exact_index(folder / "new", task.target, h.apply(rows.old))
    old = exact_index(folder / "old", task.source, rows.old)
    wanted = new.search(queries, TOP).rows
    yield "transformed", top1(task, wanted), ""
    blind = dataclasses.replace(h, affine=dataclasses.replace(h.affine, lengths=None))
    for name, pushing in (("pushed, lengths unknown", blind), ("pushed", h)):
        pushed = pushing.push(queries)
        nearest = old.search(pushed.queries, 1, score_as=pushed.score).rows
        yield name, top1(task, nearest), f"{candidates(task, h, pushing, queries, folder):,}"
    back = ridge(Pairs(learned.new, learned.old), task.target, task.source).apply(queries)
    proposed = old.search(back, len(rows)).rows
    ranks = [np.flatnonzero(np.isin(one, some)) + 1 for one, some in zip(proposed, wanted, strict=True)]
    needed = np.quantile(np.concatenate(ranks), SHARE, method="inverted_cdf")
    yield "reverse map", top1(task, proposed), f"{needed:,.0f}"


def candidates(task: Task, h: Transformation, pushing: Transformation, queries: Array, folder: Path) -> int:
    """How many an upgrade would have re-ranked by h where `pushing` proposes them and no number is too large."""
    rows = len(task.learn_from)
    nothing = np.full(rows, None, object)
    items = Items(np.arange(rows), np.arange(rows).astype(object), nothing, task.learn_from.old, Partial.empty(rows))
    cascade = measure_cascade(
        items,
        CascadeQueries(queries, np.full(len(queries), -1)),
        Crossing(h, pushing),
        source=task.source,
        target=task.target,
        overlap=SHARE,
        limit=rows,
        scratch=folder,
        tick=lambda *_: None,
    )
    return cascade.k


def exact_index(folder: Path, space: Space, vectors: Array) -> LiveIndex:
    """An index of all vectors, (n, d), as the service publishes and opens it."""
    batch = [(np.arange(len(vectors)), vectors)]
    kind = IndexOptions(kind="flat")
    path = publish(folder, batch, metric=space.metric, dimension=space.dimension, version=1, options=kind)
    return LiveIndex(space.metric, space.dimension, snapshot=Snapshot.load(path))


def top1(task: Task, rows: RowIds) -> str:
    """The share of queries whose nearest row, the first of rows (m, k), has their label."""
    assert task.learn_from.label is not None
    assert task.queries.label is not None
    return f"{100 * (task.learn_from.label[rows[:, 0]] == task.queries.label[:QUERIES]).mean():.1f}"


if __name__ == "__main__":
    main()
