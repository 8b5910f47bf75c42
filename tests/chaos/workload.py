"""What clients do: writes, reads and searches at random, and an operator who upgrades, switches and rolls back."""

from __future__ import annotations

import dataclasses
import itertools
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from tests.chaos.caller import Caller
from tests.chaos.checker import QUERY
from tests.chaos.history import (
    SETTLED,
    Active,
    Delete,
    Found,
    Hit,
    Looked,
    Operation,
    Other,
    Put,
    Read,
    Row,
    Search,
    Seen,
    Start,
    Switch,
    SwitchUpgrade,
    What,
)
from tests.chaos.item_register import LABELS, label_of
from tests.chaos.vectors import DIMENSION, Model, vector
from tests.waiting import PATIENCE_SECONDS

ITEMS = [f"item-{number:02d}" for number in range(16)]
EVERY = len(ITEMS) + 10
"""More than there are items: a search for so many leaves none out."""

_PAIRS = 90
_QUERIES = 50
_UPGRADES_OF_A_GALLERY = 6
_DWELL_SECONDS = (8.0, 20.0)
_LONGEST_UPGRADE_SECONDS = 4 * PATIENCE_SECONDS
_DATASET = "pairs"
_OLD: Model = "old"


class Stage:
    """What all clients know: the gallery at work, and the numbers of writes, which are given once."""

    def __init__(self) -> None:
        self.galleries: list[str] = []
        self._lock = threading.Lock()
        self._numbers: dict[str, itertools.count[int]] = defaultdict(lambda: itertools.count(1))

    def number(self, name: str) -> int:
        with self._lock:
            return next(self._numbers[name])


def prepare(caller: Caller) -> None:
    """Registers the models, and a dataset of pairs."""
    for model in ("old", "new"):
        body = {"id": model, "dimension": DIMENSION, "metric": "cosine"}
        caller.until_sure(Other("POST /models"), "POST", "/models", json=body)
    caller.until_sure(Other("POST /datasets"), "POST", "/datasets", json={"id": _DATASET})
    _put_pairs(caller, range(_PAIRS), 0)


def open_gallery(caller: Caller, stage: Stage) -> None:
    """A new gallery with every item in it, at which the clients work from now on."""
    gallery = f"gallery-{len(stage.galleries)}"
    caller.until_sure(Other("POST /galleries"), "POST", "/galleries", json={"id": gallery, "model": "old"})
    put(caller, stage, gallery, "old", ITEMS, whole=True)
    stage.galleries.append(gallery)


def put(
    caller: Caller, stage: Stage, gallery: str, model: Model, ids: Sequence[str], *, whole: bool = False
) -> Operation:
    """Upserts items, leaving out the payload or the label now and then."""
    payload, label = (whole or caller.random.random() < 0.75 for _ in range(2))
    rows = tuple(Row(name, stage.number(f"{gallery}/{name}"), payload, label) for name in ids)
    body = [
        {"id": row.id, "embedding": vector(model, f"{gallery}/{row.id}", row.number).tolist()}
        | ({"payload": {"write": row.number}} if payload else {})
        | ({"label": label_of(row.number)} if label else {})
        for row in rows
    ]
    what = Put(gallery, model, rows)
    url, query = f"/galleries/{gallery}/items", {"model": model}
    return caller.call(what, "PUT", url, params=query, json={"items": body}, answered=_counted("inserted"))


def delete(caller: Caller, gallery: str, ids: Sequence[str]) -> Operation:
    what, url = Delete(gallery, tuple(ids)), f"/galleries/{gallery}/items/delete"
    return caller.call(what, "POST", url, json={"ids": list(ids)}, answered=_counted("deleted"))


def read(caller: Caller, gallery: str, name: str, **more: Any) -> Operation:
    """One item; an answer that there is none is an answer."""

    def answered(what: What, body: Any) -> What:
        payload = None if body["payload"] is None else body["payload"]["write"]
        vectors = {model: tuple(values) for model, values in body["embeddings"].items()}
        assert isinstance(what, Read)
        return dataclasses.replace(what, seen=Seen(payload, body["label"], vectors))

    return caller.call(Read(gallery, name), "GET", f"/galleries/{gallery}/items/{name}", answered=answered, **more)


