"""What searches of a running gallery find of the exactly nearest items, and how soon they do after a start."""

from __future__ import annotations

import time
from contextlib import suppress

import httpx
import numpy as np

from benchmarks.million_clients import GALLERY, Caller, K, encoded, search
from benchmarks.million_truth import ModelName, Truth, name_of
from models.portable import Array

_BLOCK = 50_000
_LOOK_SECONDS = 0.02


def exactly_nearest(truth: Truth, model: ModelName, queries: Array) -> list[set[str]]:
    """The ids of the K items nearest to each query (m, d) in the space of its model, by looking at all of them.

    In the new model's space as its generation holds them: transformed, or as the model itself made them.
    """
    route, changed = "direct" if model == "old" else "transformed", truth.changed()
    unit = _unit(queries)
    best: list[list[tuple[float, str]]] = [[] for _ in queries]

    def offer(names: list[str], vectors: Array) -> None:
        scores = unit @ _unit(vectors).T
        nearest = np.argsort(-scores, axis=1)[:, :K] if len(names) <= K else np.argpartition(-scores, K, axis=1)[:, :K]
        for query, places in enumerate(nearest):
            more = [(float(scores[query, place]), names[place]) for place in places]
            best[query] = sorted([*best[query], *more], reverse=True)[:K]

    for start in range(0, len(truth.base), _BLOCK):
        part = truth.base[start : start + _BLOCK]
        kept = [place for place in range(len(part)) if name_of(start + place) not in changed]
        names = [name_of(start + place) for place in kept]
        offer(names, part[kept] if model == "old" else truth.carried(part[kept]))
    later = {name: held for name, write in changed.items() if (held := truth.held(write, route)) is not None}
    if later:
        offer(list(later), np.stack(list(later.values())))
    return [{name for _, name in one} for one in best]


def recall(caller: Caller, truth: Truth, model: ModelName, queries: Array, wanted: list[set[str]]) -> float:
    """The mean share of the exactly nearest that searches find, while nobody writes."""
    shares = []
    for query, names in zip(queries, wanted, strict=True):
        found = search(caller, truth, model, query[None], f"recall, {model}")
        shares.append(0.0 if found is None else len(names & {hit["id"] for hit in found.hits[0]}) / K)
    return float(np.mean(shares))


def first_right_answer(url: str, truth: Truth, deadline: float) -> float:
    """When, by the monotonic clock, the service is ready and has found an item by its own vector.

    Raises TimeoutError once the deadline is over.
    """
    place = next(place for place in range(len(truth.base)) if name_of(place) not in truth.changed())
    asked: dict[str, str | int] = {"gallery": GALLERY, "model": "old", "k": 1, "vector": encoded(truth.base[place])}
    with httpx.Client(base_url=url, timeout=120) as client:
        while time.monotonic() < deadline:
            with suppress(httpx.TransportError):
                if client.get("/readyz").is_success:
                    answer = client.get("/search", params=asked)
                    if answer.is_success and answer.json()["results"][0]["id"] == name_of(place):
                        return time.monotonic()
            time.sleep(_LOOK_SECONDS)
    raise TimeoutError("no right answer after the start")


def _unit(vectors: Array) -> Array:
    unit: Array = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit
