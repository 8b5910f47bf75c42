"""What to do with items that lack side-information: predict it, or leave them to the transformation that needs none.

    python -m benchmarks.stand_in --data DIR [--only clinc150] [--methods ridge,fct] [--pairs 4000] [--epochs 20]

Items of the gallery lose their side-information at random, a share of them at a time. `none` crosses the whole gallery
without any, by ridge; `plain` only those that lack it; `stand-in` puts ridge's prediction from the old vector in its
place; `all` is what it would be if none lacked it. Top-1, with the paired difference of the middle two and its 95 %
interval over queries.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from app.artifacts.crossings import Crossing
from benchmarks.crossing import TASKS, Task, chosen_pairs
from models.device import resolve
from models.evaluation.bootstrap import paired_bootstrap
from models.evaluation.retrieval_metrics import cmc, ranks_of_first_match
from models.portable import Array
from models.transformations.methods import Recipe, learn, method_named
from models.transformations.stand_in import learn_stand_in

SHARES = (0.1, 0.5, 0.9)


def hits(task: Task, gallery: Array) -> NDArray[np.float64]:
    """Whether each query's nearest row is of its label."""
    queries, rows = task.queries, task.gallery
    assert queries.label is not None
    assert rows.label is not None
    arguments: Any = (queries.new, queries.label, gallery, rows.label, task.target.metric, task.exclude)
    return cmc(ranks_of_first_match(*arguments), 1).astype(np.float64)


def lines_of(task: Task, method: str, options: argparse.Namespace) -> list[list[str]]:
    """One line of the table for each share."""
    pairs, device = chosen_pairs(task, options.pairs, options.seed), resolve(options.device)
    settings = {"epochs": options.epochs} if method == "fct" else {}
    old, side = task.gallery.old, task.gallery.side
    assert pairs.side is not None
    assert side is not None

    def learned(recipe: Recipe) -> Any:
        return learn(recipe, pairs, task.source, task.target, device=device, seed=options.seed)

    plain = learned(Recipe("ridge"))
    chosen = learned(Recipe(method_named(method), True, settings))
    chosen = replace(chosen, stand_in=learn_stand_in(pairs.old, pairs.side, task.source))
    leaving, filling = Crossing(replace(chosen, stand_in=None), plain), Crossing(chosen, plain)
    none, everything, lines = plain.apply(old), chosen.apply(old, side), []
    for share in SHARES:
        has = np.random.default_rng(options.seed).random(len(old)) >= share
        ours, theirs = (hits(task, crossing.apply(old, side, has)) for crossing in (filling, leaving))
        gain = paired_bootstrap(ours, theirs, seed=options.seed)
        figures = (hits(task, none).mean(), theirs.mean(), ours.mean(), hits(task, everything).mean())
        difference = f"{100 * gain.mean:+.1f} ({100 * gain.low:+.1f} to {100 * gain.high:+.1f})"
        lines.append([task.name, method, f"{share:.0%}", *(f"{100 * one:.1f}" for one in figures), difference])
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds clinc150/ and tiny-imagenet-100/")
    parser.add_argument("--only", choices=list(TASKS))
    parser.add_argument("--methods", default="ridge,fct")
    parser.add_argument("--pairs", default="4000")
    parser.add_argument("--epochs", type=int, default=20, help="of fct")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    shown = Table("task", "method", "lack it", "none", "plain", "stand-in", "all", "stand-in − plain")
    for name in [options.only] if options.only else TASKS:
        task = TASKS[name](options.data)
        for method in options.methods.split(","):
            for line in lines_of(task, method, options):
                shown.add_row(*line)
    Console(width=120).print(shown)


if __name__ == "__main__":
    main()
