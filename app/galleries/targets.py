"""Galleries whose items lie in a store of the user's own: the vectors of an upgrade are written there, kept up with the
items, switched to and back, and dropped.

Each step may be done again, and is done outside any transaction, since a store may be slow to answer: what it did is
noted afterwards. Whatever is called raises GalleryStoreAway and StoreChanged as `elsewhere.opened` does, NotFound for a
generation that was forgotten meanwhile, and StoreBusy where others are at work for longer than the caller's patience.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import structlog

from app.failpoints import Failpoint, reached
from app.galleries import generations
from app.galleries.elsewhere import Elsewhere, opened, told_as_problems
from app.galleries.generations import TargetOrder
from app.galleries.info import GalleryInfo, InStore
from app.galleries.service import Galleries
from app.galleries.store_locks import FOREVER, Patience, StoreLocks
from app.problems import NotFound, StoreChanged
from app.storage.database import Database, utc_now
from app.stores.copying import Copied, Copying, CopyProgress, WrittenWrong, copy_vectors
from app.stores.kinds import ConfiguredStores
from app.stores.ledger import ledger_file
from app.stores.native_vectors import write_native
from app.stores.pacing import WritePace
from app.stores.protocol import Store, Target
from models.portable import Array

log = structlog.get_logger(__name__)


class StoreTargets:
    """What upgrades write into stores of the users' own, by gallery and generation."""

    def __init__(self, database: Database, galleries: Galleries, stores: ConfiguredStores) -> None:
        self._database = database
        self._galleries = galleries
        self._stores = stores

    def copy(self, info: GalleryInfo, number: int, tick: CopyProgress | None = None) -> None:
        """Writes the transformed vectors of all items. One that was cut off is gone on with."""
        with self._held(info, number) as target:
            with self._opened(info) as store:
                store.make_target(target)
            copied = self._copied(info, number, target, tick)
            self._note(info, number, partial(_as_copied, copied, utc_now()))

    def re_embed(
        self, info: GalleryInfo, number: int, items: pa.RecordBatch, unchanged: Callable[[list[str]], np.ndarray]
    ) -> list[str]:
        """Puts vectors that the generation's own model made in place of transformed ones, at the pace that the gallery
        allows. The ids of those that have theirs, durably; the others were changed or deleted since, and are left as
        they are.

        items: as `write_native` takes them. unchanged: tells of some of them, by id, which (n,) bool are still what
        their vectors were made of; asked right before these are written, as their turn may come late.
        """
        pace = WritePace(_elsewhere(info).max_writes_per_second)
        at_once = pace.most_at_once(max(1, items.num_rows))
        written: list[str] = []
        for start in range(0, items.num_rows, at_once):
            some = items.slice(start, at_once)
            pace.wait(some.num_rows)
            with self._held(info, number) as target:
                some = some.filter(pa.array(unchanged(some.column("id").to_pylist())))
                with self._opened(info) as store:
                    done = write_native(store, target, ledger_file(self._folder(info), target.name), some)
                self._note(info, number, partial(_with_natives, len(done)))
            written += done
        pace.wait(0)  # what the last of these take at that pace
        return written

    def index(self, info: GalleryInfo, number: int) -> None:
        """Has the store index a generation's vectors, without keeping its readers or writers waiting."""
        with self._held(info, number) as target:
            self._indexed(info, target)

    def catch_up(
        self, info: GalleryInfo, number: int, tick: CopyProgress | None = None, patience: Patience = FOREVER
    ) -> None:
        """Writes the vectors of what was written or changed since, takes out those of what is gone, and has the store
        index them."""
        with self._held(info, number, patience) as target:
            copied = self._copied(info, number, target, tick)
            self._indexed(info, target)
            self._note(info, number, partial(_as_copied, copied, utc_now()))

    @contextmanager
    def alone(self, infos: Sequence[GalleryInfo], patience: Patience = FOREVER) -> Iterator[None]:
        """Keeps others from switching these galleries, in their stores and in the database, until the block ends. Those
        whose items lie here are passed over.

        A store is first brought to what the database says, where whoever was switching it died in between; and again
        at the end of a block that raises. Where that cannot be done then, it is done before the next switch, or once
        the service starts.
        """
        theirs = sorted((info for info in infos if info.elsewhere is not None), key=lambda info: info.folder)
        with ExitStack() as turns:
            for info in theirs:
                turns.enter_context(self._locks(info).switching(patience))
            for info in theirs:
                self._settle(info)
            try:
                yield
            except Exception:
                for info in theirs:
                    try:
                        self._settle(info)
                    except Exception:  # what was raised before tells more
                        log.exception("a store's readers may see what the gallery does not point at", gallery=info.id)
                raise
            for info in theirs:
                self._locks(info).unmark()

    def switch(
        self, info: GalleryInfo, number: int, tick: CopyProgress | None = None, patience: Patience = FOREVER
    ) -> None:
        """Has the store's readers see a generation's vectors, or notes what the user's application has to do about it;
        then catches up with what was written until that moment. Called while the gallery is held `alone`, after
        `catch_up`; the database is to say the same before that ends."""
        with self._held(info, number, patience) as target:
            self._locks(info).mark()
            with self._opened(info) as store:
                statement = store.switch(target).statement
            reached(Failpoint.STORE_SWITCHED)
            self._note(info, number, partial(_with_statement, statement))
            copied = self._copied(info, number, target, tick)
            if copied.written or copied.erased:  # else what `catch_up` had indexed is all there is
                self._indexed(info, target)
            self._note(info, number, partial(_as_copied, copied, utc_now()))

    def switch_back(self, info: GalleryInfo) -> None:
        """Has the store's readers see the vectors again that were there before any upgrade's. Called as `switch`."""
        self._locks(info).mark()
        with self._opened(info) as store:
            made = {number: one.in_store.target for number, one in info.generations.items() if one.in_store is not None}
            told = {number: store.switch_back(target).statement for number, target in made.items()}
        reached(Failpoint.STORE_SWITCHED)
        for number, statement in told.items():
            self._note(info, number, partial(_with_statement, statement))

    def left_between(self) -> list[GalleryInfo]:
        """The galleries whose stores may show something else than the database says, since whoever was switching them
        died in between. No store is asked. One whose folder cannot be looked at is logged, and passed over."""
        return [one for one in self._galleries.every() if one.elsewhere is not None and self._left_marked(one)]

    def drop(self, order: TargetOrder) -> None:
        """Removes from the store what an upgrade wrote there, once nobody works at it; readers that see it are switched
        back before. Nothing where it is gone. Where the gallery is too, no folder of it is left."""
        folder = self._galleries.targets_folder(order.folder)
        locks = StoreLocks(folder)
        with locks.switching(FOREVER), locks.writing(order.target, FOREVER):
            with opened(self._stores, Elsewhere.from_json(order.store)) as store:
                store.switch_back(order.target)
                store.drop(order.target)
            locks.forget(order.target)
        if all(info.folder != order.folder for info in self._galleries.every()):  # the locks made it anew
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):
                folder.parent.rmdir()

    def _settle(self, info: GalleryInfo) -> None:
        """Brings a store that is marked to what the database says by now."""
        locks = self._locks(info)
        if not locks.marked:
            return
        try:
            now = self._galleries.info(info.id)
        except NotFound:  # the mark goes with the gallery's folder
            return
        if (active := now.current.in_store) is None:
            self.switch_back(now)
        else:
            with self._opened(now) as store:
                statement = store.switch(active.target).statement
            self._note(now, now.active, partial(_with_statement, statement))
        locks.unmark()

    def _left_marked(self, info: GalleryInfo) -> bool:
        try:
            return self._locks(info).left_marked
        except OSError:
            log.exception("a store's readers may see what the gallery does not point at", gallery=info.id)
            return False

    def _folder(self, info: GalleryInfo) -> Path:
        return self._galleries.targets_folder(info.folder)

    def _locks(self, info: GalleryInfo) -> StoreLocks:
        return StoreLocks(self._folder(info))

    @contextmanager
    def _held(self, info: GalleryInfo, number: int, patience: Patience = FOREVER) -> Iterator[Target]:
        """Where a generation's vectors go, kept from others until the block ends. Raises NotFound where it has none."""
        target = _target(info, number)
        with self._locks(info).writing(target, patience):
            yield _target(self._galleries.info(info.id), number)  # it may have been forgotten before our turn came

    def _opened(self, info: GalleryInfo) -> AbstractContextManager[Store]:
        return opened(self._stores, _elsewhere(info))

    def _indexed(self, info: GalleryInfo, target: Target) -> None:
        with self._opened(info) as store:
            store.build_index(target)

    def _copied(self, info: GalleryInfo, number: int, target: Target, tick: CopyProgress | None) -> Copied:
        """What brought the store up to date. target: held by the caller."""
        elsewhere = _elsewhere(info)
        crossing = self._galleries.lineage(info, number).crossings[-1]

        def transform(old: Array) -> Array:
            return crossing.apply(old, None, np.zeros(len(old), bool))

        copying = Copying(
            open=lambda: self._stores.open(elsewhere.connection, elsewhere.place),
            target=target,
            transform=transform,
            folder=self._folder(info),
            max_writes_per_second=elsewhere.max_writes_per_second,
            progress=tick,
        )
        try:
            with told_as_problems(elsewhere):
                return copy_vectors(copying)
        except WrittenWrong as error:
            raise StoreChanged(f"In {elsewhere}: {error}. Look what else writes there, and start anew.") from None

    def _note(self, info: GalleryInfo, number: int, change: Callable[[InStore], InStore]) -> None:
        with self._database.session() as session:
            generations.note_in_store(session, info.id, number, change)


def _elsewhere(info: GalleryInfo) -> Elsewhere:
    """Raises ValueError for a gallery whose items lie here."""
    if info.elsewhere is None:
        raise ValueError(f"the items of gallery {info.id!r} lie here")
    return info.elsewhere


def _target(info: GalleryInfo, number: int) -> Target:
    """Raises NotFound."""
    made = info.generations.get(number)
    if made is None or made.in_store is None:
        raise NotFound(f"Gallery {info.id!r} has no generation {number} that an upgrade wrote into its store.")
    return made.in_store.target


def _with_statement(statement: str | None, before: InStore) -> InStore:
    return replace(before, statement=statement)


def _with_natives(more: int, before: InStore) -> InStore:
    return replace(before, native=min(before.items, before.native + more))


def _as_copied(done: Copied, at: datetime, before: InStore) -> InStore:
    return replace(before, items=done.items, native=done.native, behind=done.behind, caught_up_at=at, failed=None)
