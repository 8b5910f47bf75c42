"""How fast search answers over HTTP, beside what others do with the same rows on the same machine, in the same run.

    python -m benchmarks.search [--items 20000] [--dimension 128] [--index auto] [--seconds 0.7] [--rounds 12]

Baselines: a FastAPI endpoint that does nothing, and one written by hand around FAISS's graph, both served with the
gateway's own settings; pgvector's HNSW over psycopg in binary; and FAISS in process, on one thread: flat where the
gallery's index is, else its graph; and the gallery's own index, searched as hard as the gateway does. What is
approximate is tuned to a recall of 0.99 on the first 200 queries, and each
one's recall is shown.

Contenders take turns, round by round, and each one's best turn is shown: the one that other work on the machine
disturbed least. Each server is one process (pgvector's: one a connection), and the client is this one, on the same
machine: what it takes is missing to all of them alike, but for pgvector, whose driver takes more. CPU is what the
server's process took, all its threads together.

Then queries that reach the gallery by other routes take turns with those that do so by `direct`, over one connection.

Then half of what `GET /search` did at its best is offered over 8 connections, by clients that do not wait for one
another: to the bare endpoint, which shows what the machine itself has them wait for; to the gateway alone; and to it
while 10,000 new items a second flow in.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import psutil
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from app.faiss_library import faiss
from app.index import RowIds, Snapshot, Vectors
from app.index.exact import one_thread
from benchmarks.http_load import Load, get, load, post
from benchmarks.http_offered import offered
from benchmarks.index_speed import Answer, Mixture, bare, data, faiss_search
from benchmarks.search_baselines import BARE, HAND_WRITTEN, faiss_graph, nearest_rows, pgvector, recall
from benchmarks.search_routes import AIMS, DIRECT, ready_routes
from benchmarks.search_writer import ARROW, arrow_items, items_flowing_in

K, BATCH, QUERIES = 10, 256, 2_048
TUNED_ON, RECALL = 200, 0.99
PAIRS = 2_000
NEW_ITEMS_A_SECOND = 10_000
_BESIDE = f"while {NEW_ITEMS_A_SECOND:,} items/s flow in"
FLAT = "flat"
NPY = "application/x-npy"
BARE_1, BARE_8 = "bare FastAPI endpoint, 1 connection", "bare FastAPI endpoint, 8 connections"
GET_1, GET_8 = "GET /search, 1 connection", "GET /search, 8 connections"
HAND_8, PG_8 = "FastAPI + FAISS by hand, 8 connections", "pgvector's HNSW, 8 connections"
POST, FAISS = f"POST /search, {BATCH} queries in npy", f"FAISS in process, {BATCH} queries"
OWN = f"the gallery's index by FAISS in process, {BATCH} queries"
_BASELINES = {GET_1: (BARE_1,), GET_8: (BARE_8, HAND_8, PG_8), POST: (FAISS, OWN)}
_ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("CROSSWALK_")}


@contextmanager
def server(command: list[str], port: int, ready: str) -> Iterator[int]:
    """A server that answers at the path `ready` while the context is open; the id of its process."""
    environment = {**_ENVIRONMENT, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, *command], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while True:
            if process.poll() is not None:
                raise RuntimeError(f"{command[:4]} ended with status {process.returncode}")
            try:
                if httpx.get(f"http://127.0.0.1:{port}{ready}").is_success:
                    break
            except httpx.TransportError:
                time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def fill(port: int, rows: Vectors, folder: Path, index: str = "auto") -> None:
    """A gallery `g` of the model `m` with these vectors (n, d), as items with a label and a payload; returns once its
    index is published and searched, where it has as many rows as get one."""
    count, dimension = rows.shape
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=600) as client:
        client.post("/models", json={"id": "m", "dimension": dimension, "metric": "cosine"}).raise_for_status()
        chosen = {} if index == "auto" else {"index": {"kind": index}}
        client.post("/galleries", json={"id": "g", "model": "m"} | chosen).raise_for_status()
        client.put(
            "/galleries/g/items?model=m", content=arrow_items(rows), headers={"content-type": ARROW}
        ).raise_for_status()
        vector = ",".join(map(str, rows[0].tolist()))
        while True:
            client.get("/search", params={"gallery": "g", "model": "m", "vector": vector}).raise_for_status()
            if count <= 10_000 or _published(folder):
                break
            time.sleep(0.2)
        time.sleep(1)  # what asks for a rebuild has seen that there is one
        client.get("/search", params={"gallery": "g", "model": "m", "vector": vector}).raise_for_status()


def _published(folder: Path) -> list[Path]:
    return list(folder.glob("galleries/*/indexes/1/*/manifest.json"))


def kind_of_index(folder: Path) -> str:
    """The kind of the gallery's published index; flat where it has none."""
    manifests = _published(folder)
    return str(json.loads(manifests[-1].read_text())["kind"]) if manifests else FLAT


