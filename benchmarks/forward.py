"""Forward-compatible training's comparison (FCT, arXiv 2112.02805), with what labels add, on images and on text.

    python -m benchmarks.forward --data DIR [--only tiny-imagenet] [--parts compare,sizes,speed] [--methods ridge,fct]

Tiny ImageNet: old model of 50 classes, new model of 100, side-information from SimCLR on the 50; 50,000 pairs, the
validation set as queries and gallery, own entry excluded, Euclidean. CLINC150: 18,000 pairs, gallery train, queries
test, cosine; also from 1,000 pairs. `compare` measures every method without and with side-information and labels:
figures with 95 % intervals, the share of the old-to-new gap in top-1, and what side-information adds, paired. `sizes`
cuts the side-information to its leading principal components. `speed` times fct beside the same network trained in
plain float32 with the paper's 80 epochs, and an epoch from stored features beside one that embeds the images anew.
Parts can be run one by one: results accumulate in the JSON file, and the tables show all that it holds.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.crossing import TASKS, Task
from models.device import resolve
from models.embedding_model.backbones import build
from models.evaluation.bootstrap import paired_bootstrap
from models.evaluation.searches import GallerySearch, SearchResult, evaluate
from models.portable import Architecture, Array
from models.training.precision import reduced_dtype
from models.transformations.fct import fct
from models.transformations.methods import METHODS, NETWORKS, Recipe, learn, method_named
from models.transformations.networks import BranchedNetwork
from models.transformations.pairs import Pairs, design

PAPER_EPOCHS = 80
SIZES = (16, 32, 48, 64)
FEW = 1_000
TIMED_EPOCHS = 2
TIMED_IMAGES = 2_048

KeptResults = dict[str, dict[str, Any]]


def searched(task: Task, name: str, queries: Array, gallery: Array) -> SearchResult:
    """The task's queries in one gallery."""
    search = GallerySearch(name, queries, gallery, task.target.metric)
    return evaluate(search, task.queries.label, task.gallery.label, task.exclude, ks=(1, 5))


def baselines(task: Task) -> dict[str, SearchResult]:
    """Each model alone, and new queries on old vectors, zero-padded."""
    short = max(0, task.target.dimension - task.source.dimension)
    padded = np.pad(task.gallery.old, ((0, 0), (0, short)))[:, : task.target.dimension]
    return {
        "old/old": searched(task, "old/old", task.queries.old, task.gallery.old),
        "old padded/new": searched(task, "old padded/new", task.queries.new, padded),
        "new/new": searched(task, "new/new", task.queries.new, task.gallery.new),
    }


def crossed(
    task: Task, pairs: Pairs, recipe: Recipe, device: torch.device, side: Array | None
) -> tuple[SearchResult, float]:
    """Learns one recipe and measures it; seconds of learning."""
    start = time.perf_counter()
    h = learn(recipe, pairs, task.source, task.target, device=device)
    seconds = time.perf_counter() - start
    gallery = h.apply(task.gallery.old, side if recipe.uses_side else None)
    return searched(task, recipe.name, task.queries.new, gallery), seconds


def row(task: Task, pairs: int, result: SearchResult, ends: dict[str, SearchResult], **told: Any) -> dict[str, Any]:
    """One line of the table; figures from 0 to 1."""
    figures = {f.metric: (f.interval.mean, f.interval.low, f.interval.high) for f in result.figures}
    old, new = (ends[name].figure("cmc@1").interval.mean for name in ("old/old", "new/new"))
    gap = (figures["cmc@1"][0] - old) / (new - old)
    return {"task": task.name, "pairs": pairs, "name": result.name, "figures": figures, "gap": gap, **told}


