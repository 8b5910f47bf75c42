"""The store of the user's own and our database say the same, whatever refuses, fails or is killed between the two."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import IntegrityError

from app.composition import Crosswalk, compose
from app.failpoints import FAILPOINT, JOURNAL, Failpoint, Trigger
from app.faiss_library import faiss
from app.galleries import generations
from app.galleries.store_locks import FOREVER, Patience, StoreLocks
from app.jobs.leases import Leases
from app.jobs.tables import JobRow
from app.keys.access import EVERYTHING
from app.problems import InUse, NotFound, StoreBusy, Unprocessable, WrongState
from app.settings import Settings
from app.storage.database import Database, utc_now
from app.upgrades import switching
from app.upgrades.states import UpgradeState
from tests.app.upgrades.store_switching import VECTORS, StoreGallery, TableGallery
from tests.vector_table import TABLE, VECTOR
from tests.waiting import PATIENCE_SECONDS
from tests.workers.stepping import do_step
from tests.worlds import Floats


@pytest.fixture
def shop(settings: Settings, database: Database, tmp_path: Path, postgres_url: str) -> TableGallery:
    return TableGallery.made(settings, database, tmp_path, postgres_url)


@pytest.fixture
def locks(shop: TableGallery) -> StoreLocks:
    return StoreLocks(shop.crosswalk.galleries.targets_folder(shop.info().folder))


def refuse_to_point(crosswalk: Crosswalk) -> None:
    """Has the database refuse whatever points a gallery elsewhere."""
    with crosswalk.database.session() as session:
        session.execute(
            text(
                "CREATE TRIGGER refused BEFORE UPDATE OF active ON galleries "
                "BEGIN SELECT RAISE(ABORT, 'no gallery is to be pointed elsewhere'); END"
            )
        )


def killed_between(shop: TableGallery, folder: Path, does: str = "upg") -> None:
    """Activates the upgrade in a process that dies once the store is switched, and before the database is; does: as
    `store_switching` is told."""
    settings = shop.crosswalk.settings
    ours = {name: value for name, value in os.environ.items() if not name.startswith("CROSSWALK_")}
    more = {
        "CROSSWALK_DATA_DIR": str(settings.data_dir),
        "CROSSWALK_CONNECTIONS": str(settings.connections),
        FAILPOINT: str(Trigger(Failpoint.STORE_SWITCHED, "gateway", 1, "kill")),
        JOURNAL: str(folder / "journal"),
    }
    command = [sys.executable, "-m", "tests.app.upgrades.store_switching", does]
    assert subprocess.run(command, env=ours | more, check=False).returncode == -signal.SIGKILL
    assert (shop.info().active, shop.seen()) == (1, shop.column(number=max(shop.info().generations)))


def test_a_database_that_refuses_an_activation_leaves_readers_with_what_they_saw(shop: TableGallery) -> None:
    refuse_to_point(shop.crosswalk)
    with pytest.raises(IntegrityError):
        shop.crosswalk.upgrades.activate("upg", EVERYTHING)
    assert (shop.now(), shop.seen()) == (("ready", 1), VECTOR)


def test_a_database_that_refuses_a_rollback_leaves_readers_with_what_they_saw(shop: TableGallery) -> None:
    shop.crosswalk.upgrades.activate("upg", EVERYTHING)
    refuse_to_point(shop.crosswalk)
    with pytest.raises(IntegrityError):
        shop.crosswalk.upgrades.roll_back("upg", EVERYTHING)
    assert (shop.now(), shop.seen()) == (("active", 2), shop.column())


def test_a_rollback_that_is_refused_for_one_gallery_touches_the_store_of_none(shop: TableGallery) -> None:
    shop.crosswalk.upgrades.activate("upg", EVERYTHING)
    shop.register("moved-on", TABLE)
    shop.upgrade("both", ["moved-on"])
    with shop.crosswalk.database.session() as session:
        generations.point(session, "moved-on", 2)
        row = generations.build(session, "moved-on", shop.crosswalk.models.space("new"), "next")
        generations.ready_in_store(session, "moved-on", row)
        generations.point(session, "moved-on", row)
        session.execute(text("UPDATE generations SET upgrade = 'upg' WHERE gallery = 'moved-on' AND number = 2"))
    switches = shop.table.execute("SELECT xmin::text FROM pg_class WHERE relname = %s", [f"{TABLE}_current"])
    with pytest.raises(WrongState, match="moved on to generation 3"):
        shop.crosswalk.upgrades.roll_back("upg", EVERYTHING)
    assert shop.seen() == shop.column()
    assert shop.table.execute("SELECT xmin::text FROM pg_class WHERE relname = %s", [f"{TABLE}_current"]) == switches


def test_an_upgrade_under_way_refuses_a_switch_before_the_store_is_touched(shop: TableGallery) -> None:
    shop.upgrade("next", ["faq"], UpgradeState.INDEXING)
    for switched in (
        lambda: shop.crosswalk.upgrades.activate("upg", EVERYTHING),
        lambda: shop.crosswalk.upgrades.switch("faq", 2, EVERYTHING),
    ):
        with pytest.raises(WrongState, match="being upgraded"):
            switched()
    assert shop.seen() is None


def _by_activating(shop: TableGallery) -> None:
    shop.crosswalk.upgrades.activate("upg", EVERYTHING)


def _by_a_refused_rollback(shop: TableGallery) -> None:
    with pytest.raises(WrongState, match="ready"):
        shop.crosswalk.upgrades.roll_back("upg", EVERYTHING)


def _by_choosing_the_first(shop: TableGallery) -> None:
    shop.crosswalk.upgrades.switch("faq", 1, EVERYTHING)


def _by_starting_anew(shop: TableGallery) -> None:
    shop.crosswalk.store_settling.ask_where_needed()
    shop.crosswalk.store_settling.ask_where_needed()
    assert do_step(shop.crosswalk) == "settle_store"
    with shop.crosswalk.database.read() as session:
        assert not shop.crosswalk.jobs.unended(session)


@pytest.mark.parametrize("how", [_by_activating, _by_a_refused_rollback, _by_choosing_the_first, _by_starting_anew])
def test_a_kill_between_the_store_and_the_database_is_put_right(
    shop: TableGallery, locks: StoreLocks, tmp_path: Path, how: Callable[[TableGallery], None]
) -> None:
    killed_between(shop, tmp_path)
    how(shop)
    active = how is _by_activating
    assert shop.now() == (("active", 2) if active else ("ready", 1))
    assert shop.seen() == (shop.column() if active else VECTOR)
    assert not locks.marked
    assert shop.crosswalk.store_targets.left_between() == []


def test_choosing_the_first_generation_shows_the_old_vectors_whatever_was_shown(shop: TableGallery) -> None:
    with shop.crosswalk.store_targets.alone([shop.info()]):
        shop.crosswalk.store_targets.switch(shop.info(), 2)
    assert shop.seen() == shop.column()
    shop.crosswalk.upgrades.switch("faq", 1, EVERYTHING)
    assert (shop.now(), shop.seen()) == (("ready", 1), VECTOR)


def test_an_index_step_that_loses_its_end_leaves_readers_with_the_old_vectors_and_is_done_again(
    shop: TableGallery,
) -> None:
    shop.crosswalk.upgrades.cancel("upg")
    assert do_step(shop.crosswalk) == "drop_target"
    shop.upgrade("next", ["faq"], UpgradeState.INDEXING)
    with shop.crosswalk.database.session() as session:
        shop.crosswalk.jobs.enqueue(session, "index", "next")
    do_step(shop.crosswalk, cut_off=True)
    assert (shop.now("next"), shop.seen()) == (("indexing", 1), VECTOR)
    do_step(shop.crosswalk)
    assert (shop.now("next"), shop.seen()) == (("active", 3), shop.column(number=3))


def test_an_index_step_that_is_killed_is_put_right_and_done_again(shop: TableGallery, tmp_path: Path) -> None:
    shop.upgrade("next", ["faq"], UpgradeState.INDEXING)
    with shop.crosswalk.database.session() as session:
        shop.crosswalk.jobs.enqueue(session, "index", "next")
    killed_between(shop, tmp_path, does="index")
    shop.crosswalk.store_settling.ask_where_needed()
    assert do_step(shop.crosswalk) == "settle_store"
    assert (shop.now("next"), shop.seen()) == (("indexing", 1), VECTOR)
    with shop.crosswalk.database.session() as session:
        session.execute(update(JobRow).values(lease_expires_at=utc_now() - timedelta(hours=1)))
    assert do_step(shop.crosswalk) == "index"
    assert (shop.now("next"), shop.seen()) == (("active", 3), shop.column(number=3))


def test_whoever_asks_is_told_that_others_switch_the_gallery_or_write_there(
    shop: TableGallery, locks: StoreLocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(switching, "ASKED_SECONDS", 0.1)
    target = shop.info().generations[2].in_store
    assert target is not None
    for held, told in (
        (locks.switching(FOREVER), "being switched"),
        (locks.writing(target.target, FOREVER), shop.column()),
    ):
        with Holding(held), pytest.raises(StoreBusy, match=told):
            shop.crosswalk.upgrades.activate("upg", EVERYTHING)
    assert (shop.now(), shop.seen()) == (("ready", 1), None)
    assert shop.crosswalk.upgrades.activate("upg", EVERYTHING).state == "active"


def test_what_is_written_indexed_or_switched_to_is_kept_from_others_meanwhile(
    shop: TableGallery, locks: StoreLocks
) -> None:
    made = shop.info().generations[2].in_store
    assert made is not None
    targets, brief = shop.crosswalk.store_targets, Patience(0.0)
    with Holding(locks.writing(made.target, FOREVER)):
        with pytest.raises(StoreBusy):
            targets.catch_up(shop.info(), 2, patience=brief)
        with pytest.raises(StoreBusy):
            targets.switch(shop.info(), 2, patience=brief)
    assert shop.seen() is None


def test_a_step_that_waited_while_its_generation_was_given_up_writes_nothing(
    shop: TableGallery, locks: StoreLocks
) -> None:
    made, before = shop.info().generations[2].in_store, shop.info()
    assert made is not None
    raised: list[BaseException] = []

    def copy() -> None:
        try:
            shop.crosswalk.store_targets.copy(before, 2)
        except NotFound as error:
            raised.append(error)

    step = threading.Thread(target=copy)
    with locks.writing(made.target, FOREVER):
        step.start()
        shop.crosswalk.upgrades.cancel("upg")
        shop.table.execute(f'ALTER TABLE {TABLE} DROP COLUMN "{made.target.name}"')
    step.join(PATIENCE_SECONDS)
    assert len(raised) == 1
    assert shop.table.added() == []


def test_dropped_vectors_are_forgotten_at_once_and_go_by_a_job(shop: TableGallery, locks: StoreLocks) -> None:
    with pytest.raises(WrongState, match="upg"):
        shop.crosswalk.upgrades.drop("faq", 2, EVERYTHING)
    shop.crosswalk.upgrades.activate("upg", EVERYTHING)
    with pytest.raises(InUse):
        shop.crosswalk.upgrades.drop("faq", 2, EVERYTHING)
    with pytest.raises(Unprocessable, match="yours to remove"):
        shop.crosswalk.upgrades.drop("faq", 1, EVERYTHING)
    shop.crosswalk.upgrades.roll_back("upg", EVERYTHING)
    shop.crosswalk.upgrades.drop("faq", 2, EVERYTHING)
    with pytest.raises(NotFound):
        shop.crosswalk.upgrades.drop("faq", 2, EVERYTHING)
    assert list(shop.info().generations) == [1]
    assert len(shop.table.added()) == 1
    assert do_step(shop.crosswalk) == "drop_target"
    assert (shop.table.added(), shop.seen()) == ([], VECTOR)
    folder = shop.crosswalk.galleries.targets_folder(shop.info().folder)
    assert list(folder.glob("*.ledger")) == []
    with pytest.raises(WrongState, match="has been dropped"):
        shop.crosswalk.upgrades.activate("upg", EVERYTHING)


def test_what_is_dropped_after_its_gallery_was_deleted_leaves_no_folder(shop: TableGallery) -> None:
    folder = shop.crosswalk.galleries.folder(shop.info()).folder
    shop.crosswalk.upgrades.activate("upg", EVERYTHING)
    shop.crosswalk.upgrades.roll_back("upg", EVERYTHING)
    shop.crosswalk.upgrades.drop("faq", 2, EVERYTHING)
    shop.crosswalk.galleries.delete("faq")
    assert do_step(shop.crosswalk) == "drop_target"
    assert (shop.table.added(), folder.exists()) == ([], False)


def test_a_generation_that_is_given_up_while_it_catches_up_is_not_found(shop: TableGallery) -> None:
    def given_up(*_: int) -> None:
        if 2 in shop.info().generations:
            shop.crosswalk.upgrades.cancel("upg")

    with pytest.raises(NotFound, match="was removed"):
        shop.crosswalk.store_targets.catch_up(shop.info(), 2, given_up)


class Holding:
    """Another thread that holds something while the context is open."""

    def __init__(self, what: AbstractContextManager[None]) -> None:
        self._what, self._ending, self._begun = what, threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._hold)

    def __enter__(self) -> None:
        self._thread.start()
        assert self._begun.wait(PATIENCE_SECONDS)

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join(PATIENCE_SECONDS)

    def _hold(self) -> None:
        with self._what:
            self._begun.set()
            assert self._ending.wait(PATIENCE_SECONDS)


def test_readers_of_an_index_file_find_what_the_switched_vectors_caught_up_with(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    folder = tmp_path / "faiss"
    folder.mkdir()
    connections = tmp_path / "connections.toml"
    connections.write_text(f'[shop]\nkind = "faiss"\nfolder = "{folder}"\n')
    crosswalk = compose(settings.model_copy(update={"connections": connections}), database)
    write_index(folder / "first.faiss", VECTORS)
    (folder / "faq.faiss").symlink_to("first.faiss")
    shop = StoreGallery(crosswalk)
    shop.register_models()
    shop.register("faq", collection="faq.faiss")
    shop.upgrade("upg", ["faq"])
    crosswalk.upgrades.activate("upg", EVERYTHING)
    assert faiss.read_index(str(folder / "faq.faiss")).ntotal == len(VECTORS)
    write_index(folder / "first.faiss", np.concatenate([VECTORS, VECTORS[:2] + 1]))
    assert crosswalk.following.ask("faq").progress is not None
    assert do_step(crosswalk) == "follow"
    assert faiss.read_index(str(folder / "faq.faiss")).ntotal == len(VECTORS) + 2


def test_why_a_gallery_could_not_catch_up_is_shown_until_it_has(shop: TableGallery) -> None:
    crosswalk = shop.crosswalk
    crosswalk.upgrades.activate("upg", EVERYTHING)
    crosswalk.following.ask("faq")
    leases = Leases(crosswalk.database, crosswalk.settings, crosswalk.step_failed)
    lease = leases.claim(["follow"])
    assert lease is not None
    leases.fail(lease, "The table is gone.")

    def told() -> list[str | None]:
        state = crosswalk.galleries.get("faq").store_state
        _, made = crosswalk.galleries.generations("faq")
        assert state is not None
        assert made.in_store is not None
        return [state.follow_failed, made.in_store.follow_failed]

    assert told() == ["The table is gone.", "The table is gone."]
    crosswalk.following.ask("faq")
    assert do_step(crosswalk) == "follow"
    assert told() == [None, None]


def test_a_generation_that_caught_up_is_not_said_to_have_failed_with_another(shop: TableGallery) -> None:
    crosswalk = shop.crosswalk
    shop.upgrade("next", ["faq"])
    crosswalk.following.ask("faq")
    leases = Leases(crosswalk.database, crosswalk.settings, crosswalk.step_failed)
    lease = leases.claim(["follow"])
    assert lease is not None
    crosswalk.store_targets.catch_up(shop.info(), 2)
    leases.fail(lease, "The column is gone.")
    told = {number: one.in_store and one.in_store.failed for number, one in shop.info().generations.items()}
    assert told == {1: None, 2: None, 3: "The column is gone."}


def write_index(path: Path, vectors: Floats) -> None:
    index: Any = faiss.IndexIDMap2(faiss.IndexFlatIP(vectors.shape[1]))
    index.add_with_ids(vectors, np.arange(len(vectors)))
    faiss.write_index(index, str(path))
