"""How well every method crosses, on CLINC150 and Tiny ImageNet features, beside the models without any crossing.

    python -m benchmarks.crossing --data DIR [--quick] [--only clinc150] [--methods ridge,fct] [--pairs 500,all]

Parts can be run one by one: results accumulate in the JSON file, and the table shows all that it holds. CLINC150: pairs
from train, gallery train, queries test, cosine. Tiny ImageNet: pairs from train, the validation set as queries and
gallery, own entry excluded, Euclidean. `sample` pairs are chosen by models.re_embedding.sampling, `half` are all rows
of half of the classes (and CMC@1 on the other half is shown). `auto` is chosen as an upgrade chooses: candidates learn
from labels only where the pairs show nearly every label of the gallery twice.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from models.device import resolve
from models.evaluation.retrieval_metrics import average_precision, cmc, ranks_of_first_match
from models.portable import Array, Space, Transformation
from models.re_embedding.sampling import choose
from models.transformations.methods import METHODS, Recipe, learn, method_named
from models.transformations.pairs import Pairs
from models.transformations.selection import select
from workers.rows.label_cover import show_labels

PAIRS = ("500", "1000", "4000", "all", "half", "sample500")
QUICK_PAIRS, QUICK_METHODS = ("500", "4000"), ("orthogonal", "ridge")


@dataclass(frozen=True)
class Task:
    """Rows to learn from, the gallery to search and the queries; `exclude`: (m,) or None (see
    models.evaluation.retrieval_metrics)."""

    name: str
    source: Space
    target: Space
    learn_from: Pairs
    gallery: Pairs
    queries: Pairs
    exclude: NDArray[np.int64] | None


@dataclass(frozen=True)
class Result:
    """One line of the table; figures from 0 to 1, seconds of learning."""

    task: str
    pairs: str
    method: str
    side: bool
    top1: float
    top5: float
    mean_average_precision: float
    unseen_top1: float | None = None
    seconds: float = 0.0
    learned: str = ""

    @property
    def key(self) -> str:
        return f"{self.task}/{self.pairs}/{self.method}{'+side' if self.side else ''}"


def clinc150(data: Path) -> Task:
    """Utterances of 150 intents; old TF-IDF/SVD (256), side n-gram SVD (64), new MiniLM (384)."""

    def read(name: str) -> Pairs:
        table = parquet.read_table(data / "clinc150" / f"{name}.parquet").combine_chunks()

        def matrix(column: str) -> Array:
            values = table.column(column).combine_chunks()
            return np.asarray(values.flatten(), np.float32).reshape(len(values), -1)

        return Pairs(matrix("old"), matrix("new"), matrix("side_information"), np.array(table.column("label")))

    train = read("train")
    spaces = Space("tf-idf", 256, "cosine"), Space("minilm", 384, "cosine")
    return Task("clinc150", *spaces, train, train, read("test"), None)


def tiny_imagenet(data: Path) -> Task:
    """Features of small ResNets; old (128) of 50 classes, new (128) of all 100, side SimCLR (64)."""
    with np.load(data / "tiny-imagenet-100" / "features.npz") as arrays:

        def read(name: str) -> Pairs:
            old, new, side = (arrays[f"{part}_{name}"].astype(np.float32) for part in ("old", "new", "side"))
            return Pairs(old, new, side, arrays[f"label_{name}"])

        train, val = read("train"), read("val")
    spaces = Space("resnet-50-classes", 128, "l2"), Space("resnet-100-classes", 128, "l2")
    return Task("tiny-imagenet", *spaces, train, val, val, np.arange(len(val)))


TASKS = {"clinc150": clinc150, "tiny-imagenet": tiny_imagenet}


def chosen_pairs(task: Task, pairs: str, seed: int) -> Pairs:
    """The rows that this setting learns from."""
    rows, generator = task.learn_from, np.random.default_rng(seed)
    assert rows.label is not None
    if pairs == "all":
        return rows
    if pairs == "half":
        return rows.subset(np.flatnonzero(np.isin(rows.label, seen_classes(task, seed))))
    if pairs.startswith("sample"):
        chosen = choose(
            [(rows.old, rows.side)], int(pairs.removeprefix("sample")), metric=task.source.metric, seed=seed
        )
        return rows.subset(chosen.indices)
    return rows.subset(generator.permutation(len(rows))[: int(pairs)])


def seen_classes(task: Task, seed: int) -> NDArray[Any]:
    """Half of the classes."""
    assert task.learn_from.label is not None
    classes = np.unique(task.learn_from.label)
    return np.random.default_rng(seed).permutation(classes)[: len(classes) // 2]


def measured(task: Task, gallery: Array, queries: Array, seed: int, **told: Any) -> Result:
    """Retrieval of the task's queries from a gallery."""
    assert task.queries.label is not None
    assert task.gallery.label is not None
    arguments = (queries, task.queries.label, gallery, task.gallery.label, task.target.metric, task.exclude)
    hits = ranks_of_first_match(*arguments)
    unseen = ~np.isin(task.queries.label, seen_classes(task, seed))
    return Result(
        task=task.name,
        top1=float(cmc(hits, 1).mean()),
        top5=float(cmc(hits, 5).mean()),
        mean_average_precision=float(average_precision(*arguments).mean()),
        unseen_top1=float(cmc(hits, 1)[unseen].mean()) if told["pairs"] == "half" else None,
        **told,
    )


