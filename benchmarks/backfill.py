"""Quality over the share of a gallery that is re-embedded, for every order, measured and foretold from the pairs.

    python -m benchmarks.backfill --data DIR [--set clinc150] [--method ridge] [--pairs 1000] [--measures cmc@1,map]

A transformation, with side-information, is learned from that many random pairs; so is the expected error, from the same
pairs held out, as an upgrade learns it. The gallery's transformed vectors are then replaced by real ones at the
fractions i/21, in the order in which the service gives out items where 1/21 of the gallery is asked for at a time
(`app.galleries.orders`). The gain is over random order (the mean of two: the gallery's rows numbered from 0, and from
their count on), paired over queries. The predicted curve is that of an upgrade's report, but for its two ends, which
are the measured ones; `covered` is the share of the 22 measured points that its 95 % intervals hold. The order
`old_model_poor` is not here: it ranks by what compatible training found out about each item, and none was trained.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from app.galleries import orders
from app.galleries.lineage import Projected
from app.storage.lance_table import ROW_ID
from benchmarks.crossing import TASKS, Task, chosen_pairs
from models.arrays import Codes, silent
from models.device import resolve
from models.evaluation.bootstrap import Interval, bootstrap_mean, paired_bootstrap
from models.evaluation.retrieval_metrics import RetrievalMetric
from models.portable import Array, Distance, Transformation, as_indexed
from models.re_embedding.backfill_curve import STEPS, predicted_curve, values_along
from models.transformations.labels import codes_of
from models.transformations.methods import NETWORKS, Recipe, learn, method_named
from models.transformations.pairs import Pairs
from models.uncertainty import LearnedUncertainty
from models.uncertainty.learning import rank_correlation
from workers.reporting.backfill_curves import HeldOutSample
from workers.rows.pairs import DatasetPairs
from workers.training.held_out_pairs import SEED, HeldOutPairs, held_out_fits, learn_from_held_out

Waiting = Callable[[Codes, NDArray[np.bool_]], orders.Urgency]
"""The urgency of places (m,) that wait, where the places of the mask (n,) are re-embedded already."""


@dataclass(frozen=True)
class TransformedGallery:
    """A gallery before its backfill: transformed, new (n, d_new) float32; expected_error (n,) float32; label (n,)."""

    transformed: Array
    new: Array
    expected_error: Array
    label: list[str]
    metric: Distance

    def ordered(self) -> dict[str, Codes]:
        """Every order in which the service would give these items out, (n,) places each, and another random one."""
        rows = np.arange(len(self.label))
        return {
            "uncertainty": given_out(rows, lambda waiting, _: orders.by_uncertainty(self.expected_error[waiting])),
            "random": given_out(rows, lambda waiting, _: orders.by_chance(rows[waiting])),
            "random again": given_out(rows, lambda waiting, _: orders.by_chance(rows[waiting] + len(rows))),
            "class_mean_distance": given_out(rows, self._class_mean_distance),
        }

    def _class_mean_distance(self, waiting: Codes, native: NDArray[np.bool_]) -> orders.Urgency:
        rows = np.arange(len(self.label))
        labels = pa.table({ROW_ID: rows, "label": pa.array(self.label, pa.string())})
        vectors = np.where(native[:, None], self.new, self.transformed)

        def scan() -> Iterator[Projected]:
            yield Projected(rows, vectors, native, self.expected_error)

        return orders.by_class_mean_distance(rows[waiting], labels, scan, self.metric)


def given_out(rows: Codes, urgency: Waiting) -> Codes:
    """The places of `rows` as they are given out where a share of 1/21 is asked for, re-embedded, and so on."""
    native, order = np.zeros(len(rows), bool), []
    for start, end in pairwise(i * len(rows) // STEPS for i in range(STEPS + 1)):
        waiting = np.flatnonzero(~native)
        chosen = waiting[orders.most_urgent(rows[waiting], urgency(waiting, native), end - start)]
        native[chosen] = True
        order.append(chosen)
    return np.concatenate(order)


@dataclass(frozen=True)
class Learned:
    """What an upgrade learns from pairs: the transformation, how far it is expected to miss, and the pairs held out."""

    transformation: Transformation
    uncertainty: LearnedUncertainty
    held_out: HeldOutPairs

    @classmethod
    def of(cls, task: Task, pairs: DatasetPairs, options: argparse.Namespace) -> Learned:
        recipe = Recipe(method_named(options.method), True)
        fit = partial(learn, source=task.source, target=task.target, device=resolve(options.device), seed=options.seed)
        if recipe.method in NETWORKS:
            recipe = replace(recipe, settings={"epochs": options.epochs})
        h = fit(recipe, pairs.pairs)
        refit = partial(fit, replace(recipe, settings=h.card.settings))
        fits = held_out_fits(pairs, h, refit, silent)
        missing = learn_from_held_out(pairs, h, fits, device=options.device, progress=silent)
        if missing is None:
            raise SystemExit(f"{len(pairs.ids)} pairs are too few to learn an expected error from")
        return cls(h, *missing)

    def gallery(self, task: Task) -> TransformedGallery:
        """The task's gallery as this transforms it."""
        old, side = task.gallery.old, task.gallery.side
        vectors = self.transformation.apply(old, side)
        expected = self.uncertainty.uncertainty.expected_error(old, side, vectors)
        return TransformedGallery(vectors, task.gallery.new, expected, labels(task.gallery), task.target.metric)


