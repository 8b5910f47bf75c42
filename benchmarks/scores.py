"""What becomes of a threshold when the model changes: kept as a number, translated, or translated by a mean.

    OMP_NUM_THREADS=1 python -m benchmarks.scores --data DIR [--pairs 1000] [--only "e5 → minilm"]

For each migration the crossing is learned from random pairs of the gallery, and scores are translated as the step
`train` does it. Then the test queries, which nothing was learned from, are asked: a threshold of the old search with a
given precision (of all scores of all queries over it, how many are of the query's label) is set against what becomes of
it. *number kept*: the same number in the new search. *mean*: isotonic regression of the new score on the old, of the
same score pairs, weighted as they are; not built in. *translated*: what the service answers. *re-embedded*: everything
embedded by the new model, and the threshold that keeps as many items there. The last column says how many of a
hundred items that pass now passed before.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.isotonic import IsotonicRegression

from benchmarks.crossing import Task
from benchmarks.real_migrations import migrations
from models.arrays import Floats, silent
from models.portable import Distance
from models.score_translation import shown_scores
from models.transformations.selection import Selection, select
from workers.rows.pairs import DatasetPairs
from workers.rows.partial import Partial
from workers.training.held_out_pairs import held_out_fits
from workers.training.score_translation import DrawnItems, LearnedScores, ScoreQueries, learn_scores

ONLY = ("e5 → minilm", "wordllama → minilm", "tf-idf + side → minilm", "images: half of the classes → all")
PRECISIONS, LOW_PRECISIONS = (0.95, 0.9, 0.8), (0.3, 0.2)
"""Of the old search's thresholds; the low ones where its search has none of the others."""

QUERIES, ITEMS = 1_000, 10_000


@dataclass(frozen=True)
class Learned:
    """A crossing, and what was learned of scores across it."""

    selection: Selection
    scores: LearnedScores


@dataclass(frozen=True)
class Answers:
    """What queries score items, (m, n), and which of them are of the query's label, (m, n) bool."""

    old: Floats
    crossed: Floats
    re_embedded: Floats
    relevant: NDArray[np.bool_]


def learned(task: Task, pairs: int) -> Learned:
    """Learns from random pairs as the step `train` does."""
    rng, gallery = np.random.default_rng(0), task.gallery
    chosen, drawn = rng.permutation(len(task.learn_from))[:pairs], rng.permutation(len(gallery))[:ITEMS]
    known = DatasetPairs(np.array([f"row-{row}" for row in chosen], object), task.learn_from.subset(chosen))
    selection = select(known.pairs, task.source, task.target, method="ridge", device="cpu")
    fits = held_out_fits(known, selection.chosen, selection.refit, silent)
    side = Partial.empty(len(drawn))
    if gallery.side is not None:
        side = Partial(gallery.side[drawn], np.ones(len(drawn), bool))
    name = "row" if gallery is task.learn_from else "item"
    items = DrawnItems([f"{name}-{row}" for row in drawn], gallery.old[drawn], side, len(gallery))
    queries = ScoreQueries.of_pairs(known, len(fits))
    scores = learn_scores(known, queries, items, selection, None, fits, silent)
    assert scores is not None
    return Learned(selection, scores)


def answers(task: Task, crossing: Selection) -> Answers:
    """Scores of some test queries; a query that is an item of the gallery does not score itself."""
    rows = np.random.default_rng(1).permutation(len(task.queries))[:QUERIES]
    queries, gallery = task.queries.subset(rows), task.gallery
    assert queries.label is not None
    assert gallery.label is not None
    h = crossing.chosen
    crossed = h.apply(gallery.old, gallery.side if h.card.side_dimension else None)
    relevant = queries.label[:, None] == gallery.label[None]
    old = shown_scores(queries.old, gallery.old, task.source.metric)
    new = shown_scores(queries.new, crossed, task.target.metric)
    direct = shown_scores(queries.new, gallery.new, task.target.metric)
    counted: NDArray[np.bool_] = np.asarray(queries.old.any(axis=1))  # a zero vector is no query
    others = np.repeat(counted[:, None], len(gallery), axis=1)
    if task.exclude is not None:
        others[np.arange(len(rows)), task.exclude[rows]] = False
    shape = (int(counted.sum()), -1)
    old, new, direct = (scores[others].reshape(shape) for scores in (old, new, direct))
    return Answers(old, new, direct, np.asarray(relevant)[others].reshape(shape))


