"""How fast each kind of index answers, beside numpy and bare FAISS on the same rows in the same run, on one thread.

    python -m benchmarks.index_speed                          # 20,000 and 200,000 × 128: about 5 minutes
    python -m benchmarks.index_speed --rows 1000000           # and so many alone
    python -m benchmarks.index_speed --rows 10000000 --kinds ivf_sq8

Rows and queries are of one distribution: a mixture in 16 dimensions, embedded in more with a little noise, as real
embeddings have far fewer directions than coordinates. They are made as they are needed and never held all at once,
except by what keeps them in memory itself. Times are medians; a ratio above 1 is slower than the baseline named, which
is timed in turn with what it is set against, since machines have other work. Bare FAISS has the very index that was
published, held in memory, with the same effort. An index is built in a process that does nothing else, whose peak of
anonymous memory is shown, above what it had before: what must fit into the machine, where mapped files need not. Load
times and resident bytes are of a process that does nothing else, the files being in the page cache; resident bytes are
those after a thousand queries, above what the process had before, and private ones are those that another process with
the same index would need as well.
"""

import argparse
import multiprocessing
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from threadpoolctl import threadpool_limits

from app.faiss_library import faiss

SHIPPED = faiss.cvar.distance_compute_blas_threshold  # the index sets its own

from app.index import IndexOptions, Kind, LiveIndex, RowIds, Snapshot, Vectors, best_of, publish  # noqa: E402
from app.index.snapshot import CHECKED_AT_ONCE, INDEX  # noqa: E402
from models.portable import Distance  # noqa: E402

K = 10
LATENT = 16
DIMENSION = 128
CHUNK = 65_536
QUERIES = 1_000
BATCH = 256
DELTA = 0.05  # share of the rows written, or removed, since the snapshot
HELD = 2_000_000  # rows up to which bare FAISS can have a copy of its own
Answer = Callable[[Vectors], RowIds]


class Mixture:
    """Unit vectors of one distribution, in chunks: the same chunk is the same each time it is made."""

    def __init__(self, dimension: int) -> None:
        random = np.random.default_rng(0)
        self.centres = random.standard_normal((200, LATENT), dtype=np.float32)
        self.embed = random.standard_normal((LATENT, dimension), dtype=np.float32)

    def draw(self, count: int, seed: int) -> Vectors:
        random = np.random.default_rng(seed)
        latent = self.centres[random.integers(len(self.centres), size=count)]
        latent = latent + 0.5 * random.standard_normal(latent.shape, dtype=np.float32)
        rows = latent @ self.embed
        rows += 0.3 * random.standard_normal(rows.shape, dtype=np.float32)
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)

    def rows(self, count: int) -> Iterator[tuple[RowIds, Vectors]]:
        for start in range(0, count, CHUNK):
            ids = np.arange(start, min(count, start + CHUNK))
            yield ids, self.draw(len(ids), 1 + start)


def data(count: int, dimension: int, queries: int) -> tuple[Vectors, Vectors]:
    """Unit rows (count, dimension) and unit queries, of one distribution."""
    mixture = Mixture(dimension)
    return np.concatenate([part for _, part in mixture.rows(count)]), mixture.draw(queries, 0)


def batches(rows: Vectors) -> Iterator[tuple[RowIds, Vectors]]:
    for start in range(0, len(rows), CHUNK):
        part = rows[start : start + CHUNK]
        yield np.arange(start, start + len(part)), part


def nearest(mixture: Mixture, count: int, queries: Vectors) -> RowIds:
    """The true nearest K of each query, looked for chunk by chunk."""
    rows, scores = np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32)
    for ids, part in mixture.rows(count):
        products = queries @ part.T
        best = np.argpartition(-products, K - 1, axis=1)[:, :K]
        rows = np.concatenate([rows, ids[best]], axis=1)
        scores = np.concatenate([scores, np.take_along_axis(products, best, axis=1)], axis=1)
        hits = best_of(rows, scores, rows >= 0, K, "cosine")
        rows, scores = hits.rows, hits.scores
    return rows


def opened(directory: Path, written: tuple[RowIds, Vectors] | None = None, removed: RowIds | None = None) -> LiveIndex:
    """The published index, after writes."""
    snapshot = Snapshot.load(directory)
    index = LiveIndex("cosine", snapshot.manifest.dimension, snapshot=snapshot)
    if written is not None:
        index.upsert(*written, version=2)
    if removed is not None:
        index.remove(removed, version=3)
    return index


