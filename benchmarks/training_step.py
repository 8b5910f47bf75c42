"""Where the time of a training step goes: the share that the backbone's forward and backward take.

    python -m benchmarks.training_step [--data DIR] [--steps 40] [--device cpu]
    python -m benchmarks.training_step --data DIR --steps 400 --device cuda --size paper --batch 1024 --workers 1

Decoding, augmentation, the extra loss, instance weights and the optimiser are to be hidden or small. Two epochs of one
of the networks of `benchmarks.compatible` on Tiny ImageNet, or on pictures of noise where no data are given, under
PyTorch's profiler: wall-clock time of the ranges that the loop is marked with. A GPU works while the loop goes on, so
that its ranges say where the loop is, not what the GPU does: there the rows a second of a second epoch are told too,
without the profiler, and the share of that time in which the GPU computes.
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
from models.compatible_training import LabelledInputs, Trained, TrainingSettings, train_compatible
from models.compatible_training.instance_weights import InstanceWeightSettings
from models.device import resolve
from models.inputs import Preprocessing
from models.portable import Architecture, Space

PROFILED = 20  # steps of an epoch on a GPU, of which the profiler keeps thousands of events each
PARTS = ("waiting for data", "transfer", "backbone", "losses", "backward", "optimizer", "instance weights")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with tiny-imagenet-100/")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--size", choices=("small", "paper"), default="small")
    parser.add_argument("--workers", type=int, default=1, help="processes that decode images")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    options = parser.parse_args()
    rows = _rows(options.data, options.steps * options.batch)
    settings = TrainingSettings(
        epochs=2,
        batch=options.batch,
        schedule="one_cycle",
        instance_weights=InstanceWeightSettings(warm_up=0),
        workers=options.workers,
    )
    device, architecture = resolve(options.device), sizes()[options.size].new
    profiled = rows if device.type == "cpu" else rows.take(np.arange(PROFILED * options.batch))
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        _train(profiled, settings, architecture, device)
    spent = {event.key: event.cpu_time_total / 1e6 for event in profiler.key_averages()}
    seconds = {part: spent.get(part, 0.0) for part in PARTS}
    total = sum(seconds.values())
    table = Table("part of a step", "seconds", "share")
    for name, value in seconds.items():
        table.add_row(name, f"{value:.2f}", f"{value / total:.1%}")
    console = Console()
    console.print(table)
    share = (seconds["backbone"] + seconds["backward"]) / total
    console.print(
        f"forward and backward: {share:.1%} of {total:.1f} s in {2 * len(profiled) // options.batch} steps on {device}"
    )

    if device.type == "cuda":
        epoch = _train(rows, settings, architecture, device).epochs[1].seconds
        with profile(activities=[ProfilerActivity.CUDA]) as profiler:
            _train(rows.take(np.arange(PROFILED * options.batch)), settings, architecture, device)
        computing = sum(event.self_device_time_total for event in profiler.key_averages()) / 1e6 / 2
        computing *= options.steps / PROFILED
        console.print(f"{len(rows) / epoch:,.0f} rows a second; {torch.cuda.get_device_name(device)} computes", end=" ")
        console.print(f"{computing / epoch:.0%} of the time; {options.workers} processes decode")


def _train(
    rows: LabelledInputs, settings: TrainingSettings, architecture: Architecture, device: torch.device
) -> Trained:
    with tempfile.TemporaryDirectory() as folder:
        return train_compatible(
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
