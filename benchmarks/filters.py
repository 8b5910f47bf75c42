"""What a filter costs: searches with filters that let one item, a hundredth, half and all but one through, against the
same search without one, in one run.

    python -m benchmarks.filters [--items 200000] [--dimension 128] [--repeats 60] 2>/dev/null

Whole requests through the whole application, in process and without a network; CPU of the process, medians: what the
code costs, not what a busy machine makes of it. "new" filters are other ones at each request, so that each is worked
out; "again" is the same one over and over. The first filter on a field reads that field of all items, once.
"""

import argparse
import asyncio
import io
import itertools
import json
import statistics
import tempfile
import time
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
from fastapi import FastAPI
from rich.console import Console
from rich.table import Table
from starlette.types import Message

from app.composition import Crosswalk
from app.galleries import generations
from app.galleries.schemas import NewGallery
from app.index import Vectors
from app.logs import configure_logging
from app.main import create_app
from app.registry.schemas import NewModel
from app.settings import Settings
from app.storage.lance_table import vector_type
from benchmarks.index_speed import data
from benchmarks.search_costs import scope
from workers.serving.indexing import build_index, settle

K, QUERIES = 10, 256
LANGUAGES = ("de", "en", "fr", "es", "it")
WRITTEN = 100  # items, between two searches


def items(rows: Vectors, first: int = 0) -> pa.Table:
    """Items with payloads of five members. `n` runs from 0 to just below 1."""
    count, dimension = rows.shape
    payloads = [
        json.dumps(
            {
                "n": row / 2**20 % 1,
                "user": f"user-{row}",
                "lang": LANGUAGES[row % len(LANGUAGES)],
                "tags": [f"tag-{row % 7}", f"tag-{row % 11}"],
                "title": f"what the item {row} is about, in a few words",
            }
        )
        for row in range(first, first + count)
    ]
    return pa.table(
        {
            "id": [f"item-{row}" for row in range(first, first + count)],
            "label": [f"label-{row % 100}" for row in range(first, first + count)],
            "payload": payloads,
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), type=vector_type(dimension)),
        }
    )


def put(crosswalk: Crosswalk, table: pa.Table, dimension: int) -> None:
    store = crosswalk.galleries.store(crosswalk.galleries.info("g"))
    store.put("m", dimension, lambda: (), table.schema, lambda: iter(table.to_batches()))


def fill(crosswalk: Crosswalk, rows: Vectors) -> None:
    """A gallery `g` of the model `m` with a published index."""
    dimension = rows.shape[1]
    crosswalk.models.create(NewModel(id="m", dimension=dimension, metric="cosine"))
    crosswalk.galleries.create(NewGallery(id="g", model="m"))
    for start in range(0, len(rows), 2**18):
        put(crosswalk, items(rows[start : start + 2**18], start), dimension)
    built = build_index(crosswalk, crosswalk.galleries.info("g"), 1, lambda *_: None)
    with crosswalk.database.session() as session:
        generations.published(session, "g", 1, built.version, built.index)
    settle(crosswalk, "g", built)


class Requests:
    """Makes requests of an application that runs in this process."""

    def __init__(self, application: FastAPI, queries: Vectors) -> None:
        self._application = application
        self._vector = urlsafe_b64encode(queries[0].tobytes())
        body = io.BytesIO()
        np.save(body, queries)
        self._body = body.getvalue()

    async def get(self, filter: dict[str, Any] | None) -> None:
        await self._ask("GET", b"gallery=g&model=m&k=%d&vector=%s" % (K, self._vector), filter, b"")

    async def post(self, filter: dict[str, Any] | None) -> None:
        await self._ask("POST", b"gallery=g&model=m&k=%d" % K, filter, self._body)

    async def _ask(self, method: str, query: bytes, filter: dict[str, Any] | None, body: bytes) -> None:
        if filter is not None:
            query += b"&filter=" + quote(json.dumps(filter)).encode()
        asked = scope(self._application, "/search", query) | {"method": method}
        if body:
            asked["headers"] = [*asked["headers"], (b"content-type", b"application/x-npy")]
        answered = bytearray()

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            answered.extend(message.get("body", b""))
            if message.get("status", 200) != 200:
                raise RuntimeError(str(message))

        await self._application(asked, receive, send)