def own_index(folder: Path) -> Answer | None:
    """The gallery's published index as FAISS has it, in memory, as hard as it was tuned; None where it has none."""
    manifests = _published(folder)
    if not manifests:
        return None
    tuned = Snapshot.load(manifests[-1].parent).manifest.tuning("cosine")
    return bare(manifests[-1].parent, tuned.effort if tuned else 0)


def found_rows(port: int, query: str, queries: Vectors) -> RowIds:
    """The rows (m, K) that the gateway finds, nearest first."""
    answers = (httpx.get(f"http://127.0.0.1:{port}{query}&vector={_text(vector)}").json() for vector in queries)
    return np.array([[int(hit["id"].removeprefix("item-")) for hit in answer["results"]] for answer in answers])


def _text(vector: np.ndarray) -> str:
    return urlsafe_b64encode(vector.tobytes()).decode()


def flat(rows: Vectors) -> faiss.Index:
    """FAISS's exact index over the rows."""
    index = faiss.IndexFlatIP(rows.shape[1])
    index.add(rows)
    return index


def faiss_alone(answer: Answer, batches: list[Vectors], seconds: float) -> Load:
    """FAISS on one thread, called directly, as if each batch were a request."""
    waits: list[float] = []
    with threadpool_limits(1), one_thread():
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            before = time.perf_counter()
            answer(batches[len(waits) % len(batches)])
            waits.append(time.perf_counter() - before)
    return Load.of(waits, time.perf_counter() - began)


def npy(vectors: Vectors) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, vectors)
    return buffer.getvalue()


@dataclass(frozen=True)
class Turn:
    """One turn of a contender; cpu: microseconds that its process took for each request, where it is one process."""

    load: Load
    cpu: float | None


def turn(process: int, requests: Callable[[], Load], seconds: float) -> Turn:
    """cpu counts the load's last requests too, which are not waited for: at most one for each connection."""
    server = psutil.Process(process)
    before = server.cpu_times()
    done = requests()
    after = server.cpu_times()
    spent = after.user + after.system - before.user - before.system
    return Turn(done, 1e6 * spent / (done.rate * seconds))


def best(turns: list[Turn]) -> Turn:
    """The best rate and the least CPU, perhaps of two turns: what else the machine does only adds to either."""
    spent = [one.cpu for one in turns if one.cpu is not None]
    return Turn(max((one.load for one in turns), key=lambda load: load.rate), min(spent, default=None))


