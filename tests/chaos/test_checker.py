"""The checker can fail: histories of a faulty service, made by hand, are each told by what is wrong with them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.chaos.checker import QUERY, Kind, Truth, check
from tests.chaos.history import (
    Active,
    Delete,
    Found,
    Hit,
    Operation,
    Outcome,
    Put,
    Read,
    Row,
    Search,
    Seen,
    Start,
    Switch,
    SwitchUpgrade,
    What,
)  # fmt: skip
from tests.chaos.item_register import label_of
from tests.chaos.vectors import Floats, Model, cosines, vector

TURN = np.linalg.qr(np.random.default_rng(0).normal(size=(12, 12)))[0].astype(np.float32)


def crossing(upgrade: str, old: Floats) -> Floats:
    return (old @ TURN).astype(np.float32)


TRUTH = Truth({"g": {2: "u"}}, crossing, {0: [100.0]})


def at(began: float, ended: float, what: What, outcome: Outcome = "ok", status: int | None = 200) -> Operation:
    return Operation("client", 0, began, ended, outcome, status, what)


def put(
    began: float, ended: float, number: int, model: Model = "old", outcome: Outcome = "ok", **more: bool
) -> Operation:
    row = Row("x", number, more.get("payload", True), more.get("label", True))
    return at(began, ended, Put("g", model, (row,)), outcome, 200 if outcome == "ok" else None)


def delete(began: float, ended: float, outcome: Outcome = "ok") -> Operation:
    return at(began, ended, Delete("g", ("x",)), outcome, 200 if outcome == "ok" else None)


def read(began: float, ended: float, payload: int | None, old: int | None = None, new: int | None = None) -> Operation:
    """Reads the item as write `payload` left it, or none where that is None."""
    if payload is None:
        return at(began, ended, Read("g", "x"))
    vectors = {m: tuple(vector(m, "g/x", n).tolist()) for m, n in (("old", old), ("new", new)) if n is not None}
    return at(began, ended, Read("g", "x", Seen(payload, label_of(payload), vectors)))


def search(
    began: float, ended: float, hits: list[tuple[float, int]], model: Model = "old", generation: int = 1
) -> Operation:
    """hits: the item's score, and its payload."""
    shown = tuple(Hit("x", score, payload, label_of(payload)) for score, payload in hits)
    route = "direct" if generation == 1 and model == "old" else "instant" if generation == 1 else "transformed"
    return at(began, ended, Search("g", model, 7, 10, found=Found(generation, route, True, shown)))


def score(number: int, query: Model = "old", made_by: Model = "old", *, transformed: bool = False) -> float:
    row = vector(made_by, "g/x", number)[None, :]
    return float(cosines(vector(query, QUERY, 7), crossing("u", row) if transformed else row)[0])


def kinds(*operations: Operation) -> list[Kind]:
    return [violation.kind for violation in check(operations, TRUTH)]


SWITCHED = [at(0.1, 0.2, Start("g", False, "u"), status=202), at(0.3, 0.4, SwitchUpgrade("g", "u", False))]

RIGHT = {
    "a write and its read": [put(0, 1, 1), read(2, 3, 1, 1), search(2, 3, [(score(1), 1)])],
    "a read during a write sees the old": [put(0, 1, 1), put(2, 5, 2), read(3, 4, 1, 1), read(3, 4, 2, 2)],
    "a write without an answer that happened": [put(0, 1, 1), put(2, 3, 2, outcome="unknown"), read(4, 5, 2, 2)],
    "a write without an answer that did not": [put(0, 1, 1), put(2, 3, 2, outcome="unknown"), read(101, 102, 1, 1)],
    "a write that happens after its connection broke": [
        put(0, 1, 1), put(2, 3, 2, outcome="unknown"), read(4, 5, 1, 1), read(99, 101, 2, 2),
    ],
    "a delete without an answer": [put(0, 1, 1), delete(2, 3, "unknown"), read(101, 102, None), search(103, 104, [])],
    "columns left out keep their values": [put(0, 1, 1), put(2, 3, 2, payload=False, label=False), read(4, 5, 1, 2)],
    "a transformed generation": [
        *SWITCHED, put(1, 2, 1), search(3, 4, [(score(1, "new", transformed=True), 1)], "new", 2),
        put(5, 6, 2, "new"), search(7, 8, [(score(2, "new", "new"), 2)], "new", 2), search(7, 8, [(score(1), 2)]),
    ],
    "a query pushed into the old space": [
        SWITCHED[0], put(1, 2, 1), search(3, 4, [(score(1, "new", transformed=True), 1)], "new", 1),
    ],
    "a search that reached nobody": [*SWITCHED, at(1, 2, Search("g", "new", 7, 10), "refused", None)],
    "an old vector drops what the new model made of the item before": [
        *SWITCHED, put(1, 2, 1), put(3, 4, 2, "new"), put(5, 6, 3), read(7, 8, 3, 3),
    ],
}  # fmt: skip

