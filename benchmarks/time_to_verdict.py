"""How long a user waits for a verdict, over HTTP, and where the time goes.

    python -m benchmarks.time_to_verdict --data DIR [--rows 18000] [--pairs 1000] [--migration NAME] [--top 40]
                                         [--json FILE] [--plain] [--slots 1]

Starts the service in a temporary folder, uploads a gallery of CLINC150 and random pairs, and asks for an upgrade with
`dry_run` and the method `auto`. A step is timed from the beginning of its process; *start* is until its own code runs.
Processor seconds are of all threads, and are what to compare on a machine that others use as well. Functions are shown
with what they call included. --plain: without the profile, which costs a little: wall time and the candidates alone.
--rows beyond the 18,000 that there are: the same items over and over, each time moved a little at random.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import uvicorn
from rich.console import Console
from rich.table import Table

from app.http.listener import listen
from app.http.server import server_config
from app.main import create_app
from app.settings import Settings
from app.storage.lance_table import vector_type
from app.upgrades.states import UpgradeState
from benchmarks.crossing import Task
from benchmarks.real_migrations import migrations
from benchmarks.timed_step import FOLDER
from models.portable import Array
from models.transformations.pairs import Pairs
from workers.runtime.celery import EmbeddedWorker
from workers.runtime.program import CROSSWALK

_POLL_SECONDS = 0.5
_NOISE = 0.3
_PARQUET = {"content-type": "application/vnd.apache.parquet"}
_TIMED = replace(CROSSWALK, entry="benchmarks.timed_step")
_OVER = (UpgradeState.EVALUATED, UpgradeState.FAILED)


@contextmanager
def service(folder: Path, *, profiled: bool, slots: int) -> Iterator[httpx.Client]:
    """A client of the service with its worker of so many slots, both of this process, while the context is open."""
    program = _TIMED if profiled else CROSSWALK
    settings = Settings(data_dir=folder, worker_concurrency=slots)
    application = create_app(settings, lambda settings: EmbeddedWorker(settings, program))
    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(server_config(application))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=300) as client:
            while thread.is_alive() and not server.started:
                time.sleep(_POLL_SECONDS)
            yield client
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def upload(client: httpx.Client, task: Task, rows: int, pairs: int, seed: int) -> None:
    """Registers both models, and puts the gallery and the pairs, drawn at random from it."""
    gallery = task.gallery
    for space in (task.source, task.target):
        _ok(client.post("/models", json={"id": space.model, "dimension": space.dimension, "metric": space.metric}))
    side = {} if gallery.side is None else {"side_information": {"dimension": gallery.side.shape[1]}}
    _ok(client.post("/galleries", json={"id": "gallery", "model": task.source.model, **side}))
    _ok(client.post("/datasets", json={"id": "pairs", **side}))
    every = np.arange(rows)
    some = np.sort(np.random.default_rng(seed).permutation(rows)[:pairs])
    items, of_pairs = _columns(task, every), _columns(task, some)
    stored = {"embedding": _vectors(gallery.old[every])}
    _put(client, f"/galleries/gallery/items?model={task.source.model}", {**items, **stored})
    known = {
        f"embedding.{task.source.model}": _vectors(gallery.old[some]),
        f"embedding.{task.target.model}": _vectors(gallery.new[some]),
    }
    _put(client, "/datasets/pairs/rows", {**of_pairs, **known})


def enlarged(task: Task, rows: int) -> Task:
    """The task with a gallery of so many items, in all its vectors: its own over and over, each copy but the first with
    noise of `_NOISE` times what a component varies."""
    gallery, rng = task.gallery, np.random.default_rng(0)
    place = np.arange(rows) % len(gallery)
    copies = np.arange(rows) >= len(gallery)

    def moved(vectors: Array) -> Array:
        noise = rng.standard_normal((int(copies.sum()), vectors.shape[1]), np.float32)
        found = vectors[place]
        found[copies] += np.float32(_NOISE) * vectors.std(axis=0) * noise
        return found

    label = None if gallery.label is None else gallery.label[place]
    side = None if gallery.side is None else moved(gallery.side)
    return replace(task, gallery=Pairs(moved(gallery.old), moved(gallery.new), side, label))


def _columns(task: Task, rows: np.ndarray[Any, np.dtype[np.int64]]) -> dict[str, pa.Array]:
    gallery = task.gallery
    columns = {"id": pa.array([f"item-{row}" for row in rows])}
    if gallery.label is not None:
        columns["label"] = pa.array([str(label) for label in gallery.label[rows]])
    if gallery.side is not None:
        columns["side_information"] = _vectors(gallery.side[rows])
    return columns


def _vectors(rows: Array) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(rows, np.float32).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, type=vector_type(rows.shape[1]))


def _put(client: httpx.Client, path: str, columns: Mapping[str, pa.Array]) -> None:
    body = io.BytesIO()
    pq.write_table(pa.table(dict(columns)), body)
    _ok(client.put(path, content=body.getvalue(), headers=_PARQUET))


def _ok(answer: httpx.Response) -> Any:
    if answer.is_error:
        raise RuntimeError(f"{answer.request.method} {answer.request.url}: {answer.text}")
    return answer.json()


def upgrade(client: httpx.Client, task: Task) -> tuple[dict[str, Any], float, float]:
    """The upgrade when it has ended, when it was asked for (seconds since 1970), and how long it took."""
    asked = {"to": task.target.model, "dataset": "pairs", "galleries": ["gallery"], "dry_run": True}
    at, began = time.time(), time.perf_counter()
    started = _ok(client.post(f"/models/{task.source.model}/upgrade", json=asked))
    while (now := _ok(client.get(f"/upgrades/{started['id']}")))["state"] not in _OVER:
        time.sleep(_POLL_SECONDS)
    return now, at, time.perf_counter() - began


def show_steps(console: Console, steps: Sequence[Mapping[str, Any]], asked: float, top: int) -> None:
    """Where the time of every step's process went."""
    table = Table(title="Steps: seconds of wall, and of the processor (CPU)")
    for heading in ("step", "waited", "start", "start CPU", "run", "run CPU", "peak MiB"):
        table.add_column(heading, justify="right")
    before = asked
    for step in steps:
        wall = (step["started"] - before, step["began"] - step["started"], step["ended"] - step["began"])
        table.add_row(
            step["step"],
            f"{wall[0]:.1f}",
            f"{wall[1]:.1f}",
            f"{step['cpu_before']:.1f}",
            f"{wall[2]:.1f}",
            f"{step['cpu'] - step['cpu_before']:.1f}",
            f"{step['peak_mib']:.0f}",
        )
        before = step["ended"]
    console.print(table)
    for step in steps:
        functions = Table("function", "CPU", title=step["step"])
        for name, seconds in sorted(step["functions"].items(), key=lambda item: -item[1])[:top]:
            functions.add_row(name, f"{seconds:.2f}")
        console.print(functions)


