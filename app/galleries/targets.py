"""Galleries whose items lie in a store of the user's own: the vectors of an upgrade are written there, kept up with the
items, switched to and back, and dropped.

Each step may be done again, and is done outside any transaction, since a store may be slow to answer: what it did is
noted afterwards. Whatever is called raises GalleryStoreAway and StoreChanged as `elsewhere.opened` does.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

import numpy as np
from filelock import FileLock

from app.galleries import generations
from app.galleries.elsewhere import Elsewhere, opened, told_as_problems
from app.galleries.info import GalleryInfo, InStore
from app.galleries.service import Galleries
from app.problems import InUse, NotFound, StoreChanged, Unprocessable
from app.storage.database import Database, utc_now
from app.stores.copying import Copying, CopyProgress, WrittenWrong, copy_vectors
from app.stores.kinds import ConfiguredStores
from app.stores.protocol import Store, Target
from models.portable import Array


class StoreTargets:
    """What upgrades write into stores of the users' own, by gallery and generation."""

    def __init__(self, database: Database, galleries: Galleries, stores: ConfiguredStores) -> None:
        self._database = database
        self._galleries = galleries
        self._stores = stores

    def copy(self, info: GalleryInfo, number: int, tick: CopyProgress | None = None) -> None:
        """Writes the transformed vectors of all items. One that was cut off is gone on with."""
        with self._opened(info) as store:
            store.make_target(self._target(info, number))
        self._copied(info, number, tick)

    def index(self, info: GalleryInfo, number: int) -> None:
        """Has the store index a generation's vectors, without keeping anybody waiting."""
        with self._opened(info) as store:
            store.build_index(self._target(info, number))

    def catch_up(self, info: GalleryInfo, number: int, tick: CopyProgress | None = None) -> None:
        """Writes the vectors of what was written or changed since, and takes out those of what is gone."""
        self._copied(info, number, tick)

    def switch(self, info: GalleryInfo, number: int, tick: CopyProgress | None = None) -> None:
        """Catches up, has the store's readers see the generation's vectors, or notes what the user's application has to
        do about it, and catches up with what was written between the two."""
        self._copied(info, number, tick)
        with self._opened(info) as store:
            statement = store.switch(self._target(info, number)).statement
        self._note(info, number, lambda before: replace(before, statement=statement))
        self._copied(info, number, tick)

    def switch_back(self, info: GalleryInfo, number: int) -> None:
        """Has the store's readers see the old vectors again."""
        with self._opened(info) as store:
            statement = store.switch_back(self._target(info, number)).statement
        self._note(info, number, lambda before: replace(before, statement=statement))

    def drop(self, info: GalleryInfo, number: int) -> None:
        """Removes a generation's vectors from the store. Raises Unprocessable for those that are not an upgrade's, and
        InUse for those that the gallery points at."""
        target = self._target(info, number)
        if info.active == number:
            raise InUse(
                f"Gallery {info.id!r} points at generation {number}. Roll back first.", used_by=[f"gallery {info.id}"]
            )
        with self._opened(info) as store:
            store.drop(target)
        with self._database.session() as session:
            generations.forget_dropped(session, info.id, number)

    def _opened(self, info: GalleryInfo) -> AbstractContextManager[Store]:
        return opened(self._stores, _elsewhere(info))

    def _target(self, info: GalleryInfo, number: int) -> Target:
        """Raises NotFound, and Unprocessable for what no upgrade wrote into a store."""
        if number not in info.generations:
            raise NotFound(f"Gallery {info.id!r} has no generation {number}.")
        if (made := info.generations[number].in_store) is None:
            raise Unprocessable(
                f"No upgrade wrote generation {number} of gallery {info.id!r} into a store of your own: what was there "
                "before is yours to remove, and what is kept here goes with DELETE /upgrades/{upgrade}."
            )
        return made.target

    def _copied(self, info: GalleryInfo, number: int, tick: CopyProgress | None) -> None:
        """Notes how far the store is up to date once it is. One process at a time: another waits for it."""
        elsewhere = _elsewhere(info)
        crossing = self._galleries.lineage(info, number).crossings[-1]

        def transform(old: Array) -> Array:
            return crossing.apply(old, None, np.zeros(len(old), bool))

        target, folder = self._target(info, number), self._galleries.folder(info).folder / "targets"
        folder.mkdir(parents=True, exist_ok=True)
        copying = Copying(
            open=lambda: self._stores.open(elsewhere.connection, elsewhere.place),
            target=target,
            transform=transform,
            folder=folder,
            max_writes_per_second=elsewhere.max_writes_per_second,
            progress=tick,
        )
        try:
            with told_as_problems(elsewhere), FileLock(folder / f"{target.name}.lock"):
                done = copy_vectors(copying)
        except WrittenWrong as error:
            raise StoreChanged(f"In {elsewhere}: {error}. Look what else writes there, and start anew.") from None
        at = utc_now()
        self._note(info, number, lambda before: replace(before, items=done.items, behind=done.behind, caught_up_at=at))

    def _note(self, info: GalleryInfo, number: int, change: Callable[[InStore], InStore]) -> None:
        with self._database.session() as session:
            generations.note_in_store(session, info.id, number, change)


def _elsewhere(info: GalleryInfo) -> Elsewhere:
    """Raises ValueError for a gallery whose items lie here."""
    if info.elsewhere is None:
        raise ValueError(f"the items of gallery {info.id!r} lie here")
    return info.elsewhere
