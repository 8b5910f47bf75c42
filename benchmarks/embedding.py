"""How busy embedding keeps a local server, next to a bare client; and what `POST /v1/embeddings` adds to its answer.

python -m benchmarks.embedding [--texts 4000] [--places 4] [--ms 40] [--rounds 4] [--calls 300]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from app.embedders.kept_vectors import KeptVectors
from app.embedders.openai_protocol import OpenAIEmbedder
from app.embedders.options import OpenAIOptions
from app.embedders.protocol import EmbedderCall
from app.embedders.run import EmbeddingRun
from app.embedders.spending import Spending
from app.settings import Settings
from app.storage.database import Database
from app.storage.migrate import migrate
from benchmarks.embedding_servers import DIMENSION, ITEMS, RunningEmbedder, SeenItems, running_embedder, until_answered

BATCH, PAIRS = 32, 500
MODEL = "a-model"


async def bare(server: RunningEmbedder, texts: Sequence[str], concurrency: int) -> None:
    """What keeps a server as busy as can be: so many requests at any time, and nothing else."""
    waiting = [list(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)]

    async def ask() -> None:
        while waiting:
            answer = await client.post(f"{server.url}/v1/embeddings", json={"model": MODEL, "input": waiting.pop()})
            answer.json()

    async with httpx.AsyncClient(timeout=60) as client:
        await asyncio.gather(*(ask() for _ in range(concurrency)))


async def hooked(server: RunningEmbedder, texts: Sequence[str], concurrency: int, database: Database) -> None:
    """As a worker embeds: within a budget that is written down, keeping each answer."""
    options = OpenAIOptions(url=f"{server.url}/v1", batch=BATCH, concurrency=concurrency)
    embedder, call = OpenAIEmbedder("e5", options), EmbedderCall(MODEL, DIMENSION)
    kept = KeptVectors(database, "e5", options.place, call, "")
    run = EmbeddingRun(embedder, call, "", options.pace, kept, Spending(database, "benchmark", options.prices))
    done = await run.embed(texts)
    assert done.has.all()
    await embedder.close()


def how_busy(texts: int, places: int, milliseconds: float, rounds: int, folder: Path) -> None:
    """Prints the share of the server's places that were busy, for each client in turn, over all rounds."""
    database = Database(Settings(data_dir=folder / "hook").sqlalchemy_url)
    migrate(database)
    print(f"{texts} texts in batches of {BATCH}, {places} places of {milliseconds:g} ms a batch:")
    with running_embedder(places, milliseconds) as server:
        worked, places_seconds = dict.fromkeys(("bare", "hook"), 0.0), dict.fromkeys(("bare", "hook"), 0.0)
        for name in ("bare", "hook") * rounds:
            asked = [str(number) for number in range(texts)] if name == "bare" else _unseen(texts)
            server.busy()
            began = time.perf_counter()
            asyncio.run(bare(server, asked, places) if name == "bare" else hooked(server, asked, places, database))
            wall = time.perf_counter() - began
            busy = server.busy()
            worked[name] += busy
            places_seconds[name] += wall * places
            print(f"  {name}  {texts / wall:8.0f} texts/s   busy {busy / (wall * places):.3f}")
    shares = {name: worked[name] / places_seconds[name] for name in worked}
    print(f"  the hook is {shares['hook'] / shares['bare']:.3f} as busy as the bare client")
    database.close()


def what_is_added(calls: int, milliseconds: float, folder: Path) -> None:
    """Prints the median of the embedder's own answer to one query, of the service's, and what it adds."""
    with running_embedder(8, milliseconds) as server, _service(folder, server) as (url, process):
        upgrade = _accepted(url)
        service = psutil.Process(process)
        with httpx.Client(timeout=60) as client:
            own, through = [], []
            worked = sum(service.cpu_times()[:2])
            for call in range(calls):  # in turn, so that both see the same machine
                own.append(_timed(client, f"{server.url}/v1/embeddings", MODEL, str(call)))
                through.append(_timed(client, f"{url}/v1/embeddings", f"{upgrade}-query", str(call)))
        worked = sum(service.cpu_times()[:2]) - worked
    pairs = sorted(b - a for a, b in zip(own, through, strict=True))
    print(f"one query, {DIMENSION} → {DIMENSION} dimensions, {calls} calls in turn, milliseconds:")
    alone, with_service = (1e3 * statistics.median(waits) for waits in (own, through))
    print(f"  embedder alone {alone:.2f}   through the service {with_service:.2f}")
    print(f"  processor time of the service, its worker's included: {1e3 * worked / calls:.2f} a call")
    print(f"  added: median {1e3 * pairs[len(pairs) // 2]:.2f}, 90 % under {1e3 * pairs[int(len(pairs) * 0.9)]:.2f}")


_asked = 0


def _unseen(texts: int) -> list[str]:
    """Texts that no answer was kept of."""
    global _asked
    _asked += ITEMS * 1_000
    return [str(_asked + number) for number in range(texts)]


def _timed(client: httpx.Client, url: str, model: str, text: str) -> float:
    began = time.perf_counter()
    client.post(url, json={"model": model, "input": text, "encoding_format": "base64"}).raise_for_status()
    return time.perf_counter() - began


@contextmanager
def _service(folder: Path, server: RunningEmbedder) -> Iterator[tuple[str, int]]:
    """Its address, and its process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    connections = folder / "connections.toml"
    connections.write_text(f'[e5]\nkind = "openai"\nurl = "{server.url}/v1"\nmodel = "{MODEL}"\n')
    command = [sys.executable, "-m", "app.cli", "serve", "--port", str(port), "--data-dir", str(folder / "service")]
    environment = os.environ | {"CROSSWALK_CONNECTIONS": str(connections)}
    with (folder / "service.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        until_answered(f"http://127.0.0.1:{port}/healthz")
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.terminate()
        process.wait()


def _accepted(url: str) -> str:
    """The id of an upgrade that was accepted, and is not switched to."""
    seen = SeenItems.made()
    items = [
        {"id": f"item-{place}", "label": label, "embedding": vector, "payload": {"text": str(place)}}
        for place, (label, vector) in enumerate(zip(seen.label, seen.old.tolist(), strict=True))
    ]
    with httpx.Client(base_url=url, timeout=600) as client:
        for model, more in (("old", {}), ("new", {"embedder": {"connection": "e5"}})):
            body = {"id": model, "dimension": DIMENSION, "metric": "cosine", **more}
            client.post("/models", json=body).raise_for_status()
        client.post("/galleries", json={"id": "faq", "model": "old"}).raise_for_status()
        for start in range(0, ITEMS, 500):
            part = json.dumps({"items": items[start : start + 500]}).encode()
            put = client.put(
                "/galleries/faq/items?model=old", content=part, headers={"content-type": "application/json"}
            )
            put.raise_for_status()
        asked = {"to": "new", "pairs": PAIRS, "method": "ridge", "activate": "manually"}
        upgrade = str(client.post("/models/old/upgrade", json=asked).raise_for_status().json()["id"])
        while (now := client.get(f"/upgrades/{upgrade}").json())["state"] not in ("ready", "rejected", "failed"):
            time.sleep(0.5)
    if now["state"] != "ready":
        raise RuntimeError(now["reason"])
    return upgrade


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=4_000)
    parser.add_argument("--places", type=int, default=4)
    parser.add_argument("--ms", type=float, default=40.0)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--calls", type=int, default=300)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        how_busy(given.texts, given.places, given.ms, given.rounds, Path(folder))
        what_is_added(given.calls, 5.0, Path(folder))


if __name__ == "__main__":
    main()
