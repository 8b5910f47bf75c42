"""Compatible training on Tiny ImageNet: the papers' comparison, the table of T × λ, and label noise.

    python -m benchmarks.compatible --data DIR [--size small|paper] [--part comparison grid noise] [--out DIR] [--table]

30 % of each class's training images train the old model, 70 % the new one, which sees the old one's vectors alone. The
validation set is query and gallery, own entry excluded, Euclidean. `small`: residual networks of four basic blocks on
32 px, widths 16·2ⁱ (128-d, 10 epochs) → 24·2ⁱ (192-d, 6 epochs), one-cycle SGD, batches of 128. `paper`: ResNet-18
(512-d) → ResNet-50 (2048-d) with the paper's schedule, 90 epochs, batches of 1024; for a GPU.

Every run is kept in DIR/compatible.json with its device and seed as soon as it ends; runs that are there are not run
again, one that was interrupted goes on, and `--table` prints what there is.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from models.arrays import Codes
from models.compatible_training import CompatibleMethod, LabelledInputs, TrainingSettings, train_compatible
from models.compatible_training.instance_weights import InstanceWeightSettings, suspects
from models.compatible_training.validation import embed
from models.device import resolve
from models.evaluation.bootstrap import bootstrap_mean, paired_bootstrap
from models.evaluation.retrieval_metrics import average_precision, cmc, ranks_of_first_match
from models.inputs import Loader, Preprocessing
from models.portable import Architecture, Array, Space, publish

CLASSES, OLD_SHARE = 100, 0.3
COMPARED: tuple[CompatibleMethod, ...] = ("none", "l2", "trained", "averaged", "averaged_normalised", "random_walk")
GRID = ((1.0, 0.1), (1.0, 0.5), (1.0, 0.9), (0.1, 0.9), (0.05, 0.9))
NOISE = (0.2, 0.4)
PARTS = ("comparison", "noise", "grid")


@dataclass(frozen=True)
class Size:
    """How large both models are, and how they are trained."""

    old: Architecture
    new: Architecture
    settings: TrainingSettings
    old_epochs: int
    new_epochs: int


def _small(width: int) -> Architecture:
    config = {"embedding_size": width, "hidden_sizes": [width * 2**i for i in range(4)], "depths": [1] * 4}
    return Architecture.from_json({"type": "resnet", "config": {**config, "layer_type": "basic"}, "stem": "small"})


def sizes() -> dict[str, Size]:
    small = TrainingSettings(method="none", batch=128, learning_rate=0.1, weight_decay=5e-4, schedule="one_cycle")
    paper = TrainingSettings(method="none")
    resnet18, resnet50 = ({"type": "resnet", "config": config, "stem": "small"} for config in (_RESNET18, _RESNET50))
    return {
        "small": Size(_small(16), _small(24), small, 10, 6),
        "paper": Size(Architecture.from_json(resnet18), Architecture.from_json(resnet50), paper, 90, 90),
    }


_RESNET18: dict[str, Any] = {"hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2], "layer_type": "basic"}
_RESNET50: dict[str, Any] = {"hidden_sizes": [256, 512, 1024, 2048], "depths": [3, 4, 6, 3], "layer_type": "bottleneck"}


@dataclass(frozen=True)
class Images:
    """Encoded images and their classes, (n,) int64."""

    encoded: list[bytes]
    codes: Codes

    @classmethod
    def read(cls, path: Path) -> Images:
        table = parquet.read_table(path, columns=["image", "label"])
        return cls(table.column("image").to_pylist(), table.column("label").to_numpy().astype(np.int64))

    def take(self, rows: Codes) -> Images:
        return Images([self.encoded[row] for row in rows], self.codes[rows])


@dataclass(frozen=True)
class Run:
    """One new model of the tables."""

    method: CompatibleMethod
    damping: float = 0.9
    temperature: float = 0.1
    noise: float = 0.0
    instance_weights: bool = False

    @property
    def key(self) -> str:
        walk = f" T={self.temperature} λ={self.damping}" if self.method == "random_walk" else ""
        noise = f" noise={self.noise:.0%}" if self.noise else ""
        return f"{self.method}{walk}{noise}{' instance weights' if self.instance_weights else ''}"


def runs(part: str) -> Iterator[Run]:
    match part:
        case "comparison":
            yield from map(Run, COMPARED)
        case "grid":
            for temperature, damping in GRID:
                yield Run("random_walk", damping, temperature)
        case "noise":
            for noise in reversed(NOISE):
                for weighted in (False, True):
                    yield Run("random_walk", noise=noise, instance_weights=weighted)
                yield Run("averaged_normalised", noise=noise)
            yield Run("random_walk", instance_weights=True)


class CompatibleBench:
    """Data, old model and results of one size and seed."""

    def __init__(self, data: Path, size: str, out: Path, seed: int, device: torch.device, workers: int) -> None:
        self.size, self.name, self.out, self.seed, self.device = sizes()[size], size, out, seed, device
        self.workers = workers
        folder = data / "tiny-imagenet-100"
        train_set, self.validation = Images.read(folder / "train.parquet"), Images.read(folder / "val.parquet")
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(train_set.codes))
        rank = np.empty(len(order), np.int64)
        for code in range(CLASSES):
            mine = order[train_set.codes[order] == code]
            rank[mine] = np.arange(len(mine)) >= round(OLD_SHARE * len(mine))
        self.old_part = train_set.take(np.flatnonzero(rank == 0))
        self.new_part = train_set.take(np.flatnonzero(rank == 1))
        self.preprocessing = Preprocessing.images(32)

    @property
    def results(self) -> Path:
        return self.out / "compatible.json"

    def kept(self) -> dict[str, Any]:
        return json.loads(self.results.read_text()) if self.results.exists() else {}

    def keep(self, key: str, result: dict[str, Any]) -> None:
        about = {"device": _device_name(self.device), "threads": torch.get_num_threads(), "seed": self.seed}
        everything = {**self.kept(), self.full(key): {**result, **about}}
        publish(self.results, json.dumps(everything, indent=1, ensure_ascii=False).encode())

    def full(self, key: str) -> str:
        return f"{self.name}/seed {self.seed}/{key}"

    def old(self) -> tuple[Array, Array]:
        """The black box: its vectors of the new model's training images and of the validation images."""
        path = self.out / f"old-{self.name}-{self.seed}.npz"
        if not path.exists():
            settings = replace(self.size.settings, epochs=self.size.old_epochs, seed=self.seed)
            began = time.monotonic()
            space = Space("none", 1, "l2")
            embedder = self._trained(
                "old", self.old_part, np.zeros((len(self.old_part.codes), 1), np.float32), settings, space
            )
            vectors = self._embed(embedder, self.new_part), self._embed(embedder, self.validation)
            np.savez(path, training=vectors[0], validation=vectors[1])
            scores = self._scores(vectors[1], vectors[1])
            self.keep("old", {"self": _figures(scores), "seconds": time.monotonic() - began})
        with np.load(path) as kept:
            return kept["training"], kept["validation"]

    def run(self, run: Run) -> None:
        """Trains and measures one new model."""
        training_old, validation_old = self.old()
        codes, noisy = _with_noise(self.new_part.codes, run.noise, self.seed)
        settings = replace(
            self.size.settings,
            method=run.method,
            epochs=self.size.new_epochs,
            damping=run.damping,
            temperature=run.temperature,
            seed=self.seed,
            instance_weights=InstanceWeightSettings() if run.instance_weights else None,
        )
        space = Space("old", training_old.shape[1], "l2")
        began = time.monotonic()
        part = Images(self.new_part.encoded, codes)
        trained = self._train(run.key, part, training_old, settings, space)
        seconds = time.monotonic() - began
        new = self._embed(trained.embedder, self.validation)
        inherited = np.ascontiguousarray(new[:, : space.dimension])
        cross, self_test = self._scores(inherited, validation_old), self._scores(new, new)
        old = self._scores(validation_old, validation_old)
        gain = paired_bootstrap(cross["top1"], old["top1"])
        result: dict[str, Any] = {
            "cross": _figures(cross),
            "self": _figures(self_test),
            "gain": [gain.mean, gain.low, gain.high],
            "seconds": seconds,
            "old_accuracy": trained.old_accuracy,
        }
        if run.instance_weights and trained.instance_weights is not None and noisy.any():
            outlier = None if trained.pseudo is None else trained.pseudo.outlier
            result["auroc"] = _auroc(suspects(trained.instance_weights, outlier).suspect_label, noisy)
            result["auroc_weights_alone"] = _auroc(suspects(trained.instance_weights).suspect_label, noisy)
        if trained.pseudo is not None and trained.pseudo.outlier is not None and noisy.any():
            result["auroc_outlier"] = _auroc(-trained.pseudo.outlier, noisy)
        self.keep(run.key, result)

    def _train(self, key: str, part: Images, old: Array, settings: TrainingSettings, space: Space) -> Any:
        architecture = self.size.old if key == "old" else self.size.new
        with Progress(transient=True) as bar:
            task = bar.add_task(key)
            return train_compatible(
                LabelledInputs(part.encoded, part.codes, old),
                LabelledInputs([], np.empty(0, np.int64), old[:0]),
                classes=CLASSES,
                old=space,
                architecture=architecture,
                dimension=architecture.width or 0,
                preprocessing=self.preprocessing,
                settings=replace(settings, workers=self.workers),
                device=self.device,
                folder=self.out / "checkpoints" / self.full(key).replace("/", "-").replace(" ", "_"),
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )

    def _trained(self, key: str, part: Images, old: Array, settings: TrainingSettings, space: Space) -> Any:
        return self._train(key, part, old, settings, space).embedder

    def _embed(self, embedder: Any, images: Images) -> Array:
        with Loader(images.encoded, self.preprocessing, self.workers) as loader:
            return embed(embedder.to(self.device), loader, len(images.encoded), 512, self.device, None)

    def _scores(self, queries: Array, gallery: Array) -> dict[str, Any]:
        codes = self.validation.codes
        own = np.arange(len(codes))
        ranks = ranks_of_first_match(queries, codes, gallery, codes, "l2", own)
        return {
            "top1": cmc(ranks, 1),
            "top5": cmc(ranks, 5),
            "map": average_precision(queries, codes, gallery, codes, "l2", own),
        }


