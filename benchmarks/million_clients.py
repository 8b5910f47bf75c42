"""Clients that search and write a gallery at a steady pace, and look hard at every answer."""

from __future__ import annotations

import threading
import time
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np

from benchmarks.million_truth import TOLERANCE, Asked, ModelName, Truth, Write, name_of
from models.portable import Array

GALLERY, K = "million", 10
CONNECTIONS = 4
"""Of each client, in turn: so many land in every gateway process."""

REFUSED = "refused for want of a way"
"""Queries and vectors of the new model, when the gallery's generation may have been the old one: after a rollback, and
vectors before the switch as well."""

PUSHED = ("instant", "cascade")
"""The routes by which queries of the new model search old vectors."""

_NO_WAY = (409, 422)
_LONGEST_PAUSE = 2.0
_EXAMPLES = 20
_AT_ONCE = 8

Views = Callable[[int, int], tuple[Array, Array]]
"""Fresh vectors of both models, each (count, d), by a seed and a count."""


@dataclass
class Tally:
    """What all clients saw together."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    waits: dict[str, list[float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str, number: int = 1) -> None:
        with self._lock:
            self.counts[what] += number

    def fault(self, kind: str, detail: str) -> None:
        with self._lock:
            self.counts[kind] += 1
            if len(self.examples) < _EXAMPLES:
                self.examples.append(f"{kind}: {detail[:500]}")

    def waited(self, phase: str, seconds: float) -> None:
        with self._lock:
            self.waits.setdefault(phase, []).append(seconds)


@dataclass(frozen=True)
class Sent:
    """When a request was under way, and its answer; None where it was none of success. refused: nothing was done."""

    began: float
    ended: float
    answer: httpx.Response | None
    refused: bool = False


def never(_began: float, _ended: float) -> bool:
    return False


class Caller:
    """One client's connections. Used by one thread."""

    def __init__(self, url: str, tally: Tally) -> None:
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1)
        self._clients = [httpx.Client(base_url=url, timeout=120, limits=limits) for _ in range(CONNECTIONS)]
        self._turn = 0
        self.tally = tally

    def send(self, method: str, path: str, refusable: Callable[[float, float], bool] = never, **request: Any) -> Sent:
        """Again while the service asks to come back later; any other answer that is no success counts as an error.

        refusable: whether a request that was under way then may be refused for want of a way to the new model.
        """
        while True:
            self._turn = (self._turn + 1) % CONNECTIONS
            began = time.monotonic()
            try:
                answer = self._clients[self._turn].request(method, path, **request)
            except httpx.TransportError as error:
                self.tally.fault("errors", f"{method} {path}: {error!r}")
                return Sent(began, time.monotonic(), None)
            if answer.status_code in (429, 503) and "retry-after" in answer.headers:
                self.tally.count("held back")
                time.sleep(min(float(answer.headers["retry-after"]), _LONGEST_PAUSE))
                continue
            ended = time.monotonic()
            if answer.status_code in _NO_WAY and refusable(began, ended):
                self.tally.count(REFUSED)
                return Sent(began, ended, None, refused=True)
            if not answer.is_success:
                self.tally.fault("errors", f"{method} {path}: {answer.status_code} {answer.text}")
                return Sent(began, ended, None)
            return Sent(began, ended, answer)

    def close(self) -> None:
        for client in self._clients:
            client.close()


@dataclass
class Stage:
    """What clients share. models: those that searches and writes are made by now. phase: what happens meanwhile."""

    url: str
    truth: Truth
    tally: Tally
    views: Views
    models: Sequence[ModelName] = ("old",)
    phase: str = "filled"
    stop: threading.Event = field(default_factory=threading.Event)


def encoded(vector: Array) -> str:
    """A vector as GET /search takes it."""
    return urlsafe_b64encode(np.ascontiguousarray(vector, np.float32).tobytes()).decode()


@dataclass(frozen=True)
class Found:
    """The route that a search took, and the hits of each query."""

    route: str
    hits: list[list[dict[str, Any]]]


def search(caller: Caller, truth: Truth, model: ModelName, queries: Array, phase: str) -> Found | None:
    """Searches by queries (m, d) and checks every answer; one query goes by GET. None where there was no answer."""
    asked: dict[str, Any] = {"gallery": GALLERY, "model": model, "k": K}
    refusable = truth.rolled_back if model == "new" else never
    if len(queries) == 1:
        sent = caller.send("GET", "/search", refusable, params=asked | {"vector": encoded(queries[0])})
    else:
        sent = caller.send("POST", "/search", refusable, json=asked | {"vectors": queries.tolist()})
    if sent.answer is None:
        return None
    answer = sent.answer.json()
    found = Found(answer["route"], [answer["results"]] if len(queries) == 1 else answer["results"])
    caller.tally.waited(phase, sent.ended - sent.began)
    caller.tally.count("queries", len(queries))
    for query, hits in zip(queries, found.hits, strict=True):
        caller.tally.count("scores checked", len(hits))
        for fault in truth.faults(Asked(model, query, sent.began, sent.ended), answer, hits):
            caller.tally.fault(fault.kind, fault.detail)
    return found


