"""Items that flow into a gallery while it is searched."""

from __future__ import annotations

import io
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import numpy as np
import pyarrow as pa

from app.index import Vectors

ARROW = "application/vnd.apache.arrow.stream"
_WRITES_A_SECOND = 2


def arrow_items(rows: Vectors, first: int = 0) -> bytes:
    """An Arrow stream of items with these vectors (n, d), a label and a payload, named by their number from `first`."""
    count, dimension = rows.shape
    numbers = range(first, first + count)
    table = pa.table(
        {
            "id": [f"item-{number}" for number in numbers],
            "label": [f"label-{number % 100}" for number in numbers],
            "payload": [f'{{"row": {number}}}' for number in numbers],
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), dimension),
        }
    )
    body = io.BytesIO()
    with pa.ipc.new_stream(body, table.schema) as stream:
        stream.write_table(table)
    return body.getvalue()


@contextmanager
def items_flowing_in(port: int, first: int, dimension: int, a_second: int) -> Iterator[None]:
    """While the context is open, so many new items a second are put into gallery `g`, by a process of its own."""
    spawning = multiprocessing.get_context("spawn")
    writer = spawning.Process(target=_write, args=(port, first, dimension, a_second), daemon=True)
    writer.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            before = client.get("/galleries/g").json()["items"]
            while client.get("/galleries/g").json()["items"] == before:
                time.sleep(0.1)
        yield
    finally:
        writer.terminate()
        writer.join()


def _write(port: int, first: int, dimension: int, a_second: int) -> None:
    random, count = np.random.default_rng(1), a_second // _WRITES_A_SECOND
    due = time.monotonic()
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=600) as client:
        while True:
            rows = random.standard_normal((count, dimension), dtype=np.float32)
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            body = arrow_items(rows, first)
            time.sleep(max(0.0, due - time.monotonic()))
            client.put(
                "/galleries/g/items?model=m&space=unchecked", content=body, headers={"content-type": ARROW}
            ).raise_for_status()
            first, due = first + count, due + 1 / _WRITES_A_SECOND
