"""Where the time of a training step goes: the share that the backbone's forward and backward take.

    python -m benchmarks.training_step [--data DIR] [--steps 40] [--device cpu]

Decoding, augmentation, the extra loss, instance weights and the optimiser are to be hidden or small. One epoch of the
benchmark's small network (`benchmarks.compatible`) on Tiny ImageNet, or on pictures of noise where no data are given,
under PyTorch's profiler; wall-clock time of the ranges that the loop is marked with.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

from benchmarks.compatible import CLASSES, Images, sizes
from models.compatible_training import LabelledInputs, TrainingSettings, train_compatible
from models.compatible_training.instance_weights import InstanceWeightSettings
from models.device import resolve
from models.inputs import Preprocessing
from models.portable import Space

PARTS = ("waiting for data", "transfer", "backbone", "losses", "backward", "optimizer", "instance weights")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with tiny-imagenet-100/")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    options = parser.parse_args()
    rows = _rows(options.data, options.steps * options.batch)
    settings = TrainingSettings(
        epochs=2, batch=options.batch, schedule="one_cycle", instance_weights=InstanceWeightSettings(warm_up=0)
    )
    device = resolve(options.device)
    seconds = _profiled(rows, settings, device)
    total = sum(seconds.values())
    table = Table("part of a step", "seconds", "share")
    for name, value in seconds.items():
        table.add_row(name, f"{value:.2f}", f"{value / total:.1%}")
    console = Console()
    console.print(table)
    share = (seconds["backbone"] + seconds["backward"]) / total
    console.print(f"forward and backward: {share:.1%} of {total:.1f} s in {2 * options.steps} steps on {device}")


def _profiled(rows: LabelledInputs, settings: TrainingSettings, device: torch.device) -> dict[str, float]:
    architecture = sizes()["small"].new
    with tempfile.TemporaryDirectory() as folder, profile(activities=[ProfilerActivity.CPU]) as profiler:
        train_compatible(
            rows,
            LabelledInputs([], np.empty(0, np.int64), rows.old[:0]),
            classes=CLASSES,
            old=Space("old", rows.old.shape[1], "l2"),
            architecture=architecture,
            dimension=architecture.width or 0,
            preprocessing=Preprocessing.images(32),
            settings=settings,
            device=device,
            folder=Path(folder),
        )
    seconds = {event.key: event.cpu_time_total / 1e6 for event in profiler.key_averages()}
    return {part: seconds.get(part, 0.0) for part in PARTS}


def _rows(data: Path | None, many: int) -> LabelledInputs:
    rng = np.random.default_rng(0)
    if data is None:
        pictures = rng.integers(0, 256, (many, 32, 32, 3), dtype=np.uint8)
        images = Images([_jpeg(picture) for picture in pictures], rng.integers(0, CLASSES, many))
    else:
        images = Images.read(data / "tiny-imagenet-100" / "train.parquet").take(rng.permutation(50_000)[:many])
    return LabelledInputs(images.encoded, images.codes, rng.normal(size=(many, 128)).astype(np.float32))


def _jpeg(picture: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "JPEG")
    return content.getvalue()


if __name__ == "__main__":
    main()