def compare(task: Task, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Every method, plain, with side-information, with labels, with both."""
    ends, device = baselines(task), resolve(options.device)
    for result in ends.values():
        yield row(task, 0, result, ends)
    order = np.random.default_rng(options.seed).permutation(len(task.learn_from))
    counts = (len(order),) if task.exclude is not None else (FEW, len(order))
    for count in counts:
        pairs = task.learn_from.subset(order[:count])
        for method in options.methods.split(","):
            results: dict[str, SearchResult] = {}
            for recipe in _variants(method, options.epochs):
                result, seconds = crossed(task, pairs, recipe, device, task.gallery.side)
                results[recipe.name] = result
                added = _side_adds(results, recipe)
                yield row(task, count, result, ends, seconds=seconds, side_adds=added)


def _variants(method: str, epochs: int) -> Iterator[Recipe]:
    name = method_named(method)
    settings = {"epochs": epochs} if name in NETWORKS else {}
    for recipe in (Recipe(name, False, settings), Recipe(name, True, settings)):
        yield recipe
        if name != "orthogonal":
            yield recipe.with_labels()


def _side_adds(results: dict[str, SearchResult], recipe: Recipe) -> dict[str, tuple[float, float, float]] | None:
    """What side-information adds to the same recipe without it, by metric: mean, low, high of the paired difference."""
    without = results.get(recipe.name.replace(" + side-information", ""))
    if not recipe.uses_side or without is None:
        return None
    with_it, added = results[recipe.name], {}
    for metric in ("cmc@1", "map"):
        gain = paired_bootstrap(with_it.figure(metric).per_query, without.figure(metric).per_query)
        added[metric] = (gain.mean, gain.low, gain.high)
    return added


def sizes(task: Task, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Ridge and fct with side-information of fewer dimensions."""
    ends, device, pairs = baselines(task), resolve(options.device), task.learn_from
    assert pairs.side is not None
    assert task.gallery.side is not None
    mean = pairs.side.mean(axis=0)
    axes = np.linalg.svd(pairs.side - mean, full_matrices=False)[2].T  # leading components first
    for size in (s for s in SIZES if s <= pairs.side.shape[1]):
        cut = Pairs(pairs.old, pairs.new, (pairs.side - mean) @ axes[:, :size], pairs.label)
        side = np.ascontiguousarray((task.gallery.side - mean) @ axes[:, :size], np.float32)
        for recipe in (Recipe("ridge", True), Recipe("fct", True, {"epochs": options.epochs}).with_labels()):
            result, seconds = crossed(task, cut, recipe, device, side)
            yield row(task, len(cut), result, ends, seconds=seconds, size=size) | {"name": f"{recipe.name}, {size}-d"}


def speed(task: Task, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """fct as it is learned here, beside the paper's 80 epochs in plain float32, and beside embedding images anew."""
    device, pairs = resolve(options.device), task.learn_from
    start = time.perf_counter()
    fct(pairs, task.source, task.target, epochs=options.epochs, device=device)
    ours = time.perf_counter() - start
    plain = _plain_epoch(task, device) * PAPER_EPOCHS
    images = _embedding_seconds(options.data, len(pairs), device)
    yield {
        "task": task.name,
        "name": "speed",
        "fit_seconds": ours,
        "plain_seconds": plain,
        "epoch_seconds": ours / options.epochs,
        "embedding_seconds": images,
    }


def _plain_epoch(task: Task, device: torch.device) -> float:
    """Seconds of an epoch of the same network: float32, batches of 1,024, Adam; the mean of some epochs."""
    d, new = design(task.learn_from, task.source, task.target), task.target.dimension
    beside = d.inputs.shape[1] - d.old_dimension
    branches = [(width, 2 * width, 2 * new) for width in (d.old_dimension, beside)]
    network = BranchedNetwork(branches[0], branches[1], (2048, 2048, new)).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-4, weight_decay=2**-15)
    inputs, outputs = (torch.from_numpy(part).to(device) for part in (d.inputs, d.outputs))
    start = time.perf_counter()
    for _ in range(TIMED_EPOCHS):
        for batch in torch.split(torch.randperm(len(inputs), device=device), 1024):
            optimizer.zero_grad()
            answers = network(inputs[batch, : d.old_dimension], inputs[batch, d.old_dimension :])
            torch.nn.functional.mse_loss(answers, outputs[batch]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return (time.perf_counter() - start) / TIMED_EPOCHS


def _embedding_seconds(data: Path, rows: int, device: torch.device) -> float:
    """Seconds to embed every image with a small ResNet of the kind that made the features, once, decoded beforehand."""
    import pyarrow.parquet as parquet

    table = parquet.read_table(data / "tiny-imagenet-100" / "val.parquet", columns=["image"]).slice(0, TIMED_IMAGES)
    images = [np.asarray(Image.open(io.BytesIO(v)).convert("RGB")) for v in table.column("image").to_pylist()]
    pixels = torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).copy())
    embedder = build(Architecture.from_json("small-resnet"), None, backbones_dir=None).to(device).eval()
    products = reduced_dtype("auto", device)
    start = time.perf_counter()
    with torch.inference_mode(), torch.autocast(device.type, products, enabled=products is not None):
        for batch in torch.split(pixels, 256):
            embedder({"pixels": batch.to(device)})
    return (time.perf_counter() - start) * rows / TIMED_IMAGES


