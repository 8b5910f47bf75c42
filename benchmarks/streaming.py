"""Transforming and indexing a large gallery: how fast, and in how much memory, beside a bare loop over arrays.

    python -m benchmarks.streaming [--rows 1000000 --dimension 128 --method ridge|fct] [--index auto] [--json FILE]

A gallery is filled through the store in a few bulk writes, a crossing is learned from 4,000 pairs, and the steps
`transform` and `index` run as a worker runs them: claimed from the job table, each in a process of its own. Seconds are
those of the whole process, its start and imports included; memory is the most that it had resident at once.

The baseline does the same work on the same arrays in memory, in this run: it applies the transformation to batches of
8,192 rows, and has FAISS build an index of the same kind and size. It stores nothing and tunes nothing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import torch
from rich.console import Console
from rich.table import Table

from app.artifacts.folder import UpgradeArtifacts
from app.composition import Crosswalk, compose
from app.faiss_library import faiss
from app.galleries.schemas import IndexChoice, NewGallery
from app.index import Snapshot
from app.index.inverted_file import TRAINING_ROWS
from app.jobs.leases import Leases
from app.registry.schemas import NewModel
from app.settings import Settings
from app.storage.database import Database
from app.storage.lance_table import vector_type
from app.storage.migrate import migrate
from app.upgrades.states import Event
from benchmarks.learned_upgrade import start_learned
from models.portable import Array, Space, Transformation, save_transformation
from models.transformations.fct import fct
from models.transformations.linear import ridge
from models.transformations.pairs import Pairs
from workers.runtime.child_process import Child
from workers.runtime.program import CROSSWALK

GALLERY = "benchmark"
LATENT, PAIRS, WRITES, BATCH, CHUNK = 16, 4_000, 4, 8_192, 50_000
GIB = 2**30
_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class MeasuredWork:
    """What was done to `rows` rows: seconds by the wall clock and of the CPUs, and the peak in bytes (0: unknown)."""

    what: str
    rows: int
    seconds: float
    cpu_seconds: float
    peak: int = 0

    @property
    def pace(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds

    def then(self, other: MeasuredWork, what: str) -> MeasuredWork:
        """This work and then the other on the same rows: their seconds together, and the higher of their peaks."""
        seconds, cpu = self.seconds + other.seconds, self.cpu_seconds + other.cpu_seconds
        return MeasuredWork(what, self.rows, seconds, cpu, max(self.peak, other.peak))


@dataclass(frozen=True)
class World:
    """Two models' views of one latent mixture, made chunk by chunk, the same every time."""

    dimension: int

    def views(self, chunk: int, rows: int) -> tuple[Array, Array]:
        """Old and new vectors (rows, dimension) float32 of one chunk."""
        fixed = np.random.default_rng(0)
        centres = fixed.standard_normal((200, LATENT), np.float32)
        eyes = fixed.standard_normal((2, LATENT, self.dimension), np.float32)
        random = np.random.default_rng([1, chunk])
        latent = centres[random.integers(len(centres), size=rows)]
        latent = latent + 0.5 * random.standard_normal((rows, LATENT), np.float32)
        old, new = (latent @ eye + 0.3 * random.standard_normal((rows, self.dimension), np.float32) for eye in eyes)
        return old, new

    def old(self, rows: int) -> Iterator[tuple[int, Array]]:
        """Where each chunk starts, and its old vectors."""
        for start in range(0, rows, CHUNK):
            yield start, self.views(start, min(CHUNK, rows - start))[0]


def learned(world: World, source: Space, target: Space, method: str) -> Transformation:
    """A crossing fitted to pairs that are not in the gallery."""
    pairs = Pairs(*world.views(-1 % 2**32, PAIRS))
    if method == "fct":
        return fct(pairs, source, target, epochs=2, device=torch.device("cpu"))
    return ridge(pairs, source, target)


def filled(crosswalk: Crosswalk, world: World, rows: int, kind: str) -> MeasuredWork:
    """Registers two models and a gallery, and writes every item to it."""
    dimension = world.dimension
    for model in ("old", "new"):
        crosswalk.models.create(NewModel(id=model, dimension=dimension, metric="cosine"))
    crosswalk.galleries.create(NewGallery(id=GALLERY, model="old", index=IndexChoice.model_validate({"kind": kind})))
    store = crosswalk.galleries.store(crosswalk.galleries.info(GALLERY))
    schema = pa.schema({"id": pa.string(), "label": pa.string(), "embedding": vector_type(dimension)})

    def batch(start: int, vectors: Array) -> pa.RecordBatch:
        names = [f"item-{start + place:08d}" for place in range(len(vectors))]
        labels = [f"class-{place % 100}" for place in range(len(vectors))]
        flat = pa.array(vectors.ravel())
        embeddings = pa.FixedSizeListArray.from_arrays(flat, dimension)
        return pa.RecordBatch.from_arrays([pa.array(names), pa.array(labels), embeddings], schema=schema)

    made = [batch(start, vectors) for start, vectors in world.old(rows)]
    shares = [share.tolist() for share in np.array_split(np.arange(len(made)), min(WRITES, len(made)))]

    def write() -> None:
        for share in shares:
            store.put("old", dimension, lambda: (), schema, partial(map, made.__getitem__, share))

    return clocked("bulk writes", rows, write)


def begun(crosswalk: Crosswalk, transformation: Transformation) -> None:
    """An upgrade that has been proved and is about to transform its gallery."""
    card = transformation.card
    upgrade = start_learned(crosswalk, card.source, card.target, GALLERY)
    artifacts = UpgradeArtifacts(crosswalk.settings.artifacts_dir, upgrade)
    for path in (artifacts.chosen, artifacts.plain):
        save_transformation(transformation, path)
    with crosswalk.database.session() as session:
        crosswalk.upgrade_steps.advance(session, upgrade, Event.ACCEPTED, "transform")


