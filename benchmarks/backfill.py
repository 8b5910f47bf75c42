"""Quality over the share of a gallery that is re-embedded, for every order, measured and foretold from the pairs.

    python -m benchmarks.backfill --data DIR [--set clinc150] [--method ridge] [--pairs 1000] [--measures cmc@1,map]

h, with side-information, is learned from that many random pairs; so is the expected error, from the same pairs out of
fold. Every order then replaces the gallery's transformed vectors by real ones at the fractions i/21. The gain is over
random order (the mean of two), paired over queries. The predicted curve knows the held-out pairs and the two ends;
`covered` is the share of the 22 measured points that its 95 % intervals hold.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.crossing import TASKS, Task, chosen_pairs
from models.device import resolve
from models.evaluation.bootstrap import Interval, bootstrap_mean, paired_bootstrap
from models.portable import Array, Transformation, as_indexed
from models.re_embedding.backfill_curve import (
    Measure,
    order_at_random,
    order_by_class_mean_distance,
    order_by_uncertainty,
    order_where_old_model_is_poor,
    predicted_curve,
    values_along,
)
from models.transformations.methods import Recipe, learn, method_named
from models.transformations.pairs import Pairs
from models.uncertainty import LearnedUncertainty, cross_val_transform, learn_uncertainty
from models.uncertainty.learning import rank_correlation

Codes = NDArray[np.int64]
Orders = dict[str, Codes]


def label_codes(*parts: Pairs) -> tuple[Codes, ...]:
    """Labels of all parts as the same integers."""
    names = {name: code for code, name in enumerate(dict.fromkeys(n for p in parts for n in labels(p)))}
    return tuple(np.array([names[name] for name in labels(part)], np.int64) for part in parts)


def labels(part: Pairs) -> list[object]:
    """The labels of rows that all have one."""
    assert part.label is not None
    found: list[object] = part.label.tolist()
    return found


def orders_of(
    old: Array, moved: Array, expected: Array, pairs: Pairs, codes: Codes, task: Task, own: Codes | None
) -> Orders:
    """Every order of items (n rows); `own` are their places among the pairs, where that is what they are."""
    new = as_indexed(pairs.new, task.target.metric)
    return {
        "uncertainty": order_by_uncertainty(expected),
        "random": order_at_random(len(old), 0),
        "random again": order_at_random(len(old), 1),
        "class_mean_distance": order_by_class_mean_distance(moved, new, codes),
        "old_model_poor": order_where_old_model_is_poor(old, pairs.old, codes, task.source.metric, own),
    }


def learned(task: Task, pairs: Pairs, options: argparse.Namespace) -> tuple[Transformation, Array, LearnedUncertainty]:
    """h, the pairs transformed out of fold, and what is expected to miss."""
    recipe = Recipe(method_named(options.method), True)
    fit = partial(learn, source=task.source, target=task.target, device=resolve(options.device), seed=options.seed)
    if options.method in ("fct", "residual_mlp"):
        recipe = Recipe(recipe.method, True, {"epochs": options.epochs})
    h = fit(recipe, pairs)
    again = Recipe(recipe.method, True, h.card.settings)
    moved = cross_val_transform(pairs, lambda part: fit(again, part), seed=options.seed)
    return h, moved, learn_uncertainty(pairs, moved, h, device=options.device, seed=options.seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds clinc150/ and tiny-imagenet-100/")
    parser.add_argument("--set", choices=list(TASKS), default="clinc150")
    parser.add_argument("--method", default="ridge", help="ridge, low_rank, residual_mlp or fct")
    parser.add_argument("--pairs", default="1000", help="a count, or half: all rows of half of the classes")
    parser.add_argument("--measures", default="cmc@1,map")
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=10, help="of a network")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    task, console = TASKS[options.set](options.data), Console(width=150)
    pairs = chosen_pairs(task, options.pairs, options.seed)
    query_codes, gallery_codes, codes = label_codes(task.queries, task.gallery, pairs)
    start = time.perf_counter()
    h, out_of_fold, found = learned(task, pairs, options)
    console.print(f"{options.set}, {len(pairs)} pairs, {h.card.method} + side: {time.perf_counter() - start:.0f} s")
    report(console, found)
    moved, new = h.apply(task.gallery.old, task.gallery.side), task.gallery.new
    expected = found.uncertainty.expected_error(task.gallery.old, task.gallery.side, moved)
    true = np.square(moved - as_indexed(new, task.target.metric)).sum(axis=1)
    console.print(
        f"in the gallery: expected {expected.mean():.4g}, true {true.mean():.4g} on average, rank correlation "
        f"{rank_correlation(expected.astype(np.float64), true.astype(np.float64)):.3f}"
    )
    asked = np.random.default_rng(options.seed).permutation(len(task.queries))[: options.queries]
    exclude = None if task.exclude is None else task.exclude[asked]
    real = orders_of(task.gallery.old, moved, expected, pairs, codes, task, None)
    among_pairs = orders_of(pairs.old, out_of_fold, found.held_out, pairs, codes, task, np.arange(len(pairs)))
    table = Table("measure", "order", *(f"{i}/21" for i in range(0, 22, 3)), "mean", "gain", "foretold", "covered")
    for measure in options.measures.split(","):
        rows_of_table(
            table,
            measure,
            {
                name: values_along(
                    *(task.queries.new[asked], query_codes[asked], moved, new, gallery_codes, order),
                    *(task.target.metric, exclude, measure),
                )
                for name, order in real.items()
            },
            among_pairs,
            (out_of_fold, pairs.new, codes),
            task,
        )
    console.print(table)


def rows_of_table(
    table: Table,
    measure: Measure,
    values: dict[str, NDArray[np.float64]],
    among_pairs: Orders,
    held_out: tuple[Array, Array, Codes],
    task: Task,
) -> None:
    """One row for every order: the measured curve, its mean, the gain over random order, and the prediction."""
    random = (values["random"] + values["random again"]) / 2
    ends = [bootstrap_mean(random[i]) for i in (0, -1)]
    for name in ("uncertainty", "random", "class_mean_distance", "old_model_poor"):
        curve = values[name].mean(axis=1)
        gain = paired_bootstrap(values[name].mean(axis=0), random.mean(axis=0))
        foretold = predicted_curve(*held_out, among_pairs[name], task.target.metric, measure, *ends, name=name)
        covered = np.mean([p.low <= v <= p.high for p, v in zip(foretold.points, curve, strict=True)])
        table.add_row(
            *(measure, name, *(f"{100 * v:.1f}" for v in curve[::3]), f"{100 * curve.mean():.2f}"),
            "" if name == "random" else interval(gain),
            *(f"{100 * foretold.mean:.2f}", f"{covered:.0%}"),
        )


def interval(gain: Interval) -> str:
    """In points."""
    return f"{100 * gain.mean:+.2f} ({100 * gain.low:+.2f} to {100 * gain.high:+.2f})"


def report(console: Console, found: LearnedUncertainty) -> None:
    """The candidates for the expected error, and the reliability of the chosen one."""
    table = Table("candidate", "rank correlation", "curve (mAP of the pairs)", "gain over random order")
    for each in found.candidates:
        name = f"{each.method} (chosen)" if each.method == found.method else each.method
        curve = "" if each.curve is None else f"{100 * each.curve.mean:.2f}"
        gain = "" if each.gain is None else interval(each.gain)
        table.add_row(name, f"{each.rank_correlation:.3f}", curve, gain)
    console.print(table)
    table = Table("expected", *(f"{each.expected:.4g}" for each in found.reliability))
    table.add_row("observed", *(f"{each.observed.mean:.4g}" for each in found.reliability))
    console.print(table)


if __name__ == "__main__":
    main()