PARTS = {"compare": compare, "sizes": sizes, "speed": speed}


def table(kept: KeptResults) -> Table:
    """Everything measured so far, but for speed."""
    shown = Table("task", "pairs", "gallery", "top-1", "top-5", "mAP", "gap closed", "side adds top-1 / mAP", "fit s")
    for line in kept.values():
        if "figures" in line:
            top1, top5, mean = (line["figures"][metric] for metric in ("cmc@1", "cmc@5", "map"))
            shown.add_row(
                line["task"],
                str(line["pairs"] or "–"),
                line["name"],
                f"{_percent(top1[0])} ({_percent(top1[1])}–{_percent(top1[2])})",
                _percent(top5[0]),
                f"{_percent(mean[0])} ({_percent(mean[1])}–{_percent(mean[2])})",
                f"{line['gap']:.0%}" if line["pairs"] else "",
                _gains(line.get("side_adds")),
                f"{line['seconds']:.0f}" if "seconds" in line else "",
            )
    return shown


def _gains(added: dict[str, Any] | None) -> str:
    if not added:
        return ""
    return " / ".join(f"{100 * g[0]:+.1f} ({100 * g[1]:+.1f} to {100 * g[2]:+.1f})" for g in added.values())


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _speeds(kept: KeptResults) -> Iterator[str]:
    for line in kept.values():
        if line["name"] == "speed":
            ours, plain, embedded = line["fit_seconds"], line["plain_seconds"], line["embedding_seconds"]
            yield (
                f"fct in {ours:.0f} s; plain float32, {PAPER_EPOCHS} epochs: {plain:.0f} s "
                f"(from {TIMED_EPOCHS} epochs): {plain / ours:.1f} times as fast"
            )
            yield (
                f"an epoch from stored features {line['epoch_seconds']:.1f} s; embedding the images anew by one model "
                f"{embedded:.0f} s more: {1 + embedded / line['epoch_seconds']:.0f} times as fast"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds clinc150/ and tiny-imagenet-100/")
    parser.add_argument("--only", choices=list(TASKS))
    parser.add_argument("--parts", default="compare")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--epochs", type=int, default=20, help="of networks")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=Path("forward.json"))
    options = parser.parse_args()
    kept: KeptResults = json.loads(options.json.read_text()) if options.json.exists() else {}
    console = Console(width=170)
    for name in [options.only] if options.only else TASKS:
        for part in options.parts.split(","):
            if part == "speed" and name != "tiny-imagenet":
                continue
            for line in PARTS[part](TASKS[name](options.data), options):
                kept[f"{name}/{line.get('pairs')}/{line['name']}"] = line
                options.json.write_text(json.dumps(kept, indent=1))
                console.print(f"{name} {line['name']}", line.get("figures", {}).get("cmc@1", ""))
    console.print(table(kept))
    for sentence in _speeds(kept):
        console.print(sentence)


if __name__ == "__main__":
    main()