def searching(stage: Stage, number: int, pause: float) -> None:
    """Searches until the stage stops: for what was written last, and for anything."""
    random, caller = np.random.default_rng([7, number]), Caller(stage.url, stage.tally)
    while not stage.stop.wait(pause):
        model = stage.models[int(random.integers(len(stage.models)))]
        recent = stage.truth.recent()
        if recent and random.random() < 0.6:
            _look_for(stage, caller, model, *recent[-1 - int(random.geometric(0.1)) % len(recent)])
        else:
            count = 1 if random.random() < 0.7 else _AT_ONCE
            old, new = stage.views(int(random.integers(2**31)), count)
            search(caller, stage.truth, model, old if model == "old" else new, stage.phase)
    caller.close()


def _look_for(stage: Stage, caller: Caller, model: ModelName, name: str, write: Write) -> None:
    """Searches by the very vector of an acknowledged write, which is found first, or not at all if it was deleted."""
    truth = stage.truth
    last = write if write.old is not None or write.new is not None else truth.writes(name)[-2]
    route = "direct" if model == "old" else "transformed"
    vector = truth.held(last, route)
    if vector is None:
        return
    found = search(caller, truth, model, vector[None], stage.phase)
    if found is None or last is not write or not truth.newest(name, write):
        return
    if (write.old is None and found.route != "transformed") or (write.new is not None and found.route in PUSHED):
        return  # Where the old generation answers, the item is there by another vector, or not at all.
    stage.tally.count("reads of what was written")
    (hits,) = found.hits
    if not hits or hits[0]["id"] != name or abs(hits[0]["score"] - 1) > TOLERANCE:
        stage.tally.fault("stale", f"{name}, {write.version}, by {found.route} not first of {hits[:2]}")


def writing(stage: Stage, pause: float) -> None:
    """Adds, changes and deletes items until the stage stops, and embeds some with the new model once there is one."""
    random, caller, added = np.random.default_rng(8), Caller(stage.url, stage.tally), 0
    while not stage.stop.wait(pause):
        chance = random.random()
        places = random.choice(len(stage.truth.base), size=_AT_ONCE, replace=False)
        names = [name_of(int(place)) for place in places]
        if chance < 0.4:
            names = [f"added-{added + place}" for place in range(_AT_ONCE)]
            added += _AT_ONCE
        model = stage.models[int(random.integers(len(stage.models)))]
        if any(
            before and before[-1].old is None and before[-1].new is not None
            for before in map(stage.truth.writes, names)
        ):
            model = "new"  # A first old vector may leave the new one standing or not.
        if chance < 0.85:
            _put(stage, caller, names, model, int(random.integers(2**31)))
        else:
            _delete(stage, caller, names[:2])
    caller.close()


def _put(stage: Stage, caller: Caller, names: list[str], model: ModelName, seed: int) -> None:
    """A vector of the old model takes the place of all that the item had; one of the new stands beside the old."""
    old, new = stage.views(seed, len(names))
    writes, began = [], time.monotonic()
    for place, name in enumerate(names):
        before = stage.truth.writes(name)
        kept = before[-1].old if before and model == "new" else None
        version = before[-1].version + 1 if before else 1
        after_old, after_new = (old[place], None) if model == "old" else (kept, new[place])
        writes.append(Write(version, after_old, after_new, began))
    for name, write in zip(names, writes, strict=True):
        stage.truth.begin(name, write)
    rows = [
        {"id": name, "embedding": vector.tolist(), "payload": {"version": write.version}}
        for name, write in zip(names, writes, strict=True)
        if (vector := write.vector(model)) is not None
    ]
    refusable = stage.truth.rolled_back if model == "new" else never
    asked: dict[str, Any] = {"params": {"model": model}, "json": {"items": rows}}
    sent = caller.send("PUT", f"/galleries/{GALLERY}/items", refusable, **asked)
    if sent.refused:
        for name in names:
            stage.truth.take_back(name)
    _acknowledged(stage, names, writes, sent)


def _delete(stage: Stage, caller: Caller, names: list[str]) -> None:
    began = time.monotonic()
    writes = [Write(stage.truth.writes(name)[-1].version + 1, None, None, began) for name in names]
    for name, write in zip(names, writes, strict=True):
        stage.truth.begin(name, write)
    sent = caller.send("POST", f"/galleries/{GALLERY}/items/delete", json={"ids": names})
    _acknowledged(stage, names, writes, sent)


def _acknowledged(stage: Stage, names: list[str], writes: list[Write], sent: Sent) -> None:
    if sent.answer is None:
        return
    stage.tally.count("items written", len(names))
    for name, write in zip(names, writes, strict=True):
        stage.truth.acknowledge(name, write, sent.ended)