def passing(scores: Floats, threshold: float, metric: Distance) -> NDArray[np.bool_]:
    return scores <= threshold if metric == "l2" else scores >= threshold


def threshold_of(precision: float, scores: Floats, relevant: NDArray[np.bool_], metric: Distance) -> float | None:
    """The most lenient threshold of this precision; None where none has it."""
    order = np.argsort(scores if metric == "l2" else -scores, axis=None)
    share = np.cumsum(relevant.ravel()[order]) / np.arange(1, order.size + 1)
    enough = np.flatnonzero(share >= precision)
    return float(scores.ravel()[order[enough[-1]]]) if len(enough) else None


def mean_of(scores: LearnedScores) -> Callable[[float], float]:
    """Isotonic regression of the new score on the old, by the very pairs that the translation was fitted on."""
    pairs = scores.drawn["transformed"]
    rising = np.corrcoef(pairs.old, pairs.new)[0, 1] > 0
    fitted = IsotonicRegression(increasing=bool(rising), out_of_bounds="clip").fit(pairs.old, pairs.new, pairs.weight)
    return lambda score: float(fitted.predict([score])[0])


def rows_of(task: Task, pairs: int) -> list[list[str]]:
    """The lines of the table for one migration."""
    known = learned(task, pairs)
    asked = answers(task, known.selection)
    source, target = task.source.metric, task.target.metric
    curve, mean = known.scores.translations.by_route["transformed"].to_new, mean_of(known.scores)
    lines = []
    thresholds: list[tuple[float, float]] = []
    for some in (PRECISIONS, LOW_PRECISIONS):
        known_of = [(each, threshold_of(each, asked.old, asked.relevant, source)) for each in some]
        thresholds = thresholds or [(each, number) for each, number in known_of if number is not None]
    for precision, threshold in thresholds:
        before = passing(asked.old, threshold, source)
        share = float(before.mean())
        as_many = float(np.quantile(asked.re_embedded, share if target == "l2" else 1 - share))
        for name, scores, number in (
            ("old search", asked.old, threshold),
            ("number kept", asked.crossed, threshold),
            ("mean", asked.crossed, mean(threshold)),
            ("translated", asked.crossed, float(curve(threshold).value[0])),
            ("re-embedded", asked.re_embedded, as_many),
        ):
            now = before if name == "old search" else passing(scores, number, target)
            lines.append([task.name, f"{precision:.0%}", name, *_figures(number, now, before, asked.relevant)])
    return lines


def _figures(
    threshold: float, now: NDArray[np.bool_], before: NDArray[np.bool_], relevant: NDArray[np.bool_]
) -> list[str]:
    passed, right = int(now.sum()), int((now & relevant).sum())
    return [
        f"{threshold:.3f}",
        f"{right / passed:.1%}" if passed else "–",
        f"{right / relevant.sum():.1%}",
        f"{passed / len(now):.1f}",
        f"{(now & before).sum() / passed:.0%}" if passed else "–",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=1_000)
    parser.add_argument("--only", action="append", choices=list(migrations(Path())), help="which migrations")
    options = parser.parse_args()
    table = Table(title=f"{options.pairs} random pairs, ridge; {QUERIES} test queries")
    for heading in ("migration", "old precision", "", "threshold", "precision", "recall", "items a query", "as before"):
        table.add_column(heading, justify="right" if heading not in ("migration", "") else "left")
    known = migrations(options.data)
    for name in options.only or ONLY:
        for line in rows_of(known[name](), options.pairs):
            table.add_row(*line)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
