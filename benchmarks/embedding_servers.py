"""A local embedder with so many places, each taking a fixed time for a batch, in a process of its own; it counts how
busy they were. And the world that it reads: items of classes, as an old and as a new model see them."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import numpy as np
import uvicorn
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

ITEMS, CLASSES, DIMENSION, LATENT = 2_000, 40, 384, 24
_NOISE = {"old": 0.9, "new": 0.2}


@dataclass(frozen=True)
class SeenItems:
    """label: (n,) of every item; old, new: (n, d) float32."""

    label: list[str]
    old: NDArray[np.float32]
    new: NDArray[np.float32]

    @classmethod
    def made(cls) -> SeenItems:
        """The same each time."""
        rng = np.random.default_rng(0)
        codes = rng.integers(CLASSES, size=ITEMS)
        points = rng.normal(size=(CLASSES, LATENT))[codes] + rng.normal(size=(ITEMS, LATENT)) * 0.4
        views = {
            name: (points + rng.normal(size=points.shape) * noise) @ rng.normal(size=(LATENT, DIMENSION))
            for name, noise in _NOISE.items()
        }
        return cls([f"class-{code}" for code in codes], *(views[name].astype(np.float32) for name in ("old", "new")))


@dataclass(frozen=True)
class RunningEmbedder:
    """Where it listens."""

    url: str

    def busy(self) -> float:
        """Seconds that its places were busy since this was asked last, all together."""
        return float(httpx.get(f"{self.url}/busy").json())


@contextmanager
def running_embedder(places: int, milliseconds: float) -> Iterator[RunningEmbedder]:
    """An embedder for as long as the context is open."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "benchmarks.embedding_servers", str(port), str(places), str(milliseconds)]
    process = subprocess.Popen(command)
    url = f"http://127.0.0.1:{port}"
    try:
        until_answered(f"{url}/busy")
        yield RunningEmbedder(url)
    finally:
        process.terminate()
        process.wait()


def until_answered(url: str) -> None:
    """Returns once there is a good answer. Raises TimeoutError after two minutes."""
    began = time.monotonic()
    while time.monotonic() - began < 120:
        try:
            if httpx.get(url, timeout=5).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise TimeoutError(url)


def _application(places: int, seconds: float) -> Starlette:
    shown = [json.dumps(vector) for vector in SeenItems.made().new.tolist()]
    turns = asyncio.Semaphore(places)
    busy = 0.0

    async def embeddings(request: Request) -> Response:
        nonlocal busy
        body = await request.json()
        given = body["input"]
        texts = [given] if isinstance(given, str) else given
        async with turns:
            began = time.perf_counter()
            await asyncio.sleep(seconds)
            busy += time.perf_counter() - began
        data = ",".join(
            f'{{"object":"embedding","index":{index},"embedding":{shown[int(text) % ITEMS]}}}'
            for index, text in enumerate(texts)
        )
        head = f'{{"object":"list","model":{json.dumps(body["model"])},"usage":{{"total_tokens":{len(texts)}}},"data":['
        return Response(f"{head}{data}]}}", media_type="application/json")

    async def told(_: Request) -> Response:
        nonlocal busy
        so_far, busy = busy, 0.0
        return JSONResponse(so_far)

    return Starlette(routes=[Route("/v1/embeddings", embeddings, methods=["POST"]), Route("/busy", told)])


if __name__ == "__main__":
    port, places, milliseconds = sys.argv[1:]
    uvicorn.run(
        _application(int(places), float(milliseconds) / 1e3), port=int(port), log_level="warning", access_log=False
    )