Ask = Callable[[dict[str, Any] | None], Awaitable[None]]


def kinds(count: int) -> dict[str, Iterator[dict[str, Any]]]:
    """Filters of one kind each, without end; each is another."""
    numbers, top = itertools.count(), min(1.0, count / 2**20)
    steps = (next(numbers) * 1e-9 for _ in itertools.count())
    return {
        "one item, by a string": ({"payload.user": {"eq": f"user-{number * 37 % count}"}} for number in numbers),
        "1 %, by a label": ({"label": {"eq": f"label-{number % 100}"}, "id": {"exists": True}} for number in numbers),
        "half, by a range": ({"payload.n": {"lt": top / 2 + step}} for step in steps),
        "half, and two of five languages": (
            {"payload.n": {"lt": top / 2 + step}, "payload.lang": {"in": ["de", "fr"]}} for step in steps
        ),
        "all but one": ({"not": {"payload.user": {"eq": f"user-{number * 41 % count}"}}} for number in numbers),
    }


async def median(ask: Ask, filters: Iterator[dict[str, Any] | None], repeats: int) -> float:
    """Milliseconds."""
    spent = []
    for filter in itertools.islice(filters, repeats):
        before = time.process_time_ns()
        await ask(filter)
        spent.append(time.process_time_ns() - before)
    return statistics.median(spent) / 1e6


async def measured(crosswalk: Crosswalk, requests: Requests, rows: Vectors, repeats: int, table: Table) -> None:
    await requests.post(None)  # whatever is read once is read now
    for field in ("label", "id", "payload.user", "payload.n", "payload.lang"):
        before = time.process_time()
        await requests.get({field: {"exists": True}, "label": {"eq": "none"}})
        table.add_row(f"the first filter on {field}", f"{1e3 * (time.process_time() - before):,.0f}", "", "", "")
    base = [await median(ask, itertools.repeat(None), repeats) for ask in (requests.get, requests.post)]
    table.add_row("no filter", f"{base[0]:,.2f}", "1.00", f"{base[1]:,.0f}", "1.00")
    for name, filters in kinds(len(rows)).items():
        again = itertools.repeat(next(filters))
        for how, kind in (("new", filters), ("again", again)):
            spent = [
                await median(requests.get, kind, repeats),
                await median(requests.post, kind, max(3, repeats // 10)),
            ]
            ratios = [f"{one / other:,.2f}" for one, other in zip(spent, base, strict=True)]
            table.add_row(f"{name}, {how}", f"{spent[0]:,.2f}", ratios[0], f"{spent[1]:,.0f}", ratios[1])
    half: dict[str, Any] = {"payload.n": {"lt": min(1.0, len(rows) / 2**20) / 2}}
    for name, after in (("no filter", None), ("half, by a range", half)):
        spent = []
        for number in range(10):
            put(crosswalk, items(rows[:WRITTEN], number * WRITTEN), rows.shape[1])
            spent.append(await median(requests.get, iter([after]), 1))
        label = f"right after {WRITTEN} items were written: {name}"
        table.add_row(label, f"{statistics.median(spent):,.2f}", f"{statistics.median(spent) / base[0]:,.2f}", "", "")


async def run(settings: Settings, rows: Vectors, queries: Vectors, repeats: int, table: Table) -> None:
    application = create_app(settings)
    async with application.router.lifespan_context(application):
        crosswalk: Crosswalk = application.state.crosswalk
        await asyncio.to_thread(fill, crosswalk, rows)
        await measured(crosswalk, Requests(application, queries), rows, repeats, table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=60)
    chosen = parser.parse_args()
    rows, queries = data(chosen.items, chosen.dimension, QUERIES)
    configure_logging("console")
    table = Table(title=f"{chosen.items:,} × {chosen.dimension}, cosine, k = {K}; ms of CPU, and times no filter")
    for heading in ("", "GET", "ratio", f"POST of {QUERIES}", "ratio"):
        table.add_column(heading, justify="right" if heading else "left")
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Settings(data_dir=Path(folder)), rows, queries, chosen.repeats, table))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
