"""Where the microseconds of one GET /search go, in process and without a network.

    python -m benchmarks.search_costs [--items 20000] [--dimension 128] [--repeats 2000] 2>/dev/null

CPU of the process; medians of single calls, of the same query over and over, so that everything is in the caches: what
the code costs, not what a busy machine makes of it. The last lines are whole requests through the whole application,
threads included; what a server adds to read and write HTTP is not in them.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from fastapi import FastAPI
from rich.console import Console
from rich.table import Table
from starlette.types import Message

from app.composition import Crosswalk
from app.galleries.schemas import NewGallery
from app.index import Vectors
from app.keys.access import EVERYTHING
from app.logs import configure_logging
from app.main import create_app
from app.registry.schemas import NewModel
from app.search.plain_query import plain_query
from app.search.resolution import SearchResolver
from app.settings import Settings
from app.storage.lance_table import vector_type
from app.uploads import decode_query_vector
from benchmarks.index_speed import data

K = 10


def fill(crosswalk: Crosswalk, rows: Vectors) -> None:
    """A gallery `g` of the model `m` with these vectors (n, d)."""
    count, dimension = rows.shape
    crosswalk.models.create(NewModel(id="m", dimension=dimension, metric="cosine"))
    crosswalk.galleries.create(NewGallery(id="g", model="m"))
    table = pa.table(
        {
            "id": [f"item-{row}" for row in range(count)],
            "label": [f"label-{row % 100}" for row in range(count)],
            "payload": [f'{{"row": {row}}}' for row in range(count)],
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), type=vector_type(dimension)),
        }
    )
    store = crosswalk.galleries.store(crosswalk.galleries.info("g"))
    store.put("m", dimension, lambda: (), table.schema, lambda: iter(table.to_batches()))


def scope(application: FastAPI, path: str, query: bytes) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query,
        "headers": [(b"host", b"127.0.0.1:8000")],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8_000),
        "state": {},
        "app": application,
    }


def parts(crosswalk: Crosswalk, vector: np.ndarray) -> dict[str, Callable[[], object]]:
    """What a search does, step by step."""
    text = urlsafe_b64encode(vector.tobytes()).decode()
    query = f"gallery=g&model=m&k={K}&vector={text}".encode()
    resolved = crosswalk.search_resolver.resolve("g", "m", None, EVERYTHING)
    answers = crosswalk.search.search(resolved, K, vector[None, :])
    index = crosswalk.live.index(resolved.gallery, 1)
    reader = SearchResolver(
        crosswalk.settings, crosswalk.database, crosswalk.models, crosswalk.galleries, crosswalk.embedders
    )
    asked = {"headers": [], "query_string": query}
    return {
        "reading the parameters": lambda: plain_query(asked),
        "asking whether anything was committed": crosswalk.commits.now,
        "the route, kept (with that)": lambda: crosswalk.search_resolver.resolve("g", "m", None, EVERYTHING),
        "the route, read from the database": lambda: reader.resolve("g", "m", None, EVERYTHING),
        "decoding the vector": lambda: decode_query_vector(text, len(vector)),
        "the index, seen to be level with the items": lambda: crosswalk.live.index(resolved.gallery, 1),
        "comparing with every row": lambda: index.search(vector[None, :], K),
        "search, from the route to items": lambda: crosswalk.search.search(resolved, K, vector[None, :]),
        "writing JSON": lambda: answers.one_to_json(0),
        "watching the stream": lambda: crosswalk.streams.saw(("queries", "g", "m"), vector[None, :]),
    }


def median_cpu(step: Callable[[], object], repeats: int) -> float:
    """Microseconds of the calling thread."""
    spent = []
    for _ in range(repeats):
        before = time.thread_time_ns()
        step()
        spent.append(time.thread_time_ns() - before)
    return statistics.median(spent) / 1e3


async def request_cpu(request: Callable[[], Awaitable[None]], repeats: int) -> float:
    """Microseconds of all threads, a request; the median of parts of a hundred requests."""
    spent = []
    for _ in range(max(1, repeats // 100)):
        before = time.process_time()
        for _ in range(100):
            await request()
        spent.append((time.process_time() - before) * 1e4)
    return statistics.median(spent)


async def measured(settings: Settings, rows: Vectors, vector: np.ndarray, repeats: int) -> dict[str, float]:
    application = create_app(settings)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        if message.get("status", 200) != 200:
            raise RuntimeError(str(message))

    def request(path: str, query: bytes) -> Callable[[], Awaitable[None]]:
        return lambda: application(scope(application, path, query), receive, send)

    async with application.router.lifespan_context(application):
        crosswalk: Crosswalk = application.state.crosswalk
        fill(crosswalk, rows)
        costs = {name: median_cpu(step, repeats) for name, step in parts(crosswalk, vector).items()}
        query = f"gallery=g&model=m&k={K}&vector={urlsafe_b64encode(vector.tobytes()).decode()}".encode()
        costs["GET /healthz, all of it"] = await request_cpu(request("/healthz", b""), repeats)
        costs["GET /search, all of it"] = await request_cpu(request("/search", query), repeats)
        costs["GET /search by FastAPI's parameters"] = await request_cpu(
            request("/search", query + b"&filter=+{}"),
            repeats,  # a blank is not read by the short way
        )
    return costs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=2_000)
    chosen = parser.parse_args()
    rows, queries = data(chosen.items, chosen.dimension, 1)
    configure_logging("console")
    with tempfile.TemporaryDirectory() as folder:
        costs = asyncio.run(measured(Settings(data_dir=Path(folder)), rows, queries[0], chosen.repeats))
    table = Table(title=f"{chosen.items:,} × {chosen.dimension}, cosine, k = {K}; µs of CPU")
    table.add_column("")
    table.add_column("µs", justify="right")
    for name, cost in costs.items():
        table.add_row(name, f"{cost:,.1f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