def labels(part: Pairs) -> list[str]:
    """The labels of rows that all have one."""
    assert part.label is not None
    return [str(label) for label in part.label.tolist()]


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
    drawn = chosen_pairs(task, options.pairs, options.seed)
    pairs = DatasetPairs(
        np.array([f"pair-{row}" for row in range(len(drawn))], object),
        replace(drawn, label=np.array(labels(drawn), object)),
    )
    start = time.perf_counter()
    known = Learned.of(task, pairs, options)
    name = known.transformation.card.method
    console.print(f"{options.set}, {len(drawn)} pairs, {name} + side: {time.perf_counter() - start:.0f} s")
    report(console, known.uncertainty)
    gallery = known.gallery(task)
    true = np.square(gallery.transformed - as_indexed(gallery.new, gallery.metric), dtype=np.float64).sum(axis=1)
    console.print(
        f"in the gallery: expected {gallery.expected_error.mean():.4g}, true {true.mean():.4g} on average, rank "
        f"correlation {rank_correlation(gallery.expected_error.astype(np.float64), true):.3f}"
    )
    sample = HeldOutSample.of(known.held_out, pairs)
    assert sample is not None
    searched = np.random.default_rng(options.seed).permutation(len(task.queries))[: options.queries]
    table = Table("measure", "order", *(f"{i}/21" for i in range(0, 22, 3)), "mean", "gain", "foretold", "covered")
    given = gallery.ordered()
    for measure in options.measures.split(","):
        along = {order: measured(task, searched, gallery, places, measure) for order, places in given.items()}
        rows_of_table(table, measure, along, sample, gallery.metric)
    console.print(table)


def measured(
    task: Task, searched: Codes, gallery: TransformedGallery, order: Codes, measure: RetrievalMetric
) -> NDArray[np.float64]:
    """Every searched query's value at the 22 fractions, (22, m); searched: (m,) places among the task's queries."""
    codes = {label: code for code, label in enumerate(dict.fromkeys(labels(task.queries) + gallery.label))}
    wanted, held = (
        np.array([codes[label] for label in each], np.int64) for each in (labels(task.queries), gallery.label)
    )
    exclude = None if task.exclude is None else task.exclude[searched]
    return values_along(
        task.queries.new[searched],
        wanted[searched],
        gallery.transformed,
        gallery.new,
        held,
        order,
        gallery.metric,
        exclude,
        measure,
    )


def rows_of_table(
    table: Table,
    measure: RetrievalMetric,
    values: dict[str, NDArray[np.float64]],
    sample: HeldOutSample,
    metric: Distance,
) -> None:
    """One row for every order: the measured curve, its mean, the gain over random order, and the prediction."""
    random = (values["random"] + values["random again"]) / 2
    ends = [bootstrap_mean(random[i]) for i in (0, -1)]
    for name, urgency in sample.urgencies([], metric):
        curve = values[name].mean(axis=1)
        gain = paired_bootstrap(values[name].mean(axis=0), random.mean(axis=0))
        order = orders.most_urgent(sample.rows, urgency, len(sample.rows))
        pairs = sample.transformed, sample.pairs.new, codes_of(sample.pairs), order
        foretold = predicted_curve(*pairs, metric, measure, *ends, name=name, seed=SEED)
        covered = np.mean([p.low <= v <= p.high for p, v in zip(foretold.points, curve, strict=True)])
        table.add_row(
            *(measure, name, *(f"{100 * v:.1f}" for v in curve[::3]), f"{100 * curve.mean():.2f}"),
            "" if name == "random" else interval(gain),
            *(f"{100 * foretold.mean:.2f}", f"{covered:.0%}"),
        )


def interval(gain: Interval) -> str:
    """In points."""
    return f"{100 * gain.mean:+.2f} ({100 * gain.low:+.2f} to {100 * gain.high:+.2f})"


def report(console: Console, learned: LearnedUncertainty) -> None:
    """The candidates for the expected error, and the reliability of the chosen one."""
    table = Table("candidate", "rank correlation", "curve (mAP of the pairs)", "gain over random order")
    for each in learned.candidates:
        name = f"{each.method} (chosen)" if each.method == learned.method else each.method
        curve = "" if each.curve is None else f"{100 * each.curve.mean:.2f}"
        gain = "" if each.gain is None else interval(each.gain)
        table.add_row(name, f"{each.rank_correlation:.3f}", curve, gain)
    console.print(table)
    table = Table("expected", *(f"{each.expected:.4g}" for each in learned.reliability))
    table.add_row("observed", *(f"{each.observed.mean:.4g}" for each in learned.reliability))
    console.print(table)


if __name__ == "__main__":
    main()