def _figures(scores: dict[str, Any]) -> dict[str, list[float]]:
    """Mean and the ends of the 95 % interval over queries, by metric."""
    intervals = {name: bootstrap_mean(values) for name, values in scores.items()}
    return {name: [interval.mean, interval.low, interval.high] for name, interval in intervals.items()}


def _with_noise(codes: Codes, share: float, seed: int) -> tuple[Codes, Any]:
    """Labels of which a share is replaced by another one, drawn uniformly; and which."""
    rng = np.random.default_rng([seed, 1])
    noisy = rng.random(len(codes)) < share
    shifted = (codes + rng.integers(1, CLASSES, len(codes))) % CLASSES
    return np.where(noisy, shifted, codes), noisy


def _auroc(score: Any, positive: Any) -> float:
    """The probability that a positive scores above a negative (Mann–Whitney), ties counting half."""
    values, code = np.unique(score, return_inverse=True)
    ahead = np.bincount(code[~positive], minlength=len(values)).astype(np.float64)
    below = np.cumsum(ahead) - ahead / 2
    return float(below[code[positive]].mean() / (~positive).sum())


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def print_table(kept: dict[str, Any], console: Console) -> None:
    """Everything measured so far; figures in %, with the ends of their intervals."""
    table = Table("run", "cross top-1", "top-5", "mAP", "cross − old/old", "self top-1", "top-5", "mAP", "AUROC", "min")
    for key, figures in kept.items():
        gain = figures.get("gain")
        table.add_row(
            key,
            *_cells(figures.get("cross")),
            "–" if gain is None else f"{100 * gain[0]:+.1f} ({100 * gain[1]:+.1f} to {100 * gain[2]:+.1f})",
            *_cells(figures["self"]),
            "–" if "auroc" not in figures else f"{figures['auroc']:.2f}",
            f"{figures['seconds'] / 60:.1f}",
        )
    console.print(table)


