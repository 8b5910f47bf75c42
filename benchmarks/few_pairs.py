"""How little must be re-embedded: crossings learned from few pairs, beside re-embedding everything (CLINC150).

    python -m benchmarks.few_pairs --data DIR [--pairs 900,250,500,1000] [--seeds 3] [--json FILE]

The gallery is the training set, 18,000 items; the queries are the test set, embedded by the new model; a query counts
where the label at rank 1 is its own. Pairs are drawn at random or chosen by `sample`; side-information is always used.
What the columns know of labels: the first three nothing; `+ pairs' labels` learns towards the class means of the pairs
themselves, which an upgrade does only where they show nearly every label of the gallery twice; `+ gallery's labels`
moves every transformed item halfway to the mean of all transformed items of its label, which asks for a label of every
item, new ones too, and is no transformation that a service applies. `unsmoothed` leaves out a part of the method, to
see what it is worth.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.verdict import NEW, OLD, read
from models.device import resolve
from models.evaluation.retrieval_metrics import cmc, ranks_of_first_match
from models.portable import Array
from models.re_embedding.sampling import choose
from models.transformations.labels import towards_class_means
from models.transformations.methods import Recipe, learn
from models.transformations.pairs import Pairs

HIGHLIGHTED = 900  # 5 % of the gallery
HOW = ("random", "chosen")
RECIPES = {
    "ridge": Recipe("ridge", True),
    "kernel_ridge, unsmoothed": Recipe("kernel_ridge", True, {"smoothing": 0.0}),
    "kernel_ridge": Recipe("kernel_ridge", True),
    "ridge + pairs' labels": Recipe("ridge", True).with_labels(),
    "kernel_ridge + pairs' labels": Recipe("kernel_ridge", True).with_labels(),
}
COLUMNS = (*RECIPES, "+ gallery's labels")

Rows = NDArray[np.int64]


def main() -> None:
    """Runs the table and prints a row as soon as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pairs", default="900,250,500,1000")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    console = Console(width=160)
    train, test = (read(options.data / "clinc150" / f"{name}.parquet") for name in ("train", "test"))
    full = _at_rank_1(train.new, train, test)
    console.print(f"everything re-embedded: {full:.1f}")
    rows: dict[str, dict[str, list[float]]] = {}
    for pairs in map(int, options.pairs.split(",")):
        for how in HOW:
            seeds = [dict(measured(train, test, pairs, how, seed)) for seed in range(options.seeds)]
            rows[f"{pairs} {how}"] = by_column = {column: [seed[column] for seed in seeds] for column in COLUMNS}
            shares = "; ".join(f"{column} {_shown(values)}" for column, values in by_column.items())
            console.print(f"{pairs} {how}: {shares}", soft_wrap=True)
    console.print(_table(rows, full))
    if options.json:
        options.json.write_text(json.dumps({"full": full, "rows": rows}, indent=1))


def measured(train: Pairs, test: Pairs, pairs: int, how: str, seed: int) -> Iterator[tuple[str, float]]:
    """Percentages at rank 1 by column, for one draw of pairs."""
    learned_from = train.subset(_picked(train, pairs, how, seed))
    for column, recipe in RECIPES.items():
        h = learn(recipe, learned_from, OLD, NEW, device=resolve("cpu"), seed=seed)
        gallery = h.apply(train.old, train.side)
        yield column, _at_rank_1(gallery, train, test)
        if column == "kernel_ridge":
            together = towards_class_means(Pairs(train.old, gallery, None, train.label), NEW, 0.5).new
            yield "+ gallery's labels", _at_rank_1(together, train, test)


def _picked(train: Pairs, pairs: int, how: str, seed: int) -> Rows:
    if how == "chosen":
        return choose([(train.old, train.side)], pairs, seed=seed).indices
    return np.sort(np.random.default_rng(seed).choice(len(train), pairs, replace=False))


def _at_rank_1(gallery: Array, train: Pairs, test: Pairs) -> float:
    assert train.label is not None
    assert test.label is not None
    return 100 * float(cmc(ranks_of_first_match(test.new, test.label, gallery, train.label, "cosine"), 1).mean())


def _shown(values: list[float]) -> str:
    return f"{np.mean(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def _table(rows: dict[str, dict[str, list[float]]], full: float) -> Table:
    table = Table(
        "pairs", *COLUMNS, title=f"label at rank 1, mean (range) of seeds; everything re-embedded: {full:.1f}"
    )
    for name, by_column in rows.items():
        style = "bold" if name.startswith(f"{HIGHLIGHTED} ") else None
        table.add_row(name, *(_shown(by_column[column]) for column in COLUMNS), style=style)
    return table


if __name__ == "__main__":
    main()
