"""How much faster two workers transform a gallery than one, beside what this machine gives two processes at all.

    OMP_NUM_THREADS=1 python -m benchmarks.transform_workers [--rows 400000 --dimension 256 --method fct] [--json FILE]

A gallery is filled through the store and a crossing is learned from 4,000 pairs, once for each number of workers. The
step `transform` and those who help it run as a supervisor runs them, each in a process of its own with one thread.
Seconds are by the wall clock from the first claim to the end of the step: starts of processes, the checksums of the
items, and the commit included, which one process does alone. CPU seconds are those of all processes together: where
they do not grow, the work was divided and none was done twice.

The baseline applies the same transformation to arrays of as many rows in memory, in batches of 8,192, first in one
process and then in two that take half of it each: what the machine gives two processes, whatever else runs on it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import tempfile
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from sqlalchemy import select

from app.composition import compose
from app.jobs.tables import JobRow
from app.jobs.values import JobState
from app.settings import Settings
from app.storage.database import Database
from app.storage.migrate import migrate
from app.upgrades.tables import TransformUnitRow
from app.upgrades.transform_units import HELP
from benchmarks.streaming import BATCH, World, begun, filled, learned
from models.portable import Space, Transformation, load_transformation, save_transformation
from workers.runtime.program import CROSSWALK, Program
from workers.runtime.supervisor import Supervisor
from workers.steps import STEPS

_LOOK_SECONDS = 0.02


@dataclass(frozen=True)
class TransformRun:
    """One gallery transformed: by how many workers, and the rows that each did, most first."""

    workers: int
    rows: int
    seconds: float
    cpu_seconds: float
    shares: list[int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--dimension", type=int, default=256)
    parser.add_argument("--method", choices=["ridge", "fct"], default="fct")
    parser.add_argument("--unit-rows", type=int, default=Settings.model_fields["transform_unit_rows"].default)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    world = World(asked.dimension)
    source, target = (Space(name, asked.dimension, "cosine") for name in ("old", "new"))
    transformation = learned(world, source, target, asked.method)
    runs = [_transformed(asked, world, transformation, count) for count in asked.workers]
    bare = [_bare(asked, transformation, count) for count in asked.workers]
    _print(asked, runs, bare)
    if asked.json is not None:
        asked.json.write_text(json.dumps({"transform": [asdict(run) for run in runs], "bare": bare}, indent=2))


def _transformed(asked: argparse.Namespace, world: World, transformation: Transformation, workers: int) -> TransformRun:
    with tempfile.TemporaryDirectory(prefix="crosswalk-benchmark-") as folder:
        settings = Settings(
            data_dir=Path(folder), worker_concurrency=workers, sweep_seconds=0.1, transform_unit_rows=asked.unit_rows
        )
        crosswalk = compose(settings)
        migrate(crosswalk.database)
        filled(crosswalk, world, asked.rows, "auto")
        begun(crosswalk, transformation)
        program = Program(CROSSWALK.entry, {name: STEPS[name] for name in ("transform", HELP)}, CROSSWALK.failed)
        supervisor = Supervisor(settings, program, lambda: None)
        cpu, began = _cpu_of_children(), time.perf_counter()
        supervisor.start()
        shares = _watched(crosswalk.database)
        seconds = time.perf_counter() - began
        supervisor.stop()
        cpu = _cpu_of_children() - cpu
        crosswalk.close()
        return TransformRun(workers, asked.rows, seconds, cpu, sorted(shares.values(), reverse=True))


def _watched(database: Database) -> Counter[str]:
    """Returns when the step has ended: how many rows each process did."""
    seen: dict[int, tuple[str, int]] = {}
    while True:
        with database.read() as session:
            columns = (TransformUnitRow.number, TransformUnitRow.holder, TransformUnitRow.rows)
            held = session.execute(select(*columns).where(TransformUnitRow.holder.is_not(None)))
            seen |= {number: (holder, rows) for number, holder, rows in held if holder is not None}
            state, error = session.execute(select(JobRow.state, JobRow.error).where(JobRow.step == "transform")).one()
        if state == JobState.SUCCEEDED:
            shares: Counter[str] = Counter()
            for holder, rows in seen.values():
                shares[holder] += rows
            return shares
        if state == JobState.FAILED:
            raise RuntimeError(error)
        time.sleep(_LOOK_SECONDS)


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _bare(asked: argparse.Namespace, transformation: Transformation, processes: int) -> float:
    """Seconds that so many processes take to apply the transformation to all rows, each to its share."""
    with tempfile.TemporaryDirectory(prefix="crosswalk-benchmark-") as folder:
        save_transformation(transformation, Path(folder))
        context = multiprocessing.get_context("spawn")
        ready, go = context.Barrier(processes + 1), context.Barrier(processes + 1)
        arguments = (Path(folder), asked.dimension, asked.rows // processes, ready, go)
        running = [context.Process(target=_apply, args=arguments) for _ in range(processes)]
        for process in running:
            process.start()
        ready.wait()
        began = time.perf_counter()
        go.wait()
        for process in running:
            process.join()
        return time.perf_counter() - began


def _apply(folder: Path, dimension: int, rows: int, ready: threading.Barrier, go: threading.Barrier) -> None:
    spaces = (Space(name, dimension, "cosine") for name in ("old", "new"))
    source, target = spaces
    transformation = load_transformation(folder, source=source, target=target)
    chunks = [vectors for _, vectors in World(dimension).old(rows)]
    ready.wait()
    go.wait()
    for vectors in chunks:
        for start in range(0, len(vectors), BATCH):
            transformation.apply(vectors[start : start + BATCH])


def _print(asked: argparse.Namespace, runs: list[TransformRun], bare: list[float]) -> None:
    columns = ("workers", "seconds", "times as fast", "rows/s", "CPU seconds", "rows each", "bare: times as fast")
    table = Table(
        *columns, title=f"{asked.rows:,} x {asked.dimension}, {asked.method}, {asked.unit_rows:,} rows a unit"
    )
    for run, seconds in zip(runs, bare, strict=True):
        table.add_row(
            str(run.workers),
            f"{run.seconds:.1f}",
            f"{runs[0].seconds / run.seconds:.2f}",
            f"{run.rows / run.seconds:,.0f}",
            f"{run.cpu_seconds:.1f}",
            " + ".join(f"{share:,}" for share in run.shares),
            f"{bare[0] / seconds:.2f}",
        )
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
