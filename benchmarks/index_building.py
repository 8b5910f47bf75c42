"""How long an inverted file takes to build on a GPU, beside the processors of the same machine in the same run.

    python -m benchmarks.index_building                            # 1,000,000 × 128, ivf_sq8, cuda beside cpu
    python -m benchmarks.index_building --rows 1000000 --dimension 512 --kinds ivf_flat ivf_sq8

Rows are those of `benchmarks.index_speed`, in memory. Told apart are: learning the centroids; building, which is that,
finding the nearest centroid of every row, and filling the lists, which is always the processor's; and publishing, which
is all that a step does: writing the vectors, building, tuning the effort by searches on the processor, writing the
lists. What a process waits for at its first use of a GPU is shown apart, once, and is in none of the other times. The
devices take turns; each time is the best of the rounds, and a ratio above 1 is how many times as fast the GPU is.
Recall is that of the published index as it was tuned, and the effort what it takes: better centroids need less.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from app.faiss_library import faiss
from app.index import IndexOptions, Kind, Snapshot, Vectors, publish
from app.index.device import comparing, on_gpus
from app.index.inverted_file import SEED, TRAINING_ROWS, InvertedFile, QuantisedFile
from app.index.rabitq import RaBitQFile
from app.settings import IndexDevice
from benchmarks.index_speed import batches, data

STRUCTURES: dict[Kind, type[InvertedFile]] = {
    "ivf_flat": InvertedFile,
    "ivf_sq8": QuantisedFile,
    "ivf_rabitq": RaBitQFile,
}
DEVICES: tuple[IndexDevice, ...] = ("cpu", "cuda")


@dataclass
class Built:
    """Seconds, the best of the rounds so far; recall and effort of the last published."""

    learned: float = np.inf
    built: float = np.inf
    published: float = np.inf
    recall: float = 0.0
    effort: int = 0


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def start_of_gpu() -> float:
    """Seconds until a GPU has compared one vector with another, for a process that has not used it yet."""

    def compare() -> None:
        flat = faiss.IndexFlat(8)
        flat.add(np.eye(8, dtype=np.float32))
        with comparing(flat, "cuda", centroids=8, rows=8) as centroids:
            centroids.search(np.eye(8, dtype=np.float32), 1)

    return seconds(compare)


def measure(rows: Vectors, kind: Kind, device: IndexDevice, so_far: Built) -> None:
    """One round."""
    structure = STRUCTURES[kind]
    options = IndexOptions(kind=kind)
    settled = replace(options, nlist=options.nlist_for(len(rows)))
    assert settled.nlist is not None
    size = min(len(rows), settled.nlist * TRAINING_ROWS)
    sample = np.ascontiguousarray(rows[np.sort(np.random.default_rng(SEED).choice(len(rows), size, replace=False))])
    nlist = settled.nlist
    so_far.learned = min(so_far.learned, seconds(lambda: structure.trained(sample, nlist, "cosine", device)))
    so_far.built = min(so_far.built, seconds(lambda: structure.build(rows, "cosine", settled, device)))
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        directory = publish(
            Path(folder),
            batches(rows),
            metric="cosine",
            dimension=rows.shape[1],
            version=1,
            options=options,
            device=device,
        )
        so_far.published = min(so_far.published, time.perf_counter() - began)
        manifest = Snapshot.load(directory, check_at_once=0).manifest
    tuned = manifest.tuning("cosine")
    so_far.recall, so_far.effort = manifest.recall, tuned.effort if tuned else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--kinds", nargs="+", choices=list(STRUCTURES), default=["ivf_sq8"])
    parser.add_argument("--devices", nargs="+", choices=DEVICES, default=DEVICES)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    gpu = "cuda" in options.devices and on_gpus("cuda")
    if gpu:
        print(f"first use of a GPU: {start_of_gpu():.2f} s; again in the same process: {start_of_gpu():.2f} s")
    rows, _ = data(options.rows, options.dimension, 1)
    cores = len(os.sched_getaffinity(0))
    console = Console(width=150)
    table = Table("kind", "device", "learn, s", "build, s", "publish, s", "recall", "effort")
    for kind in options.kinds:
        made = {device: Built() for device in options.devices}
        for _ in range(options.rounds):
            for device, so_far in made.items():
                measure(rows, kind, device, so_far)
        for device, one in made.items():
            times = (one.learned, one.built, one.published)
            table.add_row(kind, device, *(f"{each:.2f}" for each in times), f"{one.recall:.4f}", str(one.effort))
        if len(made) > 1:
            cpu, cuda = made["cpu"], made["cuda"]
            ratios = (cpu.learned / cuda.learned, cpu.built / cuda.built, cpu.published / cuda.published)
            table.add_row(kind, "cpu / cuda", *(f"{ratio:.1f} ×" for ratio in ratios), "", "")
    console.print(f"{len(rows):,} × {rows.shape[1]}, {faiss.omp_get_max_threads()} threads on {cores} cores")
    console.print(table)


if __name__ == "__main__":
    main()
