"""How fast the index answers, beside numpy and bare FAISS on the same rows in the same run, each on one thread.

    python -m benchmarks.index_speed            # 18,000 × 256 and 1,000,000 × 128: about 5 minutes
    python -m benchmarks.index_speed --small    # the first alone

Rows and queries are of one distribution: a mixture in 16 dimensions, embedded in more with a little noise, as real
embeddings have far fewer directions than coordinates. Times are medians; a ratio above 1 is slower than the baseline
named.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import faiss
import numpy as np
from threadpoolctl import threadpool_limits

SHIPPED = faiss.cvar.distance_compute_blas_threshold  # the index sets its own

from app.index import IndexOptions, LiveIndex, RowIds, Snapshot, Vectors, publish  # noqa: E402
from app.index.inverted_file import TRAINING_ROWS  # noqa: E402

K = 10
LATENT = 16
DELTA = 0.05  # share of the rows written, or removed, since the snapshot
Answer = Callable[[Vectors], RowIds]
Entry = tuple[str, Answer, str | None]
"""A name, what answers queries (m, d) with the ids (m, K) of the nearest, and the baseline it is set against."""


def data(count: int, dimension: int, queries: int) -> tuple[Vectors, Vectors]:
    """Unit rows (count, dimension) and unit queries, of one distribution."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((200, LATENT), dtype=np.float32)
    embed = random.standard_normal((LATENT, dimension), dtype=np.float32)

    def draw(n: int) -> Vectors:
        latent = centres[random.integers(len(centres), size=n)] + 0.5 * random.standard_normal((n, LATENT))
        rows = latent.astype(np.float32) @ embed + 0.3 * random.standard_normal((n, dimension), dtype=np.float32)
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)

    return draw(count), draw(queries)


def batches(rows: Vectors) -> Iterator[tuple[RowIds, Vectors]]:
    for start in range(0, len(rows), 65_536):
        part = rows[start : start + 65_536]
        yield np.arange(start, start + len(part)), part


def opened(directory: Path, written: tuple[RowIds, Vectors] | None = None, removed: RowIds | None = None) -> Answer:
    """The published index, after writes."""
    snapshot = Snapshot.load(directory)
    index = LiveIndex("cosine", snapshot.manifest.dimension, snapshot=snapshot)
    if written is not None:
        index.upsert(*written, version=2)
    if removed is not None:
        index.remove(removed, version=3)
    return lambda queries: index.search(queries, K).rows


def numpy_search(rows: Vectors) -> Answer:
    def answer(queries: Vectors) -> RowIds:
        scores = queries @ rows.T
        best = np.argpartition(-scores, K, axis=1)[:, :K]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
        return np.take_along_axis(best, order, axis=1)

    return answer


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


def entries(folder: Path, rows: Vectors, spare: RowIds) -> Iterator[Entry]:
    """Each contender after its baseline. Only spare rows, which are in no answer, are written or removed."""
    few = np.random.default_rng(1).choice(spare, round(DELTA * len(rows)), replace=False)
    bare = faiss.IndexFlatIP(rows.shape[1])
    bare.add(rows)
    yield "numpy brute force", numpy_search(rows), None
    yield "bare faiss, flat", faiss_search(bare), None
    flat = published(folder, rows, IndexOptions(kind="flat"))
    yield "index, flat", opened(flat), "bare faiss, flat"
    yield f"index, flat, {DELTA:.0%} in the delta", opened(flat, (few, rows[few])), "index, flat"
    yield f"index, flat, {DELTA:.0%} removed", opened(flat, removed=few), "index, flat"
    lists = published(folder, rows, IndexOptions(kind="ivf_flat"))
    snapshot = Snapshot.load(lists)
    tuned = snapshot.manifest.tuning("cosine")
    assert tuned is not None
    bare_lists = faiss.read_index(str(lists / "index.faiss"))
    bare_lists.nprobe = tuned.effort
    of = f"{tuned.effort} of {bare_lists.nlist} lists"
    bare_build(rows, bare_lists.nlist)
    bare_search = faiss_search(bare_lists)
    yield f"bare faiss, {of}", lambda queries: snapshot.block.rows[bare_search(queries)], None
    yield f"index, {of}", opened(lists), f"bare faiss, {of}"
    yield f"index, {of}, {DELTA:.0%} in the delta", opened(lists, (few, rows[few])), f"index, {of}"


def bare_build(rows: Vectors, nlist: int) -> None:
    """Prints what FAISS takes to cluster as many rows and add them all, from memory and to memory."""
    began = time.perf_counter()
    lists = faiss.IndexIVFFlat(faiss.IndexFlatIP(rows.shape[1]), rows.shape[1], nlist, faiss.METRIC_INNER_PRODUCT)
    lists.train(rows[np.random.default_rng(1).choice(len(rows), min(len(rows), TRAINING_ROWS * nlist), replace=False)])
    lists.add(rows)
    print(f"  bare faiss: trained and added in {time.perf_counter() - began:.1f} s")


def published(folder: Path, rows: Vectors, options: IndexOptions) -> Path:
    began = time.perf_counter()
    directory = publish(folder, batches(rows), metric="cosine", dimension=rows.shape[1], version=1, options=options)
    print(f"  {options.kind} published in {time.perf_counter() - began:.1f} s")
    return directory


def seconds(answer: Answer, queries: Vectors, size: int, repeats: int) -> float:
    """Median time of a search for `size` queries."""
    times = []
    for repeat in range(repeats):
        start = repeat * size % (len(queries) - size + 1)
        batch = np.ascontiguousarray(queries[start : start + size])
        began = time.perf_counter()
        answer(batch)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def compare(count: int, dimension: int, batch: int, repeats: int) -> None:
    """Prints one table."""
    rows, queries = data(count, dimension, 1_000)
    print(f"\n{count:,} × {dimension}, cosine, k = {K}; one query, and {batch} at once")
    lines, times = [], dict[str, tuple[float, float]]()
    truth = numpy_search(rows)(queries[:200])
    spare = np.setdiff1d(np.arange(count), truth)
    with tempfile.TemporaryDirectory() as folder:
        for name, answer, baseline in entries(Path(folder), rows, spare):
            answer(queries[:batch])
            taken = seconds(answer, queries, 1, repeats), seconds(answer, queries, batch, max(3, repeats // 10))
            times[name] = taken
            recall = np.mean(
                [np.isin(true, got).mean() for true, got in zip(truth, answer(queries[:200]), strict=True)]
            )
            against = (
                "" if baseline is None else f"{taken[0] / times[baseline][0]:7.2f} {taken[1] / times[baseline][1]:7.2f}"
            )
            against += "" if baseline is None else f"  × {baseline}"
            lines.append(f"{name:44} {1e3 * taken[0]:9.3f} {1e3 * taken[1]:9.1f} {recall:7.3f} {against}")
    print(f"{'':44} {'one, ms':>9} {'batch, ms':>9} {'recall':>7} {'one':>7} {'batch':>7}")
    print("\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="18,000 rows alone")
    arguments = parser.parse_args()
    with threadpool_limits(1):
        faiss.omp_set_num_threads(1)
        compare(18_000, 256, 1_000, 200)
        if not arguments.small:
            compare(1_000_000, 128, 256, 50)


if __name__ == "__main__":
    main()
