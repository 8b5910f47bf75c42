"""The routes by which a query reaches a gallery, each made ready over HTTP, so that they can take turns.

Gallery `g` of model `m` stays as it is: `m` itself searches it by `direct`, and a model that is crossed to by `instant`
or `cascade`, as it names. Gallery `t` holds the same items, and is rewritten for another model: `transformed`.
"""

from __future__ import annotations

import io
import time
from base64 import urlsafe_b64encode
from typing import Any

import httpx
import numpy as np
import pyarrow as pa

from app.index import Vectors
from benchmarks.http_load import get
from benchmarks.search_writer import ARROW, arrow_items

DIRECT, TRANSFORMED, INSTANT, CASCADE = "direct", "transformed", "instant", "cascade"
AIMS = {TRANSFORMED: 1.0, INSTANT: 1.2, CASCADE: 3.0}
"""How many times as long as `direct` a route is to take at most."""

_NOISE = 0.02
_OVER = {"ready", "accepted", "active", "rejected", "failed", "cancelled", "evaluated"}


def ready_routes(port: int, rows: Vectors, pairs: Vectors, queries: Vectors, k: int) -> dict[str, list[bytes]]:
    """The requests of each route, one for each of the queries (m, d), once every route answers. rows: (n, d), those of
    gallery `g`, which is there; pairs: (p, d), others of model `m`, which the crossings are learned from. Raises
    RuntimeError where a route is answered by another."""
    crossed, rewritten = _seen_by("crossed", queries), _seen_by("rewritten", queries)
    asked = {
        DIRECT: ("gallery=g&model=m", queries),
        TRANSFORMED: ("gallery=t&model=rewritten", rewritten),
        INSTANT: ("gallery=g&model=crossed&route=instant", crossed),
        CASCADE: ("gallery=g&model=crossed&route=cascade", crossed),
    }
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=600) as client:
        _done(client.post("/galleries", json={"id": "t", "model": "m"}))
        _done(client.put("/galleries/t/items?model=m", content=arrow_items(rows), headers={"content-type": ARROW}))
        for model, gallery, method in (("crossed", "g", "residual_mlp"), ("rewritten", "t", "ridge")):
            _done(client.post("/models", json={"id": model, "dimension": rows.shape[1], "metric": "cosine"}))
            _done(client.post("/datasets", json={"id": model}))
            body = _pairs(pairs, model)
            _done(client.put(f"/datasets/{model}/rows", content=body, headers={"content-type": ARROW}))
            _upgraded(client, model, gallery, method)
        for route, (where, vectors) in asked.items():
            answer = _done(client.get(_target(where, vectors[0], k))).json()
            if answer["route"] != route:
                raise RuntimeError(f"{route} is answered by {answer['route']}")
    return {route: [get(_target(where, vector, k)) for vector in vectors] for route, (where, vectors) in asked.items()}


def _upgraded(client: httpx.Client, to: str, gallery: str, method: str) -> None:
    """Upgrades a gallery of model `m`, and waits until that has come to an end. Raises RuntimeError for a bad one."""
    body = {
        "to": to,
        "method": method,
        "dataset": to,
        "galleries": [gallery],
        "gate": {"metric": "recall@10", "require": {"at_least": 0.0}},
        "rewrite": gallery == "t",
        "fused": False,
    }
    upgrade: dict[str, Any] = _done(client.post("/models/m/upgrade", json=body)).json()
    while upgrade["state"] not in _OVER:
        time.sleep(0.5)
        upgrade = _done(client.get(f"/upgrades/{upgrade['id']}")).json()
    if upgrade["state"] not in ("accepted", "active", "ready"):
        raise RuntimeError(f"the upgrade to {to} is {upgrade['state']}: {upgrade['reason']}")


def _seen_by(model: str, vectors: Vectors) -> Vectors:
    """What a model makes of what model `m` has these vectors of, (n, d) → (n, d)."""
    dimension = vectors.shape[1]
    fixed = np.random.default_rng(len(model))  # another for each of the two
    turned = vectors @ fixed.standard_normal((dimension, dimension)).astype(np.float32)
    if model == "crossed":
        turned = np.tanh(2 * turned)
    noise = np.random.default_rng(1).standard_normal(turned.shape).astype(np.float32)
    return np.asarray(turned + _NOISE * noise, np.float32)


def _pairs(vectors: Vectors, model: str) -> bytes:
    columns = {"embedding.m": vectors, f"embedding.{model}": _seen_by(model, vectors)}
    table = pa.table(
        {"id": [f"pair-{row}" for row in range(len(vectors))]}
        | {
            name: pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
            for name, values in columns.items()
        }
    )
    body = io.BytesIO()
    with pa.ipc.new_stream(body, table.schema) as stream:
        stream.write_table(table)
    return body.getvalue()


def _target(where: str, vector: np.ndarray, k: int) -> str:
    return f"/search?{where}&k={k}&vector={urlsafe_b64encode(vector.tobytes()).decode()}"


def _done(answer: httpx.Response) -> httpx.Response:
    """The answer. Raises RuntimeError, with the problem, where it is one."""
    if answer.is_error:
        raise RuntimeError(f"{answer.request.method} {answer.request.url.path[:80]}: {answer.text}")
    return answer