def search(caller: Caller, what: Search, **more: Any) -> Operation:
    """By GET where there is no filter and chance says so, else by POST."""
    query = vector(what.model, QUERY, what.query).tolist()
    asked = {"gallery": what.gallery, "model": what.model, "k": what.k}
    wanted = (("id", what.ids), ("label", what.labels))
    filters = {name: {"in": list(given)} for name, given in wanted if given is not None}
    if not filters and caller.random.random() < 0.5:
        text = ",".join(map(repr, query))
        return caller.call(what, "GET", "/search", params={**asked, "vector": text}, answered=_found, **more)
    body = {**asked, "vectors": [query]} | ({"filter": filters} if filters else {})
    return caller.call(what, "POST", "/search", json=body, answered=_found, **more)


def active(caller: Caller, gallery: str) -> Operation:
    def answered(what: What, body: Any) -> What:
        return dataclasses.replace(what, generation=body["active_generation"])

    return caller.call(Active(gallery), "GET", f"/galleries/{gallery}", answered=answered)


def work(caller: Caller, stage: Stage, until: threading.Event, pause: tuple[float, float]) -> None:
    """A client's calls, one after the other, until it is to stop."""
    while not until.wait(caller.random.uniform(*pause)):
        _one_call(caller, stage)
    caller.close()


def _one_call(caller: Caller, stage: Stage) -> None:
    chance, gallery = caller.random, stage.galleries[-1]
    some = chance.sample(ITEMS, chance.choice((1, 1, 2, 4)))
    query, model = chance.randrange(_QUERIES), chance.choice(("old", "new"))
    calls: dict[str, tuple[int, Callable[[], object]]] = {
        "put old": (14, lambda: put(caller, stage, gallery, "old", some)),
        "put new": (14, lambda: put(caller, stage, gallery, "new", some)),
        "delete": (7, lambda: delete(caller, gallery, some[:2])),
        "read": (20, lambda: read(caller, gallery, some[0])),
        "search all": (20, lambda: search(caller, Search(gallery, _model(model), query, EVERY))),
        "search few": (8, lambda: search(caller, Search(gallery, _model(model), query, 3))),
        "search ids": (8, lambda: search(caller, Search(gallery, _model(model), query, EVERY, ids=tuple(some)))),
        "search labels": (
            8,
            lambda: search(caller, Search(gallery, _model(model), query, EVERY, labels=(f"label-{query % LABELS}",))),
        ),
        "active": (5, lambda: active(caller, gallery)),
        "dataset": (2, lambda: _put_pairs(caller, chance.sample(range(_PAIRS), 5), chance.randrange(3))),
        "backfill": (
            2,
            lambda: caller.call(Other("GET backfill"), "GET", f"/galleries/{gallery}/backfill?order=random"),
        ),
    }
    (do,) = chance.choices([do for _, do in calls.values()], [weight for weight, _ in calls.values()])
    do()


def operate(caller: Caller, stage: Stage, until: threading.Event) -> None:
    """Switches to and fro, upgrades the gallery, rolls back, and begins again; a new gallery after some upgrades."""
    for number in itertools.count(1):
        _dwell(caller, stage.galleries[-1], until)
        if until.is_set():
            break
        upgrade(caller, stage.galleries[-1], until)
        if number % _UPGRADES_OF_A_GALLERY == 0 and not until.is_set():
            open_gallery(caller, stage)
    caller.close()


def _dwell(caller: Caller, gallery: str, until: threading.Event) -> None:
    """For a while, between the generations that there are; in the old space at the end, where an upgrade starts."""
    ends = time.monotonic() + caller.random.uniform(*_DWELL_SECONDS)
    while time.monotonic() < ends and not until.is_set():
        _switch(caller, gallery, caller.random.choice((1, 2, 2, 2, 3)))
        until.wait(caller.random.uniform(0.5, 4))
    url = f"/galleries/{gallery}/activate"
    caller.until_sure(Switch(gallery, 1), "POST", url, json={"generation": 1})


