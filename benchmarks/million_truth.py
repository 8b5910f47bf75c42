"""What a gallery must answer while clients change it: every item's states in time, and every score recomputed."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from models.portable import Array

ModelName = Literal["old", "new"]
FaultKind = Literal["wrong space", "stale", "torn", "wrong generation", "wrong order"]

TOLERANCE = 1e-4
"""Of a cosine that the service computes in float32."""

_RECENT = 400


@dataclass
class Write:
    """One write of one item. old, new: its vectors from then on, each (d,), both None once it is deleted.

    began, ended: when it was sent and when it was acknowledged, by the monotonic clock; ended is infinite until then,
    and stays so where nobody knows whether it was done.
    """

    version: int
    old: Array | None
    new: Array | None
    began: float
    ended: float = math.inf

    def vector(self, model: ModelName) -> Array | None:
        return self.old if model == "old" else self.new


@dataclass(frozen=True)
class Asked:
    """A query and when it was under way."""

    model: ModelName
    vector: Array
    began: float
    ended: float


@dataclass(frozen=True)
class Fault:
    """An answer that no correct service gives."""

    kind: FaultKind
    detail: str


@dataclass
class Truth:
    """The states of all items. base: (n, d), the vector of the old model that each was first written with.

    carry: from old vectors (m, d) into the new model's space, as the upgrade learned it; None before.
    """

    base: Array
    carry: Callable[[Array], Array] | None = None
    _writes: dict[str, list[Write]] = field(default_factory=dict)
    _pointer: list[Write] = field(default_factory=lambda: [Write(1, None, None, -math.inf, -math.inf)])
    _recent: deque[tuple[str, Write]] = field(default_factory=lambda: deque(maxlen=_RECENT))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, name: str, write: Write) -> None:
        """Called before the write is sent. One thread writes each item."""
        with self._lock:
            self._writes[name] = [*self.writes(name), write]

    def acknowledge(self, name: str, write: Write, ended: float) -> None:
        with self._lock:
            write.ended = ended
            self._recent.append((name, write))

    def take_back(self, name: str) -> None:
        """The last write of the item was refused, and never happened. Called by the thread that began it."""
        with self._lock:
            self._writes[name] = self._writes[name][:-1]

    def writes(self, name: str) -> list[Write]:
        """In their order; none of an item that nobody wrote."""
        if name in self._writes:
            return self._writes[name]
        place = _place(name)
        known = place is not None and place < len(self.base)
        return [Write(0, self.base[place], None, -math.inf, -math.inf)] if known else []

    def begin_switch(self, generation: int, began: float) -> Write:
        """The gallery's pointer, whose versions are numbers of generations."""
        switch = Write(generation, None, None, began)
        self._pointer.append(switch)
        return switch

    def rolled_back(self, began: float, ended: float) -> bool:
        """Whether the old model's generation may have been the gallery's at some moment between."""
        return 1 in self._generations(began, ended)

    def _generations(self, began: float, ended: float) -> set[int]:
        return {one.version for one in _possible(self._pointer, began, ended)}

    def recent(self) -> list[tuple[str, Write]]:
        """The writes that were acknowledged last, oldest first."""
        with self._lock:
            return list(self._recent)

    def newest(self, name: str, write: Write) -> bool:
        """Whether no later write of the item has been sent."""
        return self.writes(name)[-1] is write

    def changed(self) -> dict[str, Write]:
        """The last write of each item that was written after the first filling."""
        with self._lock:
            return {name: writes[-1] for name, writes in self._writes.items() if writes}

    def carried(self, old: Array) -> Array:
        """Old vectors (m, d) in the new model's space. Raises RuntimeError before an upgrade has learned how."""
        if self.carry is None:
            raise RuntimeError("no upgrade has learned a transformation yet")
        return self.carry(old)

    def held(self, write: Write, route: str) -> Array | None:
        """The vector that queries are compared with on a route; None where the item is not to be found there."""
        if route == "direct":
            return write.old
        if route == "transformed" and write.new is not None:
            return write.new
        return None if write.old is None else self.carried(write.old[None])[0]

    def faults(self, asked: Asked, answer: dict[str, Any], hits: Sequence[dict[str, Any]]) -> Iterator[Fault]:
        """Everything that is wrong with the hits of one query. answer: what the service said beside them."""
        route, generation = answer["route"], answer["generation"]
        generations = self._generations(asked.began, asked.ended) if asked.model == "new" else {1}
        if generation not in generations:
            yield Fault("wrong generation", f"{generation} by {route}, not of {sorted(generations)}")
        if (route == "direct") is not (asked.model == "old"):
            yield Fault("wrong space", f"a query of the {asked.model} model was answered by route {route}")
        scores = [hit["score"] for hit in hits]
        if scores != sorted(scores, reverse=True) or len({hit["id"] for hit in hits}) < len(hits):
            yield Fault("wrong order", f"scores {scores}")
        for hit in hits:
            yield from self._faults_of_hit(asked, route, hit)

    def _faults_of_hit(self, asked: Asked, route: str, hit: dict[str, Any]) -> Iterator[Fault]:
        writes = self.writes(hit["id"])
        shown = next((one for one in writes if one.version == hit["payload"]["version"]), None)
        told = f"{hit['id']} by {route} with {hit['payload']} scored {hit['score']}"
        if shown is None or shown not in _possible(writes, asked.began, asked.ended):
            yield Fault("stale", f"{told}: written since were {[one.version for one in writes]}")
        vector = None if shown is None else self.held(shown, route)
        if vector is not None and abs(cosine(asked.vector, vector) - hit["score"]) < TOLERANCE:
            return
        others = [held for one in writes if (held := self.held(one, route)) is not None]
        if any(abs(cosine(asked.vector, held) - hit["score"]) < TOLERANCE for held in others):
            yield Fault("torn", f"{told}: the score is another write's")
        else:
            expected = None if vector is None else cosine(asked.vector, vector)
            yield Fault("wrong space", f"{told}, and would score {expected}")


def _possible(writes: Sequence[Write], began: float, ended: float) -> list[Write]:
    """Those that may be what a search sees: begun before it ended, and not surely replaced before it began."""
    return [
        one
        for place, one in enumerate(writes)
        if one.began <= ended and all(later.ended >= began for later in writes[place + 1 :])
    ]


def cosine(one: Array, other: Array) -> float:
    one64, other64 = one.astype(np.float64), other.astype(np.float64)
    return float(one64 @ other64 / np.linalg.norm(one64) / np.linalg.norm(other64))


def name_of(place: int) -> str:
    """The id of a row of the base."""
    return f"item-{place:08d}"


def _place(name: str) -> int | None:
    kind, _, number = name.partition("-")
    return int(number) if kind == "item" else None