def _cells(figures: dict[str, list[float]] | None) -> list[str]:
    if figures is None:
        return ["–"] * 3
    mean, low, high = figures["top1"]
    top1 = f"{100 * mean:.1f} ({100 * low:.1f} to {100 * high:.1f})"
    return [top1, *(f"{100 * figures[name][0]:.1f}" for name in ("top5", "map"))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with tiny-imagenet-100/")
    parser.add_argument("--size", choices=("small", "paper"), default="small")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--only", nargs="+", metavar="RUN", help="runs of those parts, by their name in the table")
    parser.add_argument("--out", type=Path, default=Path("crosswalk-benchmarks"), help="results and checkpoints")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--workers", type=int, default=1, help="processes that decode images")
    parser.add_argument("--table", action="store_true", help="only print what has been measured")
    options = parser.parse_args()
    console = Console(width=200)
    if not options.table:
        if options.data is None:
            parser.error("--data is needed to measure")
        options.out.mkdir(parents=True, exist_ok=True)
        bench = CompatibleBench(
            options.data, options.size, options.out, options.seed, resolve(options.device), options.workers
        )
        bench.old()
        for run in dict.fromkeys(run for part in options.part for run in runs(part)):
            if bench.full(run.key) not in bench.kept() and (options.only is None or run.key in options.only):
                bench.run(run)
                print_table({k: v for k, v in bench.kept().items() if k == bench.full(run.key)}, console)
    results = options.out / "compatible.json"
    print_table(json.loads(results.read_text()) if results.exists() else {}, console)


if __name__ == "__main__":
    main()
