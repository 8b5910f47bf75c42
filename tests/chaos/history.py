"""What clients did and saw: every operation with its call, its answer, and how sure its outcome is."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.chaos.vectors import Model

Outcome = Literal["ok", "refused", "unknown"]


@dataclass(frozen=True)
class Row:
    """One item as a put gives it: the number of the write, and which columns came with the vector."""

    id: str
    number: int
    payload: bool
    label: bool


@dataclass(frozen=True)
class Put:
    """Items in vectors of one model; inserted: how many were new, where that was answered."""

    gallery: str
    model: Model
    rows: tuple[Row, ...]
    inserted: int | None = None


@dataclass(frozen=True)
class Delete:
    gallery: str
    ids: tuple[str, ...]
    deleted: int | None = None


@dataclass(frozen=True)
class Seen:
    """An item as it was read; vectors by model."""

    payload: int | None
    label: str | None
    embeddings: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class Read:
    """One item read; seen: None where there was none."""

    gallery: str
    id: str
    seen: Seen | None = None


@dataclass(frozen=True)
class Hit:
    id: str
    score: float
    payload: int | None
    label: str | None


@dataclass(frozen=True)
class Found:
    """What a search answered."""

    generation: int
    route: str
    exact: bool
    hits: tuple[Hit, ...]


@dataclass(frozen=True)
class Search:
    """query: the number of the query's vector. ids, labels: the filter. found: None where no route leads there."""

    gallery: str
    model: Model
    query: int
    k: int
    ids: tuple[str, ...] | None = None
    labels: tuple[str, ...] | None = None
    found: Found | None = None


@dataclass(frozen=True)
class Active:
    """The number of a gallery's active generation, read."""

    gallery: str
    generation: int | None = None


@dataclass(frozen=True)
class Switch:
    """POST /galleries/{gallery}/activate."""

    gallery: str
    generation: int


@dataclass(frozen=True)
class SwitchUpgrade:
    """POST /upgrades/{upgrade}/activate or /rollback."""

    gallery: str
    upgrade: str
    back: bool


@dataclass(frozen=True)
class Start:
    """An upgrade started; at_once: whether it is to be switched to as soon as it is accepted."""

    gallery: str
    at_once: bool
    upgrade: str | None = None


SETTLED = frozenset({"ready", "active", "rolled_back", "rejected", "evaluated", "failed", "cancelled"})
"""The states that an upgrade leaves only when asked to."""


@dataclass(frozen=True)
class Looked:
    """The state of an upgrade, read."""

    gallery: str
    upgrade: str
    state: str


@dataclass(frozen=True)
class Other:
    """A call of which nothing but its status is checked."""

    name: str


What = Put | Delete | Read | Search | Active | Switch | SwitchUpgrade | Start | Looked | Other


@dataclass(frozen=True)
class Operation:
    """began, ended: seconds on one clock. gateway: the one that was called. text: of an answer that is a problem."""

    client: str
    gateway: int
    began: float
    ended: float
    outcome: Outcome
    status: int | None
    what: What
    text: str = ""


class History:
    """Operations in the order of their ends, written down as they come."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w")
        self._lock = threading.Lock()
        self._operations: list[Operation] = []

    def add(self, operation: Operation) -> None:
        line = dataclasses.asdict(operation)
        line["what"] = {"kind": type(operation.what).__name__, **dataclasses.asdict(operation.what)}
        with self._lock:
            self._operations.append(operation)
            self._file.write(json.dumps(line) + "\n")

    def close(self) -> list[Operation]:
        """Every operation; nothing is added any more."""
        with self._lock:
            self._file.close()
            return self._operations