def upgrade(caller: Caller, gallery: str, until: threading.Event) -> None:
    """One upgrade from its start until it is rolled back."""
    at_once = caller.random.random() < 0.4
    body = {
        "to": "new",
        "method": "orthogonal",
        "dataset": _DATASET,
        "galleries": [gallery],
        "gate": {"metric": "recall@10", "require": {"at_least": 0.0}},
        "activate": "when_accepted" if at_once else "manually",
    }
    headers = {"Idempotency-Key": uuid.uuid4().hex}

    def answered(what: What, started: Any) -> What:
        return dataclasses.replace(what, upgrade=started["id"])

    started = caller.until_sure(
        Start(gallery, at_once), "POST", "/models/old/upgrade", json=body, headers=headers, answered=answered
    )
    assert isinstance(started.what, Start)
    assert started.what.upgrade is not None, started.text
    made = started.what.upgrade
    cancel_at = caller.random.uniform(0, 15) if caller.random.random() < 0.12 else None
    state = _settled(caller, gallery, made, until, cancel_at)
    if state == "ready":
        caller.until_sure(SwitchUpgrade(gallery, made, False), "POST", f"/upgrades/{made}/activate")
    if state in ("ready", "active"):
        _switch_about(caller, gallery, until)
        caller.until_sure(SwitchUpgrade(gallery, made, False), "POST", f"/upgrades/{made}/activate")
        until.wait(caller.random.uniform(1, 5))
        caller.until_sure(SwitchUpgrade(gallery, made, True), "POST", f"/upgrades/{made}/rollback")


def _settled(caller: Caller, gallery: str, upgrade: str, until: threading.Event, cancel_at: float | None) -> str:
    """The state in which it settles; or the last one seen where the clients are to stop."""

    def answered(what: What, body: Any) -> What:
        return dataclasses.replace(what, state=body["state"])

    began = time.monotonic()
    while True:
        operation = caller.call(Looked(gallery, upgrade, ""), "GET", f"/upgrades/{upgrade}", answered=answered)
        assert isinstance(operation.what, Looked)
        if operation.what.state in SETTLED or until.is_set():
            return operation.what.state
        if cancel_at is not None and time.monotonic() - began > cancel_at:
            caller.call(Other("cancel"), "POST", f"/upgrades/{upgrade}/cancel")
        assert time.monotonic() - began < _LONGEST_UPGRADE_SECONDS, f"upgrade {upgrade} of {gallery} does not end"
        time.sleep(0.2)


def _switch_about(caller: Caller, gallery: str, until: threading.Event) -> None:
    """To any generation that there is, a few times."""
    listed = caller.random.choices(range(1, 4), k=caller.random.randrange(4))
    for generation in listed:
        if until.wait(caller.random.uniform(0.3, 2)):
            return
        _switch(caller, gallery, generation)


def _switch(caller: Caller, gallery: str, generation: int) -> None:
    what, url = Switch(gallery, generation), f"/galleries/{gallery}/activate"
    caller.call(what, "POST", url, json={"generation": generation})


def look_at_everything(caller: Caller, stage: Stage, gateways: int) -> None:
    """Once all is quiet: every item, and every search, by each gateway."""
    for gateway in range(gateways):
        for gallery in stage.galleries:
            for name in ITEMS:
                read(caller, gallery, name, gateway=gateway)
            for model, query, k in itertools.product(("old", "new"), range(4), (EVERY, 5)):
                search(caller, Search(gallery, _model(model), query, k), gateway=gateway)


def _put_pairs(caller: Caller, pairs: Sequence[int], number: int) -> None:
    names = [f"pair-{pair:03d}" for pair in pairs]
    rows = [
        {"id": name} | {f"embedding.{model}": vector(_model(model), name, number).tolist() for model in ("old", "new")}
        for name in names
    ]
    caller.call(Other("PUT rows"), "PUT", f"/datasets/{_DATASET}/rows", json={"rows": rows})


def _counted(name: str) -> Callable[[What, Any], What]:
    def answered(what: What, body: Any) -> What:
        return dataclasses.replace(what, **{name: int(body[name])})  # type: ignore[arg-type]

    return answered


def _found(what: What, body: Any) -> What:
    results = body["results"]
    hits = results[0] if results and isinstance(results[0], list) else results
    shown = tuple(
        Hit(hit["id"], hit["score"], None if hit["payload"] is None else hit["payload"]["write"], hit["label"])
        for hit in hits
    )
    assert isinstance(what, Search)
    return dataclasses.replace(what, found=Found(body["generation"], body["route"], body["exact"], shown))


def _model(name: str) -> Model:
    return "new" if name == "new" else _OLD