def worked(settings: Settings, rows: int) -> MeasuredWork:
    """Claims the step that is due and sees its process through. Raises RuntimeError where the step did not finish."""
    database = Database(settings.sqlalchemy_url)
    leases = Leases(database, settings, CROSSWALK.failed(settings))
    lease = leases.claim(CROSSWALK.steps)
    if lease is None:
        raise RuntimeError("no step is due")
    began = time.perf_counter()
    child = Child(CROSSWALK, settings, lease)
    process, peak, cpu = psutil.Process(child.pid), 0, 0.0
    while (status := child.wait(_POLL_SECONDS)) is None:
        with process.oneshot():
            try:
                peak, times = max(peak, _most_resident(process.pid)), process.cpu_times()
                cpu = times.user + times.system
            except (psutil.NoSuchProcess, OSError, StopIteration):  # It has just ended.
                continue
    seconds = time.perf_counter() - began
    if status != 0:
        raise RuntimeError(child.reason())
    database.close()
    return MeasuredWork(f"step {lease.step}", rows, seconds, cpu, peak)


def _most_resident(pid: int) -> int:
    """The kernel's own high-water mark, in bytes: nothing between two looks is missed."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def bare_transform(transformation: Transformation, old: Array) -> tuple[MeasuredWork, Array]:
    """The loop that a script would have: (n, d) float32 in and out."""
    new = np.empty((len(old), transformation.card.target.dimension), np.float32)

    def loop() -> None:
        for start in range(0, len(old), BATCH):
            new[start : start + BATCH] = transformation.apply(old[start : start + BATCH])

    return clocked("bare loop", len(old), loop), new


def bare_index(new: Array, snapshot: Snapshot) -> MeasuredWork:
    """What FAISS takes for an index of the same kind and size as a published one."""
    kind, dimension = snapshot.manifest.kind, new.shape[1]

    def build() -> None:
        flat = faiss.IndexFlatIP(dimension)
        if kind == "flat":
            flat.add(new)
        elif kind == "hnsw":
            faiss.IndexHNSWFlat(dimension, snapshot.manifest.options.m, faiss.METRIC_INNER_PRODUCT).add(new)
        else:
            nlist = faiss.read_index(str(snapshot.directory / "index.faiss"), faiss.IO_FLAG_MMAP).nlist
            index = faiss.IndexIVFFlat(flat, dimension, nlist, faiss.METRIC_INNER_PRODUCT)
            index.cp.max_points_per_centroid = TRAINING_ROWS
            index.train(new)
            index.add(new)

    return clocked(f"bare FAISS, {kind}", len(new), build)


def clocked(what: str, rows: int, work: Callable[[], object]) -> MeasuredWork:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return MeasuredWork(what, rows, time.perf_counter() - wall, time.process_time() - cpu)


def published(crosswalk: Crosswalk) -> Snapshot:
    """The index that the steps made."""
    info = crosswalk.galleries.info(GALLERY)
    folder = crosswalk.galleries.store(info).index_folder(info.active)
    return Snapshot.load(folder / str(info.current.index_name))


def shown(lines: list[tuple[MeasuredWork, MeasuredWork | None]], index_bytes: int) -> Table:
    """One line for each thing measured, and what it is set against."""
    table = Table("what", "seconds", "CPU seconds", "rows/s", "of the baseline's rows/s", "per CPU second", "peak, GiB")
    for one, baseline in lines:
        ratios = ("", "")
        if baseline is not None:
            ratios = f"{one.pace / baseline.pace:.2f}", f"{baseline.cpu_seconds / one.cpu_seconds:.2f}"
        peak = f"{one.peak / GIB:.2f}" if one.peak else ""
        table.add_row(one.what, f"{one.seconds:.1f}", f"{one.cpu_seconds:.1f}", f"{one.pace:,.0f}", *ratios, peak)
    table.caption = (
        f"wanted: 0.50 of the baseline's rows/s, and a peak under 2 GiB + the index ({index_bytes / GIB:.2f} GiB)"
    )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--method", choices=["ridge", "fct"], default="ridge")
    parser.add_argument("--index", choices=["auto", "flat", "ivf_flat", "hnsw"], default="auto")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    world, rows = World(options.dimension), options.rows
    source, target = (Space(model, options.dimension, "cosine") for model in ("old", "new"))
    transformation = learned(world, source, target, options.method)
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder))
        crosswalk = compose(settings)
        migrate(crosswalk.database)
        writes = filled(crosswalk, world, rows, options.index)
        begun(crosswalk, transformation)
        transform, index = worked(settings, rows), worked(settings, rows)
        old = np.concatenate([vectors for _, vectors in world.old(rows)])
        loop, new = bare_transform(transformation, old)
        snapshot = published(crosswalk)
        build = bare_index(new, snapshot)
        index_bytes = sum(digest.bytes for digest in snapshot.manifest.files.values())
        crosswalk.close()
    both, bare = transform.then(index, "both steps"), loop.then(build, "bare loop, then FAISS")
    lines = [(writes, None), (loop, None), (transform, loop), (build, None), (index, build), (bare, None), (both, bare)]
    Console(width=120).print(shown(lines, index_bytes))
    if options.json:
        figures = [asdict(one) | {"baseline": baseline and baseline.what} for one, baseline in lines]
        options.json.write_text(json.dumps({"rows": rows, "index_bytes": index_bytes, "measured": figures}, indent=2))


if __name__ == "__main__":
    main()