def show_candidates(console: Console, learned: Mapping[str, Any]) -> None:
    """Every candidate with its seconds, and why it was left out."""
    table = Table("candidate", "seconds", learned["metric"], "not tried, since", title="Candidates")
    for each in learned["candidates"]:
        held_out = each["held_out"]
        figure = "" if held_out is None else f"{held_out['mean']:.1%}"
        table.add_row(each["name"], f"{each['fit_seconds']:.2f}", figure, each["skipped"] or "")
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds clinc150/")
    parser.add_argument("--rows", type=int, default=18_000)
    parser.add_argument("--pairs", type=int, default=1_000)
    parser.add_argument("--migration", default="tf-idf + side → minilm", help="of benchmarks.real_migrations")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--top", type=int, default=40, help="functions shown for each step")
    parser.add_argument("--json", type=Path, help="write everything here")
    parser.add_argument("--plain", action="store_true", help="without the profile")
    parser.add_argument(
        "--slots", type=int, default=1, help="steps that run at once: training beside the index, with 2"
    )
    options = parser.parse_args()
    console = Console(width=160)
    task = enlarged(migrations(options.data)[options.migration](), options.rows)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ[FOLDER] = name
        with service(folder / "data", profiled=not options.plain, slots=options.slots) as client:
            upload(client, task, options.rows, options.pairs, options.seed)
            ended, asked, seconds = upgrade(client, task)
            report = _ok(client.get(f"/upgrades/{ended['id']}/report"))
        found = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    steps = sorted(found, key=lambda step: float(step["started"]))
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = children.ru_utime + children.ru_stime
    console.print(f"{options.migration}: {ended['state']} after {seconds:.1f} s, {cpu:.1f} s of the steps' processors")
    if steps:
        show_steps(console, steps, asked, options.top)
    show_candidates(console, report["learned"])
    if options.json:
        written = {"wall": seconds, "cpu": cpu, "steps": steps, "report": report}
        options.json.write_text(json.dumps(written, indent=1))


if __name__ == "__main__":
    main()