def answer(index: LiveIndex, score: Distance = "cosine") -> Answer:
    return lambda queries: index.search(queries, K, score_as=score).rows


def bare(directory: Path, effort: int) -> Answer:
    """FAISS as it comes, with the index that was published, in memory."""
    snapshot = Snapshot.load(directory)
    kind, vectors, rows = snapshot.manifest.kind, snapshot.block.vectors, snapshot.block.rows
    index = flat = faiss.IndexFlatIP(vectors.shape[1])
    if kind in ("flat", "hnsw"):
        flat.add(vectors)
    if kind != "flat":
        index = faiss.read_index(str(directory / INDEX), faiss.IO_FLAG_SKIP_STORAGE if kind == "hnsw" else 0)
    if kind == "hnsw":
        index.storage, index.own_fields = flat, False
        index.hnsw.efSearch = effort
        index.referenced_objects = [flat]
    elif kind != "flat":
        faiss.extract_index_ivf(index).nprobe = effort
    search = faiss_search(index)
    return lambda queries: rows[search(queries)]


def faiss_search(index: faiss.Index) -> Answer:
    """FAISS as it comes."""

    def answer(queries: Vectors) -> RowIds:
        ours = faiss.cvar.distance_compute_blas_threshold
        faiss.cvar.distance_compute_blas_threshold = SHIPPED
        try:
            return np.asarray(index.search(queries, K)[1])
        finally:
            faiss.cvar.distance_compute_blas_threshold = ours

    return answer


@dataclass(frozen=True)
class Timed:
    """Seconds of one query, and of a batch: medians."""

    one: float
    batch: float


