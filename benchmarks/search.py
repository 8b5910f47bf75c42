"""How fast search answers over HTTP, beside what the same server and the same index do without us, in the same run.

    python -m benchmarks.search [--items 20000] [--dimension 128] [--seconds 0.7] [--rounds 12]

Baselines: a FastAPI endpoint that does nothing, served with the gateway's own settings; and FAISS in process, on one
thread, over the same vectors. Contenders take turns, round by round, and each one's best turn is shown: the one that
other work on the machine disturbed least. Each server is one process, and the client is this one, on the same machine:
what it takes is missing to all of them alike. CPU is what the server's process took, all its threads together.
"""

import argparse
import io
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

import faiss
import httpx
import numpy as np
import psutil
import pyarrow as pa
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from app.index import Vectors
from app.index.exact import one_thread
from benchmarks.http_load import Load, get, load, post
from benchmarks.index_speed import data, faiss_search

K, BATCH, QUERIES = 10, 256, 2_048
NPY, ARROW = "application/x-npy", "application/vnd.apache.arrow.stream"
BARE_1, BARE_8 = "bare FastAPI endpoint, 1 connection", "bare FastAPI endpoint, 8 connections"
GET_1, GET_8 = "GET /search, 1 connection", "GET /search, 8 connections"
POST, FAISS = f"POST /search, {BATCH} queries in npy", f"FAISS in process, {BATCH} queries"
_BASELINES = {GET_1: BARE_1, GET_8: BARE_8, POST: FAISS}
_BARE = """
import sys, uvicorn
from fastapi import FastAPI
from app.http.listener import listen
from app.http.server import server_config
app = FastAPI()
@app.get("/")
async def nothing() -> dict[str, str]:
    return {}
uvicorn.Server(server_config(app)).run([listen("127.0.0.1", int(sys.argv[1]))])
"""
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


def fill(port: int, rows: Vectors, folder: Path) -> None:
    """A gallery `g` of the model `m` with these vectors (n, d), as items with a label and a payload; returns once its
    index is published and searched, where it has as many rows as get one."""
    count, dimension = rows.shape
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=600) as client:
        client.post("/models", json={"id": "m", "dimension": dimension, "metric": "cosine"}).raise_for_status()
        client.post("/galleries", json={"id": "g", "model": "m"}).raise_for_status()
        table = pa.table(
            {
                "id": [f"item-{row}" for row in range(count)],
                "label": [f"label-{row % 100}" for row in range(count)],
                "payload": [f'{{"row": {row}}}' for row in range(count)],
                "embedding": pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), dimension),
            }
        )
        body = io.BytesIO()
        with pa.ipc.new_stream(body, table.schema) as stream:
            stream.write_table(table)
        client.put(
            "/galleries/g/items?model=m", content=body.getvalue(), headers={"content-type": ARROW}
        ).raise_for_status()
        vector = ",".join(map(str, rows[0].tolist()))
        while True:
            client.get("/search", params={"gallery": "g", "model": "m", "vector": vector}).raise_for_status()
            if count <= 10_000 or list(folder.glob("galleries/*/indexes/1/*/manifest.json")):
                break
            time.sleep(0.2)
        time.sleep(1)  # what asks for a rebuild has seen that there is one
        client.get("/search", params={"gallery": "g", "model": "m", "vector": vector}).raise_for_status()


def faiss_alone(rows: Vectors, batches: list[Vectors], seconds: float) -> Load:
    """FAISS's exact index on one thread, called directly, as if each batch were a request."""
    index = faiss.IndexFlatIP(rows.shape[1])
    index.add(rows)
    answer = faiss_search(index)
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
    """One turn of a contender; cpu: microseconds that its process took for each request."""

    load: Load
    cpu: float


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
    return Turn(max((one.load for one in turns), key=lambda load: load.rate), min(one.cpu for one in turns))


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
    parser.add_argument("--seconds", type=float, default=0.7, help="of each contender's turn")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--port", type=int, default=9_390, help="of the gateway; the bare endpoint has the next")
    chosen = parser.parse_args()
    rows, queries = data(chosen.items, chosen.dimension, QUERIES)
    batches = [np.ascontiguousarray(part) for part in np.split(queries, QUERIES // BATCH)]
    query = f"/search?gallery=g&model=m&k={K}"
    singles = [get(f"{query}&vector={urlsafe_b64encode(vector.tobytes()).decode()}") for vector in queries]
    bulk = [post(query, NPY, npy(batch)) for batch in batches]
    ours, bare, seconds = chosen.port, chosen.port + 1, chosen.seconds
    with tempfile.TemporaryDirectory() as folder:
        gateway = ["-m", "app.cli", "serve", "--port", str(ours), "--data-dir", folder]
        with (
            server(gateway, ours, "/readyz") as gateway_process,
            server(["-c", _BARE, str(bare)], bare, "/") as bare_process,
        ):
            fill(ours, rows, Path(folder))
            load(ours, singles, 8, 10)  # reads every item that is found once
            turns = measured(
                {
                    BARE_1: lambda: turn(bare_process, lambda: load(bare, [get("/")], 1, seconds), seconds),
                    GET_1: lambda: turn(gateway_process, lambda: load(ours, singles, 1, seconds), seconds),
                    BARE_8: lambda: turn(bare_process, lambda: load(bare, [get("/")], 8, seconds), seconds),
                    GET_8: lambda: turn(gateway_process, lambda: load(ours, singles, 8, seconds), seconds),
                    POST: lambda: turn(gateway_process, lambda: load(ours, bulk, 1, seconds), seconds),
                    FAISS: lambda: turn(os.getpid(), lambda: faiss_alone(rows, batches, seconds), seconds),
                },
                chosen.rounds,
            )
    show(chosen, turns)


def show(chosen: argparse.Namespace, turns: dict[str, Turn]) -> None:
    named = (
        f"{chosen.items:,} × {chosen.dimension}, cosine, k = {K}; best of {chosen.rounds} turns of {chosen.seconds:g} s"
    )
    table = Table(title=named)
    for heading in ("", "requests/s", "queries/s", "p50 ms", "p99 ms", "CPU µs/request", "of its baseline"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, one in turns.items():
        size = BATCH if name in (POST, FAISS) else 1
        share = f"{one.load.rate / turns[_BASELINES[name]].load.rate:.2f}" if name in _BASELINES else ""
        figures = (
            f"{one.load.rate:,.0f}",
            f"{one.load.rate * size:,.0f}",
            f"{one.load.p50:.2f}",
            f"{one.load.p99:.2f}",
        )
        table.add_row(name, *figures, f"{one.cpu:,.0f}", share)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
