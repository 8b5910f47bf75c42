"""A service whose models have embedders on loopback, and galleries whose items have texts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa

from app.main import Worker
from app.settings import Settings
from tests.e2e.user import PARQUET, Scene, parquet, table
from tests.embedding_server import EmbeddingServer, connections_file, embedding_server
from tests.serving import serving
from tests.workers.stepping import WorkerInside
from tests.worlds import NEW, OLD, Floats, world

WORLD = world()
TEXT_OF = {item: f"This is item {item}." for item in WORLD.gallery.id}
QUERY_TEXTS = [f"This is item {query}." for query in WORLD.queries.id]
PREFIX = "passage: "

_PLACE_OF = {f"This is item {item}.": place for place, item in enumerate([*WORLD.gallery.id, *WORLD.queries.id])}


def reader(model: str) -> Any:
    """A model of the world as an embedder: it reads which item a text is, with a prefix before it or without."""
    vectors: Floats = np.concatenate([getattr(WORLD.gallery, model), getattr(WORLD.queries, model)])
    return lambda text: vectors[_PLACE_OF[text.removeprefix(PREFIX)]]


@dataclass(frozen=True)
class Town:
    """The service, and the embedders of its new and of its old models, which are told what to do with what they are
    asked."""

    client: httpx.Client
    server: EmbeddingServer
    old_server: EmbeddingServer
    settings: Settings

    def scene(self, *, old_embedder: bool = False, **embedder: Any) -> Scene:
        """A gallery of texts in vectors of `<…>-old`, and a new model `<…>-new` with an embedder."""
        scene = Scene(self.client, WORLD)
        scene.old, name = f"{scene.old}-texts-old", scene.old
        scene.gallery = f"{scene.gallery}-texts"
        old = {"embedder": {"connection": "old-model"}} if old_embedder else {}
        scene.post("/models", {"id": scene.old, "dimension": OLD, "metric": "cosine", **old}, 201)
        scene.post("/galleries", {"id": scene.gallery, "model": scene.old}, 201)
        payloads = [json.dumps({"text": TEXT_OF[item], "page": 1}) for item in WORLD.gallery.id]
        rows = table(WORLD.gallery, WORLD.gallery.old).append_column("payload", pa.array(payloads))
        scene.put_body(parquet(rows), PARQUET)
        scene.new = f"{name}-embedded-new"
        prefixes = {"query_prefix": PREFIX, "document_prefix": PREFIX}
        body = {"id": scene.new, "dimension": NEW, "metric": "cosine"}
        scene.post("/models", body | {"embedder": {"connection": "e5", **prefixes, **embedder}}, 201)
        self.server.received.clear()
        self.old_server.received.clear()
        return scene

    def start(self, scene: Scene, **more: Any) -> str:
        body = {"to": scene.new, "method": "ridge", "galleries": [scene.gallery], "pairs": 200, **more}
        return str(scene.post(f"/models/{scene.old}/upgrade", body, 202)["id"])


@contextmanager
def embedding_town(folder: Path, worker: Worker | None = WorkerInside, **settings: Any) -> Iterator[Town]:
    """A town for as long as the context is open; without a worker, its steps wait for the test to do them."""
    with embedding_server(reader("new")) as server, embedding_server(reader("old")) as old_server:
        path = connections_file(
            folder,
            server.connection("e5", batch=16),
            server.connection("priced", batch=16, price_per_item=0.01),
            old_server.connection("old-model"),
        )
        here = Settings(
            data_dir=folder / "data",
            connections=path,
            device="cpu",
            heartbeat_seconds=0.3,
            lease_seconds=600.0,
            **settings,
        )
        with serving(here, worker) as client:
            yield Town(client, server, old_server, here)