def timed(answers: list[Answer], queries: Vectors, repeats: int) -> list[Timed]:
    """How long each takes, taking turns."""

    def seconds(size: int, repeats: int) -> list[float]:
        times: list[list[float]] = [[] for _ in answers]
        for repeat in range(repeats):
            start = repeat * size % (len(queries) - size + 1)
            batch = np.ascontiguousarray(queries[start : start + size])
            for one, taken in zip(answers, times, strict=True):
                began = time.perf_counter()
                one(batch)
                taken.append(time.perf_counter() - began)
        return [statistics.median(taken) for taken in times]

    for one in answers:
        one(queries[:BATCH])
    return [Timed(*both) for both in zip(seconds(1, repeats), seconds(BATCH, max(5, repeats // 20)), strict=True)]


@dataclass(frozen=True)
class Loaded:
    """Seconds to load an index in a process of its own, and the bytes that the process then grows by."""

    seconds: float
    resident: int
    private: int


def used() -> tuple[int, int]:
    """Bytes that this process has in memory, and those of them that are of no file."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    kib = {name: int(value.split()[0]) for name, value in (line.split(":") for line in lines)}
    return 1024 * kib["Rss"], 1024 * kib["Anonymous"]


@dataclass(frozen=True)
class Built:
    """Where an index was published; the seconds of the clock and of the processor, and the most bytes of no file that
    the process had meanwhile, above what it had before."""

    directory: Path
    seconds: float
    processor: float
    peak: int


def built(folder: Path, count: int, dimension: int, options: IndexOptions) -> Built:
    mixture, before = Mixture(dimension), used()[1]
    peak, done = before, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.2):
            peak = max(peak, used()[1])

    watching = threading.Thread(target=watch)
    watching.start()
    began, processor = time.perf_counter(), time.process_time()
    try:
        rows = mixture.rows(count)
        directory = publish(folder, rows, metric="cosine", dimension=dimension, version=1, options=options)
    finally:
        done.set()
        watching.join()
    return Built(directory, time.perf_counter() - began, time.process_time() - processor, peak - before)


def loaded(directory: Path, queries: Vectors) -> Loaded:
    LiveIndex("cosine", 2).search(np.ones((1, 2), np.float32), 1)
    before, began = used(), time.perf_counter()
    snapshot = Snapshot.load(directory, check_at_once=CHECKED_AT_ONCE)
    index = LiveIndex("cosine", snapshot.manifest.dimension, snapshot=snapshot)
    index.search(queries[:1], K)
    taken = time.perf_counter() - began
    for query in queries:
        index.search(query[None, :], K)
    after = used()
    return Loaded(taken, after[0] - before[0], after[1] - before[1])


def compare(count: int, dimension: int, kinds: list[Kind], repeats: int, nlist: int | None, folder: Path) -> None:
    """Prints one table."""
    mixture = Mixture(dimension)
    queries = mixture.draw(QUERIES, 0)
    truth = nearest(mixture, count, queries[: 500 if count <= HELD else 200])
    print(f"\n{count:,} × {dimension}, cosine, k = {K}; one query, and {BATCH} at once")
    print(f"{'':34} {'one, ms':>9} {'batch, ms':>9} {'recall':>7} {'one':>6} {'batch':>6}  times")

    def line(name: str, taken: Timed, recall: float | None, base: tuple[str, Timed] | None) -> None:
        ratios = f"{taken.one / base[1].one:6.2f} {taken.batch / base[1].batch:6.2f}  {base[0]}" if base else ""
        found = "" if recall is None else f"{recall:.4f}"
        print(f"{name:34} {1e3 * taken.one:9.3f} {1e3 * taken.batch:9.2f} {found:>7} {ratios}", flush=True)

    def recall(one: Answer) -> float:
        return float(np.mean([np.isin(t, g).mean() for t, g in zip(truth, one(queries[: len(truth)]), strict=True)]))

    for kind in kinds:
        options = IndexOptions(kind=kind, nlist=nlist)
        alone = multiprocessing.get_context("spawn")
        with alone.Pool(1) as pool:
            made = pool.apply(built, (folder, count, dimension, options))
        directory = made.directory
        manifest = Snapshot.load(directory, check_at_once=0).manifest
        with alone.Pool(1) as pool:
            load = pool.apply(loaded, (directory, queries))
        index = opened(directory)
        tuned = manifest.tuning("cosine")
        effort = tuned.effort if tuned else 0
        contenders: dict[str, Answer] = {kind: answer(index)}
        if count <= HELD:
            contenders["bare faiss"] = bare(directory, effort)
        contenders["by another score (l2)"] = answer(index, "l2")
        times = dict(zip(contenders, timed(list(contenders.values()), queries, repeats), strict=True))
        if "bare faiss" in times:
            line("bare faiss", times["bare faiss"], recall(contenders["bare faiss"]), None)
            line(kind, times[kind], recall(contenders[kind]), ("bare faiss", times["bare faiss"]))
        else:
            line(kind, times[kind], recall(contenders[kind]), None)
        name = "by another score (l2)"
        line(f"  {name}", times[name], recall(contenders[name]), (kind, times[kind]))
        if count <= HELD:
            ids = np.random.default_rng(1).choice(np.setdiff1d(np.arange(count), truth), int(DELTA * count), False)
            for name, changed in (
                (f"  {DELTA:.0%} in the delta", opened(directory, (ids, index.held(ids).vectors))),
                (f"  {DELTA:.0%} removed", opened(directory, removed=ids)),
            ):
                pair = timed([answer(index), answer(changed)], queries, repeats)
                line(name, pair[1], recall(answer(changed)), (kind, pair[0]))
        mebi = 2.0**-20
        print(
            f"  {manifest.parameters or ''} recall {manifest.recall:.4f} as tuned; built in {made.seconds:.0f} s, "
            f"{made.processor:.0f} of the processor, {mebi * made.peak:.0f} MiB at most; "
            f"{mebi * manifest.bytes:.0f} MiB on disk; loaded in {load.seconds:.2f} s; "
            f"resident {mebi * load.resident:.0f} MiB, {mebi * load.private:.0f} of them private",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, action="append", help="how many; 20,000, then 200,000")
    parser.add_argument("--kinds", nargs="+", choices=get_args(Kind), default=get_args(Kind))
    parser.add_argument("--nlist", type=int, help="clusters of inverted files; left out, as they are by default")
    parser.add_argument("--folder", type=Path, help="where there is space; left out, the system's for temporary files")
    arguments = parser.parse_args()
    with threadpool_limits(1):
        faiss.omp_set_num_threads(1)
        for count in arguments.rows or (20_000, 200_000):
            with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
                repeats = 400 if count < HELD else 100
                compare(count, DIMENSION, arguments.kinds, repeats, arguments.nlist, Path(folder))


if __name__ == "__main__":
    main()
