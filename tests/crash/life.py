"""One whole life of a gallery, in stages: what is done in each, whoever dies meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx
import lance
import numpy as np
from sqlalchemy import select

from app.galleries.rebuilds import STEP as REINDEX
from app.jobs.doorbell import Doorbell
from app.jobs.service import Jobs
from app.settings import Settings
from app.storage.database import Database
from app.upgrades.tables import UpgradeRow
from tests.crash.user import GALLERY, NEW, NEWEST, OLD, PAIRS, PersistentUser, search
from tests.waiting import PATIENCE_SECONDS
from tests.worlds import Floats, Items, World, world

WORLD: World = world(items=70, queries=4, classes=5, dimension=8)
FIRST, PAIRED = 50, 40
MERGED_FROM = 64  # fragments
NOT_FOUND = (httpx.codes.NOT_FOUND,)
UPGRADE = {
    "to": NEW,
    "method": "orthogonal",
    "dataset": PAIRS,
    "galleries": [GALLERY],
    "gate": {"metric": "cmc@1", "require": {"at_least": 0}},
    "activate": "manually",
}


class Service(Protocol):
    """What a stage needs of the service beside its interface."""

    data: Path

    def work(self, *steps: str) -> None: ...

    def database(self) -> Database: ...


@dataclass(frozen=True)
class Stage:
    """`act` is done by a user who sends again what is not acknowledged; `before`, if anything, is done to the service
    when it stands still, as the world does: a disk flips a bit, a job is left by an older release."""

    name: str
    act: Callable[[PersistentUser, Service], object]
    before: Callable[[PersistentUser, Service], object] | None = None


def rows(items: Items, vectors: Floats, note: str | None = None) -> list[dict[str, Any]]:
    """Items as JSON."""
    return [
        {"id": name, "label": label, "embedding": vector, **({} if note is None else {"payload": {"note": note}})}
        for name, label, vector in zip(items.id, items.label, vectors.tolist(), strict=True)
    ]


def some(start: int, end: int) -> Items:
    return WORLD.gallery.take(slice(start, end))


def register(user: PersistentUser, _service: Service) -> None:
    dimensions = {OLD: WORLD.gallery.old, NEW: WORLD.gallery.new, NEWEST: WORLD.gallery.newest}
    for model, vectors in dimensions.items():
        user.post("/models", {"id": model, "dimension": vectors.shape[1], "metric": "cosine"})
    user.post("/galleries", {"id": GALLERY, "model": OLD})
    user.post("/datasets", {"id": PAIRS})


def fill(user: PersistentUser, _service: Service) -> None:
    user.put_items(rows(some(0, FIRST), some(0, FIRST).old))
    paired = some(0, PAIRED)
    vectors = zip(rows(paired, paired.new), paired.newest.tolist(), strict=True)
    body = [
        {"id": row["id"], "label": row["label"], "embedding.new": row["embedding"], "embedding.newest": newest}
        for row, newest in vectors
    ]
    user.ask("PUT", f"/datasets/{PAIRS}/rows", json={"rows": body})


def change(user: PersistentUser, _service: Service) -> None:
    changed = some(0, 5)
    user.put_items(rows(changed, changed.old[::-1].copy(), "changed") + rows(some(FIRST, 55), some(FIRST, 55).old))
    user.delete_items(some(5, 10).id)


def crowd(user: PersistentUser, service: Service) -> None:
    """So many small writes that the next one merges their fragments."""
    (path,) = service.data.glob(f"galleries/{GALLERY}-*/items.lance")
    one = rows(some(FIRST, 51), some(FIRST, 51).old)[0]
    while (number := len(lance.dataset(str(path)).get_fragments())) < MERGED_FROM - 1:
        user.put_items([one | {"id": f"crowd-{number:02d}"}])


def one_more(user: PersistentUser, _service: Service) -> None:
    user.put_items(rows(some(55, 57), some(55, 57).old))
    user.delete_items(sorted(item for item in user.ledger.there if item.startswith("crowd")))


def register_another(user: PersistentUser, _service: Service) -> None:
    user.post("/galleries", {"id": "other", "model": OLD})
    user.post("/datasets", {"id": "spare"})
    items = [{"id": row["id"], "embedding": row["embedding"]} for row in rows(some(0, 4), some(0, 4).old)]
    user.ask("PUT", "/galleries/other/items", params={"model": OLD}, json={"items": items})
    side = [{"id": name, "side_information": [1.0, 2.0]} for name in some(0, 2).id]
    user.ask("PUT", "/galleries/other/side-information", params={"dimension": 2}, json={"items": side})


def remove_another(user: PersistentUser, _service: Service) -> None:
    user.ask("DELETE", "/galleries/other", also=NOT_FOUND)
    user.ask("DELETE", "/datasets/spare", also=NOT_FOUND)


def sample(user: PersistentUser, service: Service) -> None:
    """The request waits for its job, so that both are under way together."""
    failed: list[BaseException] = []

    def ask() -> None:
        try:
            while user.get(f"/galleries/{GALLERY}/sample", params={"n": 5}) is None:
                pass
        except BaseException as error:
            failed.append(error)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    service.work("sample")
    asking.join(PATIENCE_SECONDS)
    assert not asking.is_alive()
    assert not failed, failed


def train(user: PersistentUser, service: Service) -> None:
    user.post(f"/models/{OLD}/upgrade", UPGRADE, headers={"Idempotency-Key": "first"})
    service.work("train")


def evaluate(_user: PersistentUser, service: Service) -> None:
    service.work("evaluate")


def transform(_user: PersistentUser, service: Service) -> None:
    service.work("transform")


def write_meanwhile(user: PersistentUser, _service: Service) -> None:
    changed = some(10, 12)
    user.put_items(rows(changed, changed.old[::-1].copy(), "meanwhile") + rows(some(57, 60), some(57, 60).old))
    user.delete_items(some(12, 14).id)


def index(_user: PersistentUser, service: Service) -> None:
    service.work("index")


def activate(user: PersistentUser, service: Service) -> None:
    user.post(f"/upgrades/{upgrade_to(service, NEW)}/activate")


def backfill(user: PersistentUser, _service: Service) -> None:
    user.get(f"/galleries/{GALLERY}/backfill", params={"limit": 5, "order": "random"})
    user.put_items(rows(some(20, 25), some(20, 25).new), NEW)


def write_old(user: PersistentUser, _service: Service) -> None:
    """An item as it was before the upgrade, and one that was re-embedded, changed by a client that has not moved on."""
    changed = some(20, 22)
    user.put_items(rows(changed, changed.old[::-1].copy(), "late") + rows(some(60, 62), some(60, 62).old))
    user.delete_items(some(22, 23).id)


def flip_a_byte(_user: PersistentUser, service: Service) -> None:
    """In the index that answers. Its generation's rows are few, so that no other index is there."""
    (path,) = service.data.glob("galleries/*/indexes/*/*/vectors.f32")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def rebuild(user: PersistentUser, service: Service) -> None:
    with httpx.Client(base_url=user.url, timeout=PATIENCE_SECONDS) as http:
        while True:
            try:
                search(http, NEW, WORLD.queries.new[0].tolist())
                break
            except httpx.TransportError:
                user.get("/healthz")
    service.work(REINDEX)