def baselines(task: Task, seed: int) -> Iterator[Result]:
    """The old and the new model alone, and the new model's queries against old vectors, zero-padded."""
    short = task.target.dimension - task.source.dimension
    padded = np.pad(task.gallery.old, ((0, 0), (0, max(0, short))))[:, : task.target.dimension]
    for method, gallery, queries in (
        ("old/old", task.gallery.old, task.queries.old),
        ("old padded/new", padded, task.queries.new),
        ("new/new", task.gallery.new, task.queries.new),
    ):
        yield measured(task, gallery, queries, seed, pairs="-", method=method, side=False)


def crossed(task: Task, pairs: str, method: str, side: bool, options: argparse.Namespace) -> Result:
    """Learns one method from one set of pairs and measures it."""
    rows = chosen_pairs(task, pairs, options.seed)
    device, start = resolve(options.device), time.perf_counter()
    h: Transformation
    if method == "auto":
        labels = show_labels(*named_labels(rows, task.gallery))
        h = select(rows, task.source, task.target, labels=labels, device=options.device, seed=options.seed).chosen
    else:
        settings = {"epochs": options.epochs} if method == "fct" else {}
        recipe = Recipe(method_named(method), side, settings)
        h = learn(recipe, rows, task.source, task.target, device=device, seed=options.seed)
    seconds = time.perf_counter() - start
    gallery = h.apply(task.gallery.old, task.gallery.side if h.card.side_dimension else None)
    chosen = ", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in h.card.settings.items())
    learned = f"{h.card.method}{' + side' if h.card.side_dimension else ''} {chosen}"
    told = {"pairs": pairs, "method": method, "side": side, "seconds": seconds, "learned": learned}
    return measured(task, gallery, task.queries.new, options.seed, **told)


def named_labels(rows: Pairs, gallery: Pairs) -> tuple[Pairs, list[pa.Array]]:
    """Rows and a gallery's labels with their labels as strings, which is what galleries hold; None stays None."""
    assert rows.label is not None
    assert gallery.label is not None
    names, of_rows = (
        [None if label is None else str(label) for label in labels] for labels in (gallery.label, rows.label)
    )
    return dataclasses.replace(rows, label=np.array(of_rows, object)), [pa.array(names, pa.string())]


def table(results: list[Result]) -> Table:
    """Everything measured so far."""
    shown = Table("task", "pairs", "method", "side", "top-1", "top-5", "mAP", "unseen top-1", "fit s", "learned")
    for r in results:
        figures = [f"{100 * v:.1f}" for v in (r.top1, r.top5, r.mean_average_precision)]
        unseen = "" if r.unseen_top1 is None else f"{100 * r.unseen_top1:.1f}"
        fit = f"{r.seconds:.1f}" if r.learned else ""
        shown.add_row(r.task, r.pairs, r.method, "yes" if r.side else "", *figures, unseen, fit, r.learned)
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds clinc150/ and tiny-imagenet-100/")
    parser.add_argument("--only", choices=list(TASKS))
    parser.add_argument("--methods", default=",".join((*METHODS, "auto")))
    parser.add_argument("--pairs", default=",".join(PAIRS), help="counts, sampleN, all or half")
    parser.add_argument("--quick", action="store_true", help="a minute: two methods, two numbers of pairs")
    parser.add_argument("--epochs", type=int, default=20, help="of fct; the paper's 80 take hours on a CPU")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=Path("crossing.json"))
    options = parser.parse_args()
    known = json.loads(options.json.read_text()) if options.json.exists() else {}
    results: dict[str, Result] = {key: Result(**fields) for key, fields in known.items()}
    console = Console(width=150)

    def keep(result: Result) -> None:
        results[result.key] = result
        options.json.write_text(json.dumps({k: dataclasses.asdict(r) for k, r in results.items()}, indent=1))
        console.print(f"{result.key}: {100 * result.top1:.1f}")

    methods = QUICK_METHODS if options.quick else options.methods.split(",")
    for name in [options.only] if options.only else TASKS:
        task = TASKS[name](options.data)
        for result in baselines(task, options.seed):
            keep(result)
        for pairs in QUICK_PAIRS if options.quick else options.pairs.split(","):
            for method in methods:
                for side in (True,) if method == "auto" else (False, True):
                    keep(crossed(task, pairs, method, side, options))
    console.print(table(list(results.values())))


if __name__ == "__main__":
    main()
