"""What a pushed query finds in the untouched old gallery, and how many candidates a cascade would have to re-rank.

    python -m benchmarks.pushing --data DIR [--pairs 500,0]

Ridge is learned from pairs of train (0: all), the old vectors of train are searched with 500 queries of the other part:
by the transformed gallery, by the push without knowing how long the transformation makes old vectors, by the reverse
map (ridge from new to old, which the old index is searched with), and by the push that knows. `candidates`: how many
of the old index's nearest hold the 99 % of the transformed gallery's top 10.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.crossing import TASKS, Task
from models.evaluation.retrieval_metrics import top_k
from models.portable import Array, as_indexed
from models.transformations.linear import ridge
from models.transformations.pairs import Pairs

QUERIES, SHARE, SEED = 500, 0.99, 0


def scored(task: Task, pairs: int) -> Iterator[tuple[str, Array]]:
    """A name and similarities (queries, gallery) each."""
    rows, queries = task.learn_from, as_indexed(task.queries.new[:QUERIES], task.target.metric)
    learned = rows.subset(np.random.default_rng(SEED).permutation(len(rows))[: pairs or len(rows)])
    h, old = ridge(learned.without_side(), task.source, task.target), as_indexed(rows.old, task.source.metric)
    half = np.square(old).sum(axis=1) / 2
    moved = h.apply(rows.old)
    yield "transformed", queries @ moved.T - (np.square(moved).sum(axis=1) / 2 if task.target.metric == "l2" else 0)
    assert h.affine is not None
    blind = dataclasses.replace(h, affine=dataclasses.replace(h.affine, lengths=None))
    back = ridge(Pairs(learned.new, learned.old), task.target, task.source).apply(queries)
    yield "reverse map", back @ old.T - half
    for name, how in (("pushed, lengths unknown", blind), ("pushed", h)):
        pushed = how.push(queries)
        yield name, pushed.queries @ old.T - (half if pushed.score == "l2" else 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds clinc150/ and tiny-imagenet-100/")
    parser.add_argument("--pairs", default="500,0", help="counts, 0 for all")
    options = parser.parse_args()
    shown = Table("task", "pairs", "search", "top-1", "candidates")
    for name, load in TASKS.items():
        task = load(options.data)
        assert task.learn_from.label is not None
        assert task.queries.label is not None
        for pairs in map(int, options.pairs.split(",")):
            truth = np.empty((0, 10), np.int64)
            for search, similarity in scored(task, pairs):
                if search == "transformed":
                    truth = top_k(np.eye(len(similarity), dtype=np.float32), similarity.T, 10, "ip")
                right = task.learn_from.label[similarity.argmax(axis=1)] == task.queries.label[:QUERIES]
                wanted = np.take_along_axis(similarity, truth, axis=1)
                ranks = [(line[:, None] > own).sum(axis=0) + 1 for line, own in zip(similarity, wanted, strict=True)]
                needed = np.quantile(np.concatenate(ranks), SHARE, method="inverted_cdf")
                shown.add_row(name, str(pairs or "all"), search, f"{100 * right.mean():.1f}", f"{needed:,}")
    Console(width=120).print(shown)


if __name__ == "__main__":
    main()
