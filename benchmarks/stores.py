"""Reading old vectors from a store and writing transformed ones beside them, against the store's own client alone.

    python -m benchmarks.stores [--rows 200000] [--dimension 384] [--store pgvector] [--repeat 1]

Bare is what the store's client does without us: all vectors out and in again beside, in the same run and on the same
data, nothing computed, compared or kept. Copied is `copy_vectors`: the vectors crossed by a matrix, the ledger kept and
synced, then a second round that compares everything, and a sample read back. First is its first round alone, which is
what bare does. Peak is the largest resident memory of the process that copies.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import psycopg
from rich.console import Console
from rich.table import Table

from app.connections.file import ConfiguredConnection
from app.stores.copying import Copying, copy_vectors
from app.stores.pgvector.wire import copied_rows
from app.stores.protocol import Place, Target
from benchmarks.document_stores import chroma, elasticsearch, qdrant
from benchmarks.file_stores import faiss_file, files, lance, milvus
from benchmarks.filled_store import FilledStore, chunks
from tests.services import postgres_server


@dataclass(frozen=True)
class Measured:
    """Seconds, and MiB."""

    bare: float
    first: float
    copied: float
    peak: float


@contextmanager
def pgvector(rows: int, dimension: int, folder: Path, beside: str = "column") -> Iterator[FilledStore]:
    """A table of ids and vectors in a PostgreSQL server of its own, as it is configured when it is installed, but that
    no commit waits for a disk."""
    with postgres_server() as uri:
        with psycopg.connect(uri, autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")
            connection.execute(f"CREATE TABLE items (id text PRIMARY KEY, n int, mark bigint, v vector({dimension}))")
            for begin, vectors in chunks(rows, dimension):
                ids = [f"{number:08d}" for number in range(begin, begin + len(vectors))]
                with connection.cursor().copy("COPY items FROM STDIN (FORMAT binary)") as copy:
                    copy.write(copied_rows([ids], np.zeros(len(ids), np.uint64), vectors, "vector"))
            connection.execute("ALTER TABLE items DROP n, DROP mark")
            connection.execute("VACUUM ANALYZE items")
        yield FilledStore(
            ConfiguredConnection("bench", "pgvector", {"url": uri, "beside": beside}),
            Place("items"),
            partial(bare_pgvector, uri, dimension),
        )


def bare_pgvector(uri: str, dimension: int) -> None:
    """COPY out and COPY in, each piece of data passed on as it comes."""
    with psycopg.connect(uri) as out, psycopg.connect(uri) as into:
        into.execute("DROP TABLE IF EXISTS beside")
        into.execute(f"CREATE TABLE beside (id text PRIMARY KEY, v vector({dimension}))")
        with (
            out.cursor().copy("COPY items (id, v) TO STDOUT (FORMAT binary)") as read,
            into.cursor().copy("COPY beside FROM STDIN (FORMAT binary)") as write,
        ):
            for data in read:
                write.write(data)


STORES: Mapping[str, Callable[[int, int, Path], AbstractContextManager[FilledStore]]] = {
    "pgvector": pgvector,
    "pgvector, table beside": partial(pgvector, beside="table"),
    "qdrant": qdrant,
    "elasticsearch": elasticsearch,
    "chroma": chroma,
    "files": files,
    "lancedb": lance,
    "faiss": faiss_file,
    "milvus": milvus,
}
"""By kind, what makes a store and fills it with so many rows of a dimension, in a folder of its own."""


def measure(name: str, rows: int, dimension: int) -> Measured:
    """Of one store, in this process."""
    with tempfile.TemporaryDirectory() as folder, STORES[name](rows, dimension, Path(folder)) as filled:
        began = time.perf_counter()
        filled.bare()
        bare = time.perf_counter() - began
        target = Target("crosswalk_bench_1", dimension, "cosine")
        matrix = np.linalg.qr(np.random.default_rng(1).normal(size=(dimension, dimension)))[0].astype(np.float32)
        store = filled.open()
        store.make_target(target)
        store.close()
        first: list[float] = []

        def told(done: int, of: int) -> None:
            if done == of:
                first.append(time.perf_counter() - began)

        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.perf_counter()
        copied = copy_vectors(
            Copying(filled.open, target, lambda old: old @ matrix, Path(folder) / "ledgers", progress=told)
        )
        seconds = time.perf_counter() - began
        assert copied.items == rows
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(f"{before / 1024:.0f} MiB before, {peak / 1024:.0f} at the most")
        return Measured(bare, first[0], seconds, peak / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--store", choices=STORES, action="append", help="may be repeated; left out, all")
    parser.add_argument("--repeat", type=int, default=1)
    options = parser.parse_args()
    table = Table(title=f"{options.rows:,} x {options.dimension}")
    for title in ("store", "bare, rows/s", "first, rows/s", "of bare", "copied, rows/s", "of bare", "peak, MiB"):
        table.add_column(title, justify="left" if title == "store" else "right")
    for name in options.store or STORES:
        for _ in range(options.repeat):
            with multiprocessing.get_context("spawn").Pool(1) as process:  # each with a memory of its own
                found = process.apply(measure, (name, options.rows, options.dimension))
            bare, first, copied = (options.rows / seconds for seconds in (found.bare, found.first, found.copied))
            table.add_row(
                name,
                f"{bare:,.0f}",
                f"{first:,.0f}",
                f"{first / bare:.2f}",
                f"{copied:,.0f}",
                f"{copied / bare:.2f}",
                f"{found.peak:,.0f}",
            )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