def measured(contenders: dict[str, Callable[[], Turn]], rounds: int) -> dict[str, Turn]:
    """Each contender's best of the rounds, in each of which all take their turn."""
    turns: dict[str, list[Turn]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contend in contenders.items():
            turns[name].append(contend())
    return {name: best(values) for name, values in turns.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--index", default="auto", help="the gallery's kind of index; auto: as its size makes it")
    parser.add_argument("--seconds", type=float, default=0.7, help="of each contender's turn")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--port", type=int, default=9_390, help="of the gateway; the bare endpoint has the next")
    chosen = parser.parse_args()
    rows, queries = data(chosen.items, chosen.dimension, QUERIES)
    nearest = nearest_rows(rows, queries[:TUNED_ON], K)
    graph, reached = faiss_graph(rows, queries[:TUNED_ON], nearest, RECALL)
    recalls = {HAND_8: reached}
    batches = [np.ascontiguousarray(part) for part in np.split(queries, QUERIES // BATCH)]
    query = f"/search?gallery=g&model=m&k={K}"
    singles = [get(f"{query}&vector={_text(vector)}") for vector in queries]
    by_hand = [get(f"/search?k={K}&vector={_text(vector)}") for vector in queries]
    bulk = [post(query, NPY, npy(batch)) for batch in batches]
    ours, bare, hand, seconds = chosen.port, chosen.port + 1, chosen.port + 2, chosen.seconds
    with tempfile.TemporaryDirectory() as folder:
        graph_file, data_dir = Path(folder) / "graph.faiss", Path(folder) / "data"
        faiss.write_index(graph, str(graph_file))
        gateway = ["-m", "app.cli", "serve", "--port", str(ours), "--data-dir", str(data_dir)]
        with (
            server(gateway, ours, "/readyz") as gateway_process,
            server(["-c", BARE, str(bare)], bare, "/") as bare_process,
            server(["-c", HAND_WRITTEN, str(hand), str(graph_file)], hand, "/openapi.json") as hand_process,
            pgvector(rows, queries[:TUNED_ON], nearest, RECALL) as postgres,
        ):
            fill(ours, rows, data_dir, chosen.index)
            kind = kind_of_index(data_dir)
            in_process = faiss_search(flat(rows) if kind == FLAT else graph)
            own = own_index(data_dir) or in_process
            recalls[GET_1] = recalls[GET_8] = recalls[POST] = recall(
                found_rows(ours, query, queries[:TUNED_ON]), nearest
            )
            recalls |= {PG_8: postgres.recall, FAISS: 1.0 if kind == FLAT else reached, OWN: recalls[POST]}
            load(ours, singles, 8, 10)  # reads every item that is found once
            turns = measured(
                {
                    BARE_1: lambda: turn(bare_process, lambda: load(bare, [get("/")], 1, seconds), seconds),
                    GET_1: lambda: turn(gateway_process, lambda: load(ours, singles, 1, seconds), seconds),
                    BARE_8: lambda: turn(bare_process, lambda: load(bare, [get("/")], 8, seconds), seconds),
                    GET_8: lambda: turn(gateway_process, lambda: load(ours, singles, 8, seconds), seconds),
                    HAND_8: lambda: turn(hand_process, lambda: load(hand, by_hand, 8, seconds), seconds),
                    PG_8: lambda: Turn(postgres.load(list(queries), K, 8, seconds), None),
                    POST: lambda: turn(gateway_process, lambda: load(ours, bulk, 1, seconds), seconds),
                    FAISS: lambda: turn(os.getpid(), lambda: faiss_alone(in_process, batches, seconds), seconds),
                    OWN: lambda: turn(os.getpid(), lambda: faiss_alone(own, batches, seconds), seconds),
                },
                chosen.rounds,
            )
            show(chosen, kind, turns, recalls)
            by_route = ready_routes(ours, rows, Mixture(chosen.dimension).draw(PAIRS, 2**31), queries, K)
            for requests in by_route.values():
                load(ours, requests, 8, 3)

            def on_route(requests: list[bytes]) -> Callable[[], Turn]:
                return lambda: turn(gateway_process, lambda: load(ours, requests, 1, seconds), seconds)

            show_routes(measured({route: on_route(asked) for route, asked in by_route.items()}, chosen.rounds))
            half = turns[GET_8].load.rate / 2
            floor = offered(bare, [get("/")], half, 8, 10 * seconds).accepted
            alone = offered(ours, singles, half, 8, 10 * seconds).accepted
            with items_flowing_in(ours, chosen.items, chosen.dimension, NEW_ITEMS_A_SECOND):
                beside = offered(ours, singles, half, 8, 10 * seconds).accepted
            show_half(half, {"bare FastAPI endpoint": floor, "alone": alone, _BESIDE: beside})


def show(chosen: argparse.Namespace, kind: str, turns: dict[str, Turn], recalls: dict[str, float]) -> None:
    named = (
        f"{chosen.items:,} × {chosen.dimension}, cosine, k = {K}, index {kind}; best of {chosen.rounds} turns of "
        f"{chosen.seconds:g} s"
    )
    table = Table(title=named)
    headings = ("", "requests/s", "queries/s", "p50 ms", "p99 ms", "CPU µs/request", "recall@10", "of its baselines")
    for heading in headings:
        table.add_column(heading, justify="right" if heading else "left")
    for name, one in turns.items():
        size = BATCH if name in (POST, FAISS, OWN) else 1
        shares = (f"{one.load.rate / turns[baseline].load.rate:.2f}" for baseline in _BASELINES.get(name, ()))
        table.add_row(
            name,
            f"{one.load.rate:,.0f}",
            f"{one.load.rate * size:,.0f}",
            f"{one.load.p50:.2f}",
            f"{one.load.p99:.2f}",
            "" if one.cpu is None else f"{one.cpu:,.0f}",
            f"{recalls[name]:.3f}" if name in recalls else "",
            ", ".join(shares),
        )
    Console(width=150).print(table)


def show_routes(turns: dict[str, Turn]) -> None:
    table = Table(title=f"GET /search by each route, 1 connection, k = {K}")
    headings = ("", "requests/s", "p50 ms", "CPU µs/request", "p50 / direct's", "CPU / direct's", "at most")
    for heading in headings:
        table.add_column(heading, justify="right" if heading else "left")
    direct = turns[DIRECT]
    for route, one in turns.items():
        cpu = "" if one.cpu is None or direct.cpu is None else f"{one.cpu / direct.cpu:.2f}"
        table.add_row(
            route,
            f"{one.load.rate:,.0f}",
            f"{one.load.p50:.2f}",
            f"{one.cpu:,.0f}",
            f"{one.load.p50 / direct.load.p50:.2f}",
            cpu,
            f"{AIMS[route]:g}" if route in AIMS else "",
        )
    Console(width=150).print(table)


def show_half(rate: float, loads: dict[str, Load]) -> None:
    table = Table(title=f"GET /search, {rate:,.0f} requests/s offered over 8 connections: half of the most")
    for heading in ("", "answered/s", "p50 ms", "p99 ms", "p99 / p50"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, one in loads.items():
        table.add_row(name, f"{one.rate:,.0f}", f"{one.p50:.2f}", f"{one.p99:.2f}", f"{one.p99 / one.p50:.1f}")
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