WRONG: dict[str, tuple[Kind, list[Operation]]] = {
    "a lost write": ("lost write", [put(0, 1, 1), read(2, 3, None)]),
    "an older write read": ("lost write", [put(0, 1, 1), put(2, 3, 2), read(4, 5, 1, 1)]),
    "a write read, then lost": (
        "lost write", [put(0, 1, 1), put(2, 3, 2, outcome="unknown"), read(4, 5, 2, 2), read(6, 7, 1, 1)],
    ),
    "a lost payload": ("lost write", [put(0, 1, 1), put(2, 3, 2, payload=False), at(
        4, 5, Read("g", "x", Seen(None, label_of(2), {"old": tuple(vector("old", "g/x", 2).tolist())})))]),
    "a lost re-embedded vector": (
        "lost write", [*SWITCHED, put(1, 2, 1), put(3, 4, 2, "new"), read(5, 6, 2, 1)],
    ),
    "a resurrected delete": ("resurrected delete", [put(0, 1, 1), delete(2, 3), read(4, 5, 1, 1)]),
    "a deleted item found": ("resurrected delete", [put(0, 1, 1), delete(2, 3), search(4, 5, [(score(1), 1)])]),
    "a stale search": ("stale read", [put(0, 1, 1), put(2, 3, 2), search(4, 5, [(score(1), 2)])]),
    "an item that search misses": ("stale read", [put(0, 1, 1), search(2, 3, [])]),
    "an old query against new vectors": (
        "wrong space", [*SWITCHED, put(1, 2, 1), put(3, 4, 2, "new"), search(5, 6, [(score(2, "old", "new"), 2)])],
    ),
    "a new query against old vectors as they are": (
        "wrong space", [*SWITCHED, put(1, 2, 1), search(3, 4, [(score(1, "new"), 1)], "new", 2)],
    ),
    "a score of nothing": ("never written", [put(0, 1, 1), search(2, 3, [(0.123456, 1)])]),
    "a new query scored by the re-embedded vector where the old are searched": (
        "wrong space",
        [
            SWITCHED[0],
            put(1, 2, 1),
            put(3, 4, 2, "new", "unknown"),
            search(5, 6, [(score(2, "new", "new"), 2)], "new", 1),
        ],
    ),
    "a vector that nobody wrote": (
        "never written", [put(0, 1, 1), at(2, 3, Read("g", "x", Seen(1, label_of(1), {"old": (0.5,) * 12})))],
    ),
    "vector and payload of different writes": (
        "torn read", [put(0, 1, 1), put(2, 5, 2), search(3, 4, [(score(1), 2)])],
    ),
    "an item counted as new that was there": (
        "wrong count", [put(0, 1, 1), at(2, 3, Put("g", "old", (Row("x", 2, True, True),), inserted=1))],
    ),
    "a delete of nothing that was there": ("wrong count", [put(0, 1, 1), at(2, 3, Delete("g", ("x",), deleted=0))]),
    "a lost switch": ("wrong generation", [*SWITCHED, at(1, 2, Active("g", 1))]),
    "a generation that was left": (
        "wrong generation", [*SWITCHED, at(1, 2, Switch("g", 1)), put(3, 4, 1), search(5, 6, [(
            score(1, "new", transformed=True), 1)], "new", 2)],
    ),
    "no route where there is one": (
        "wrong generation",
        [*SWITCHED, at(1, 2, Search("g", "new", 7, 10), "refused", 409)],
    ),
    "an internal error": ("server error", [at(0, 1, Read("g", "x"), "unknown", 500)]),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_history_that_is_right_is_passed(name: str) -> None:
    assert check(RIGHT[name], TRUTH) == []


@pytest.mark.parametrize("name", WRONG)
def test_history_that_is_wrong_is_told_by_what_is_wrong(name: str) -> None:
    kind, operations = WRONG[name]
    assert kinds(*operations) == [kind]


def test_same_history_in_any_order_of_recording_is_judged_alike() -> None:
    for kind, operations in WRONG.values():
        assert kinds(*reversed(operations)) == [kind]


def test_what_follows_a_violation_is_judged_too() -> None:
    lost = [put(0, 1, 1), read(2, 3, None), put(4, 5, 2), read(6, 7, 1, 1), read(8, 9, 2, 2)]
    assert kinds(*lost) == ["lost write", "lost write"]


def test_refused_writes_did_not_happen() -> None:
    refused = dataclasses.replace(put(2, 3, 2), outcome="refused", status=409)
    assert kinds(put(0, 1, 1), refused, read(4, 5, 1, 1)) == []
    assert kinds(put(0, 1, 1), refused, read(4, 5, 2, 2)) == ["never written"]
