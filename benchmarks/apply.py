"""How fast `crosswalk apply` is, against one matrix product in memory and against copying the file; and what it holds.

    OMP_NUM_THREADS=1 python -m benchmarks.apply [--rows 200000] [--dimension 384]

One Parquet file of random vectors. Copy: the same pieces are read and written, and nothing is computed. Product:
numpy's `rows @ weight.T`, one product for all rows, in memory. All are timed in turn in the same process, by the
processor's time, so that what else runs on the machine does not count; medians of `--runs`.
Peak: the resident memory of a process of its own that applies the file, and of one that applies an eighth of it.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from app.cli.applied_files import apply_to_file
from models.portable import (
    Affine,
    Array,
    Card,
    Crossing,
    CrossingCard,
    PortableCrossing,
    Space,
    Transformation,
    crossing_bytes,
    load_crossing,
)

_PEAK = """
import sys
from pathlib import Path
from app.cli.applied_files import apply_to_file
from models.portable import load_crossing
apply_to_file(load_crossing(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), made_by="old")
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""
_IMPORT = "import time; began = time.perf_counter(); import models.portable; print(time.perf_counter() - began)"


def made_up(dimension: int) -> PortableCrossing:
    """An affine crossing between two spaces of this dimension."""
    weight = np.random.default_rng(0).standard_normal((dimension, dimension)).astype(np.float32)
    spaces = Space("old", dimension, "cosine"), Space("new", dimension, "cosine")
    card = Card("ridge", *spaces, None, 1, {}, {}, "2026-01-01T00:00:00Z")
    h = Transformation(card, Affine(weight, np.zeros(dimension, np.float32)))
    return PortableCrossing(CrossingCard("upg-1", card, card, None, None, "crossing", {}), Crossing(h, h))


def write(path: Path, rows: Array) -> None:
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])
    ids = pa.array([f"item-{number}" for number in range(len(rows))])
    pq.write_table(pa.table({"id": ids, "embedding.old": vectors}), path, use_dictionary=["id"])


def copy(source: Path, out: Path) -> None:
    with pq.ParquetFile(source, pre_buffer=False, buffer_size=2**20) as file:
        schema = file.schema_arrow
        with pq.ParquetWriter(out, schema, use_dictionary=["id"], compression="none") as writer:
            for batch in file.iter_batches(batch_size=20_000):
                writer.write_batch(batch)


def timed(work: Callable[[], object], runs: int) -> float:
    """The median of the seconds of the processor's that it takes."""
    seconds = []
    for _ in range(runs):
        began = time.process_time()
        work()
        seconds.append(time.process_time() - began)
    return statistics.median(seconds)


def told(program: str, *arguments: object) -> float:
    """The number that a process of its own prints."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    rows = np.random.default_rng(1).standard_normal((asked.rows, asked.dimension)).astype(np.float32)
    with tempfile.TemporaryDirectory() as name:
        artifact, source, eighth, out = (Path(name) / one for one in ("a.safetensors", "in", "eighth", "out"))
        artifact.write_bytes(crossing_bytes(made_up(asked.dimension)))
        crossing = load_crossing(artifact)
        write(source, rows)
        write(eighth, rows[: asked.rows // 8])
        affine = crossing.crossing.chosen.affine
        assert affine is not None
        weight = affine.weight
        parts = {
            "numpy: one matrix product, in memory": timed(lambda: rows @ weight.T, asked.runs),
            "crossing.apply, in memory": timed(lambda: crossing.apply(rows, made_by="old"), asked.runs),
            "copy of the file": timed(lambda: copy(source, out), asked.runs),
            "crosswalk apply, file to file": timed(
                lambda: apply_to_file(crossing, source, out, made_by="old"), asked.runs
            ),
        }
        table = Table("what", "rows/s", "of the product")
        product = next(iter(parts.values()))
        for what, seconds in parts.items():
            table.add_row(what, f"{asked.rows / seconds:,.0f}", f"{product / seconds:.2f}")
        Console().print(table)
        for what, path in (("an eighth of the rows", eighth), ("all rows", source)):
            Console().print(f"peak memory, {what}: {told(_PEAK, artifact, path, out) / 2**10:,.0f} MiB")
        Console().print(f"import of models.portable: {told(_IMPORT):.2f} s")


if __name__ == "__main__":
    main()
