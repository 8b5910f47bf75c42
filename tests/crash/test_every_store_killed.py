"""kill -9 while vectors are written into a store of the user's own, of every kind: in the end each is there once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from app.failpoints import Failpoint, Trigger
from app.settings import Settings
from app.stores.ledger import BEGUN, Noted
from app.stores.protocol import Target
from tests.crash.test_upgrade_killed import gone, killed
from tests.e2e.every_store import KINDS, StoreUser, configured, dropped, same
from tests.e2e.service import Service
from tests.e2e.store_owner import GALLERY, Owner, real
from tests.embedding_server import embedding_server
from tests.waiting import PATIENCE_SECONDS, wait_until
from tests.worlds import NEW

BATCH = 20
"""Items that are written at once: as many as may be in a second."""
BUDGET, EMBEDDED_AT_ONCE = 50, 10


@dataclass(frozen=True)
class Shop:
    """A user with a store, and the service that they use, whose worker is part of the gateway. folder: of the store,
    where it lies in files."""

    owner: Owner
    service: Service
    folder: Path

    @property
    def user(self) -> StoreUser:
        return self.owner.user

    def begins(self, at: Trigger | None = None) -> None:
        """Starts the service, in which a step then stops there, and registers the store."""
        self.service_starts(at)
        self.owner.register_models()
        self.owner.register(max_writes_per_second=BATCH)
        self.owner.has_a_crossing_accepted()

    def service_starts(self, at: Trigger | None) -> None:
        if at is not None:
            self.service.arm(at)
        self.service.start()

    def stopped_step(self) -> psutil.Process:
        step = wait_until(self.service.stopped_step, "a step to stop while it writes", last=self.service.last_log)
        assert step is not None
        return step

    def noted(self) -> set[int]:
        """The items that are noted to have their vector in the target, by the hashes of their ids."""
        known = Noted.read(self._ledger())
        return {int(id) for id in known.ids[known.marks != BEGUN]}

    def noted_anew(self, items: set[int]) -> bool:
        """Whether anything was noted of one of these since the step began: it then has more than one line."""
        lines = np.fromfile(self._ledger(), "<u8").reshape(-1, 2)[:, 0]
        return int(np.isin(lines, np.array(list(items), np.uint64)).sum()) > len(items)

    def left_over(self, target: Target) -> list[Path]:
        """What lies on disk of a target."""
        return [*self.folder.rglob(f"*{target.name}*"), *self.service.data.rglob(f"{target.name}.ledger")]

    def _ledger(self) -> Path:
        (file,) = self.service.data.rglob("*.ledger")
        return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


@pytest.fixture
def user(request: pytest.FixtureRequest, folder: Path) -> Iterator[StoreUser]:
    with KINDS[request.param](folder, lambda: request.getfixturevalue("postgres")) as place:
        yield StoreUser(place)


@pytest.fixture
def shop(user: StoreUser, folder: Path, tmp_path: Path) -> Iterator[Shop]:
    connections, made = tmp_path / "connections.toml", real(user)
    with embedding_server(lambda text: made.get(text, np.ones(NEW, np.float32))) as embedder:
        reader = embedder.connection("reader", batch=EMBEDDED_AT_ONCE)
        connections.write_text("\n".join([configured(user.place.connection), reader]))
        service = Service(tmp_path, {"CROSSWALK_CONNECTIONS": str(connections)})
        settings = Settings(data_dir=service.data, connections=connections, device="cpu")
        try:
            with httpx.Client(base_url=service.url, timeout=PATIENCE_SECONDS) as client:
                yield Shop(Owner(user, client, settings, embedder), service, folder)
        finally:
            service.kill()


@pytest.mark.parametrize("user", KINDS, indirect=True)
def test_upgrade_goes_on_where_it_was(shop: Shop) -> None:
    """The whole service dies with a batch written that is not noted yet, then a step alone with one that is noted and
    not written, while the application goes on."""
    owner, user = shop.owner, shop.user
    shop.begins(Trigger(Failpoint.STORE_BATCH_WRITTEN, "step", 2, "stop"))
    step = shop.stopped_step()
    target, first = owner.target, shop.noted()
    assert 0 < len(first) < len(user.new(target)) < len(user.items)
    killed(shop.service, step)

    shop.service_starts(Trigger(Failpoint.STORE_BATCH_BEGUN, "step", 4, "stop"))
    step = shop.stopped_step()
    assert not shop.noted_anew(first)
    second = shop.noted()
    assert first < second
    assert len(second) < len(user.items)
    the_application_goes_on(user, target)
    step.kill()
    gone(step)
    owner.waits_until_it_is_ready(changes=0)
    assert same(user.new(target), owner.h(user.old()))
    for parts in shop.folder.rglob(f"*{target.name}.parquet"):
        assert pq.read_table(parts).num_rows == len(user.items), "whoever reads the files finds each item once"
    assert user.finds_all_as_it_wrote_it()

    owner.does("activate")
    owner.does("rollback")
    assert owner.client.delete(f"/galleries/{GALLERY}/generations/2").status_code == 204
    wait_until(lambda: dropped(user, target), "the new vectors to be dropped")
    wait_until(lambda: not shop.left_over(target), "all else of them to go", last=lambda: shop.left_over(target))
    assert user.finds_all_as_it_wrote_it()


def the_application_goes_on(user: StoreUser, target: Target) -> None:
    """It changes one item whose new vector is there, deletes another, and inserts a third."""
    changed, deleted = list(user.new(target))[:2]
    one, other = np.eye(user.place.dimension, dtype=np.float32)[:2]
    user.change(changed, one)
    user.delete(deleted)
    user.insert(user.unused(), other)


@pytest.mark.parametrize("user", ["pgvector, a column"], indirect=True)
def test_backfill_goes_on_where_it_was_and_pays_for_no_item_twice(shop: Shop) -> None:
    owner, user = shop.owner, shop.user
    shop.begins()
    owner.waits_until_it_is_ready(changes=0)
    owner.does("activate")
    shop.service.stop()

    shop.service_starts(Trigger(Failpoint.STORE_BATCH_WRITTEN, "step", 2, "stop"))
    target, transformed = owner.target, owner.h(user.old())
    first = [one["id"] for one in owner.get(f"/galleries/{GALLERY}/backfill", limit=BUDGET)["next"]]
    real = {id: owner.embedder.embed(f"text of {id}") for id in first}
    run = owner.starts_backfill(budget={"items": BUDGET})
    step = shop.stopped_step()
    written = user.new(target)
    there = [id for id in first if same({id: written[id]}, {id: real[id]})]
    assert len(there) == 2 * BATCH
    killed(shop.service, step)

    # What was in doubt is transformed again first, which is the third batch; the fourth is of real vectors.
    shop.service_starts(Trigger(Failpoint.STORE_BATCH_BEGUN, "step", 4, "stop"))
    step = shop.stopped_step()
    step.kill()
    gone(step)
    done = owner.ends_backfill(run)
    assert "The budget is spent" in done["reason"]
    assert done["spent"]["items"] == BUDGET
    assert sorted(owner.embedder.charged) == sorted(f"text of {id}" for id in first)
    assert same(user.new(target), transformed | real)
    assert {"native_items": BUDGET, "transformed_items": len(user.items) - BUDGET}.items() <= owner.made.items()
    assert user.finds_all_as_it_wrote_it()