def roll_back(user: PersistentUser, service: Service) -> None:
    user.post(f"/upgrades/{upgrade_to(service, NEW)}/rollback")


def switch(user: PersistentUser, _service: Service) -> None:
    user.post(f"/galleries/{GALLERY}/activate", {"generation": 2})


def begin_another(user: PersistentUser, service: Service) -> None:
    user.post(f"/models/{NEW}/upgrade", UPGRADE | {"to": NEWEST}, headers={"Idempotency-Key": "second"})
    service.work("train", "evaluate")
    service.work("transform")


def cancel(user: PersistentUser, service: Service) -> None:
    user.post(f"/upgrades/{upgrade_to(service, NEWEST)}/cancel")


def complete(user: PersistentUser, _service: Service) -> None:
    left = sorted(user.ledger.there)
    items = WORLD.gallery.take(np.array([WORLD.gallery.id.index(name) for name in left]))
    user.put_items(rows(items, items.new), NEW)


def leave_a_doomed_job(_user: PersistentUser, service: Service) -> None:
    """A rebuild of a gallery that is no more."""
    database = service.database()
    with database.session() as session:
        Jobs(Doorbell(Settings(data_dir=service.data)).ring).enqueue(
            session, REINDEX, "index gone 1", {"gallery": "gone", "generation": 1}
        )
    database.close()


def fail(_user: PersistentUser, service: Service) -> None:
    service.work(REINDEX)


def remove(user: PersistentUser, _service: Service) -> None:
    user.ledger.there.clear()
    user.ask("DELETE", f"/galleries/{GALLERY}", also=NOT_FOUND)
    user.ask("DELETE", f"/datasets/{PAIRS}", also=NOT_FOUND)


LIFE: Sequence[Stage] = (
    Stage("register", register),
    Stage("fill", fill),
    Stage("change", change),
    Stage("merge fragments", one_more, before=crowd),
    Stage("register another", register_another),
    Stage("remove another", remove_another),
    Stage("sample", sample),
    Stage("train", train),
    Stage("evaluate", evaluate),
    Stage("transform", transform),
    Stage("write meanwhile", write_meanwhile),
    Stage("index", index),
    Stage("activate", activate),
    Stage("backfill", backfill),
    Stage("rebuild", rebuild, before=flip_a_byte),
    Stage("roll back", roll_back),
    Stage("write old", write_old),
    Stage("switch", switch),
    Stage("begin another", begin_another),
    Stage("cancel", cancel),
    Stage("complete", complete),
    Stage("fail", fail, before=leave_a_doomed_job),
    Stage("remove", remove),
)


def upgrade_to(service: Service, model: str) -> str:
    """The id of the upgrade to a model."""
    database = service.database()
    try:
        with database.read() as session:
            return session.scalars(select(UpgradeRow.id).where(UpgradeRow.target == model)).one()
    finally:
        database.close()
