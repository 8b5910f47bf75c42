"""What side-information of our own making is worth to a crossing, beside none and beside that of an untrained encoder.

    python -m benchmarks.side_information --data DIR [--size small|full] [--only images|texts] [--epochs N] [--out DIR]

Images: SimCLR on Tiny ImageNet's training images of the old model's classes (labels 0–49), then the crossing of
`benchmarks.crossing` from all 50,000 pairs with its vectors as side-information. Texts: SimCSE on CLINC150's training
texts, crossing from 4,000 random pairs and from all. `stored` is the side-information that comes with the data. `alone`
searches by side-information only. 95 % intervals over queries; gains are paired, over the same method without.

`small`: residual network of four basic blocks (widths 16·2ⁱ), a two-layer BERT; minutes on a processor. `full`:
ResNet-18 and a four-layer BERT, for a GPU. An interrupted training goes on from its last epoch.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import torch
from rich.progress import Progress

from benchmarks.crossing import Task, chosen_pairs, clinc150, tiny_imagenet
from models.contrastive_training import ContrastiveSettings, method_of, train_contrastive
from models.device import resolve
from models.embedding_model import EmbeddingModel
from models.evaluation.bootstrap import bootstrap_mean, paired_bootstrap
from models.evaluation.retrieval_metrics import average_precision, cmc, ranks_of_first_match
from models.inputs import Inputs, InputSubset, Preprocessing, learn_tokenizer
from models.portable import Architecture, Array
from models.portable.card import Distance
from models.transformations.methods import Recipe, learn, method_named

OLD_CLASSES, DIMENSION = 50, 128
UNTRAINED_ROWS = 2_000

Scores = tuple[Any, Any]  # of every query: whether its label is at rank 1, and its average precision


@dataclass(frozen=True)
class Subject:
    """A crossing, raw inputs of its gallery and queries in the same order, and what an encoder learns from."""

    task: Task
    gallery: Inputs
    queries: Inputs
    learn_from: Inputs
    architecture: Architecture
    preprocessing: Preprocessing
    epochs: int
    pairs: tuple[str, ...]
    methods: tuple[str, ...]


@dataclass(frozen=True)
class Side:
    """Side-information of the rows learned from, of the gallery and of the queries, (n, d) float32 each."""

    learn_from: Array
    gallery: Array
    queries: Array


def images(data: Path, size: str) -> Subject:
    task, folder = tiny_imagenet(data), data / "tiny-imagenet-100"
    train, val = (
        parquet.read_table(folder / f"{each}.parquet", columns=["image", "label"]) for each in ("train", "val")
    )
    for table, rows in ((train, task.learn_from), (val, task.queries)):
        if not np.array_equal(table.column("label").to_numpy(), np.asarray(rows.label)):
            raise SystemExit("the images are not in the order of features.npz")
    width, depth = {"small": (16, 1), "full": (64, 2)}[size]
    config: dict[str, Any] = {
        "embedding_size": width,
        "hidden_sizes": [width * 2**i for i in range(4)],
        "depths": [depth] * 4,
    }
    config |= {"layer_type": "basic"}
    encoded, label = train.column("image").to_pylist(), train.column("label").to_numpy()
    return Subject(
        task=task,
        gallery=encoded,
        queries=val.column("image").to_pylist(),
        learn_from=InputSubset(encoded, np.flatnonzero(label < OLD_CLASSES)),
        architecture=Architecture.from_json({"type": "resnet", "stem": "small", "config": config}),
        preprocessing=Preprocessing.images(32),
        epochs={"small": 8, "full": 200}[size],
        pairs=("all",),
        methods=("ridge", "residual_mlp"),
    )


def texts(data: Path, size: str) -> Subject:
    train, test = (
        parquet.read_table(data / "clinc150" / f"{name}.parquet", columns=["text"]).column("text").to_pylist()
        for name in ("train", "test")
    )
    width, layers, vocabulary = {"small": (128, 2, 4096), "full": (256, 4, 8192)}[size]
    config: dict[str, Any] = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": 4}
    config |= {"intermediate_size": 4 * width, "vocab_size": vocabulary, "max_position_embeddings": 64}
    return Subject(
        task=clinc150(data),
        gallery=train,
        queries=test,
        learn_from=train,
        architecture=Architecture.from_json({"type": "bert", "config": config}),
        preprocessing=Preprocessing.texts(learn_tokenizer(train, vocabulary), 32),
        epochs={"small": 8, "full": 30}[size],
        pairs=("4000", "all"),
        methods=("ridge",),
    )


SUBJECTS = {"images": images, "texts": texts}


def encoder(
    subject: Subject, rows: Inputs, settings: ContrastiveSettings, folder: Path, device: torch.device
) -> EmbeddingModel:
    """Learned from these rows."""
    with Progress(transient=True) as bar:
        shown = bar.add_task(f"{subject.task.name}, {settings.epochs} epochs")
        trained = train_contrastive(
            rows,
            architecture=subject.architecture,
            dimension=DIMENSION,
            preprocessing=subject.preprocessing,
            settings=settings,
            device=device,
            folder=folder,
            progress=lambda done, total: bar.update(shown, completed=done, total=total),
        )
    measured = ", ".join(f"{name} {value:.3f}" for name, value in trained.metrics.items())
    seconds = sum(epoch.seconds for epoch in trained.history)
    print(f"{folder.name}: {trained.rows} rows, {len(trained.history)} epochs, {seconds:.0f} s; {measured}", flush=True)
    return trained.model(folder.name, dataset=subject.task.name, version=1, created_at="")


def embedded(subject: Subject, model: EmbeddingModel, device: torch.device) -> Side:
    """All rows, in mixed precision where the hardware has it."""
    gallery, queries = (
        model.embed(rows, device=device, precision="auto") for rows in (subject.gallery, subject.queries)
    )
    same = subject.task.gallery is subject.task.queries  # then what is learned from is what stands in `gallery`
    return Side(gallery, queries if same else gallery, queries)


def stored(task: Task) -> Side:
    sides = [rows.side for rows in (task.learn_from, task.gallery, task.queries)]
    return Side(*(side for side in sides if side is not None))


def scores(task: Task, queries: Array, gallery: Array, metric: Distance) -> Scores:
    assert task.queries.label is not None
    assert task.gallery.label is not None
    arguments = (queries, task.queries.label, gallery, task.gallery.label, metric, task.exclude)
    return cmc(ranks_of_first_match(*arguments), 1), average_precision(*arguments)


def lines(subject: Subject, sides: Mapping[str, Side], device: torch.device) -> Iterator[list[str]]:
    """The table."""
    task, metric = subject.task, subject.task.target.metric
    yield ["", "old/old", "", *_means(scores(task, task.queries.old, task.gallery.old, metric))]
    yield ["", "new/new", "", *_means(scores(task, task.queries.new, task.gallery.new, metric))]
    for name, vectors in sides.items():
        yield ["", "alone", name, *_means(scores(task, vectors.queries, vectors.gallery, "cosine"))]
    for pairs, method in product(subject.pairs, subject.methods):
        plain = crossed(task, pairs, method, None, device)
        yield [pairs, method, "none", *_means(plain)]
        for name, vectors in sides.items():
            beside = crossed(task, pairs, method, vectors, device)
            yield [pairs, method, name, *_means(beside), *map(_gain, beside, plain)]


def crossed(task: Task, pairs: str, method: str, side: Side | None, device: torch.device) -> Scores:
    """New queries against the gallery moved by what was learned from these pairs."""
    if side is not None:
        learn_from, gallery = replace(task.learn_from, side=side.learn_from), replace(task.gallery, side=side.gallery)
        task = replace(task, learn_from=learn_from, gallery=gallery)
    recipe = Recipe(method_named(method), side is not None)
    h = learn(recipe, chosen_pairs(task, pairs, 0), task.source, task.target, device=device, seed=0)
    transformed = h.apply(task.gallery.old, None if side is None else task.gallery.side)
    return scores(task, task.queries.new, transformed, task.target.metric)


def _means(measured: Scores) -> Iterator[str]:
    for values in measured:
        interval = bootstrap_mean(values)
        yield f"{100 * interval.mean:.1f} ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


def _gain(measured: Any, plain: Any) -> str:
    interval = paired_bootstrap(measured, plain)
    return f"{100 * interval.mean:+.1f} ({100 * interval.low:+.1f} to {100 * interval.high:+.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds clinc150/ and tiny-imagenet-100/")
    parser.add_argument("--size", choices=("small", "full"), default="small")
    parser.add_argument("--only", choices=list(SUBJECTS))
    parser.add_argument("--epochs", type=int, help="of the encoder")
    parser.add_argument("--methods", nargs="+", help="of the crossing")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="contrastive settings, as JSON")
    parser.add_argument("--out", type=Path, default=Path("crosswalk-benchmarks"), help="checkpoints")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--workers", type=int, default=0, help="processes that decode images")
    options = parser.parse_args()
    given = {name: json.loads(value) for name, _, value in (each.partition("=") for each in options.set)}
    device = resolve(options.device)
    for name in [options.only] if options.only else SUBJECTS:
        began = time.monotonic()
        subject = SUBJECTS[name](options.data, options.size)
        subject = replace(subject, methods=tuple(options.methods or subject.methods))
        settings = ContrastiveSettings.for_modality(
            subject.preprocessing.modality, epochs=options.epochs or subject.epochs, workers=options.workers, **given
        )
        method = method_of(subject.preprocessing.modality)
        untrained = replace(settings, epochs=1, learning_rate=1e-12)
        few = InputSubset(subject.learn_from, np.arange(UNTRAINED_ROWS))
        folder = options.out / f"side-information-{options.size}" / name
        sides = {
            kind: embedded(subject, encoder(subject, rows, how, folder / kind, device), device)
            for kind, rows, how in (("untrained", few, untrained), (method, subject.learn_from, settings))
        }
        print("| pairs | method | side-information | top-1 | mAP | gain in top-1 | gain in mAP |")
        print("|---|---|---|---|---|---|---|")
        for line in lines(subject, sides | {"stored": stored(subject.task)}, device):
            print(f"| {' | '.join(line + [''] * (7 - len(line)))} |", flush=True)
        print(f"{name}: {time.monotonic() - began:.0f} s on {device}")


if __name__ == "__main__":
    main()
