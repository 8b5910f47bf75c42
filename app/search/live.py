"""The indexes that this process searches: opened on first use, and kept level with the items at every search."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import structlog

from app.galleries.info import GalleryInfo, GenerationInfo
from app.galleries.service import Galleries
from app.galleries.store import GalleryStore
from app.index import CHECKED_AT_ONCE, CorruptIndex, IndexSnapshot, LiveIndex, VectorIndex
from app.problems import Unavailable
from app.short_calls import leave_event_loop
from app.storage.lance_table import VersionGone

log = structlog.get_logger(__name__)

AskForRebuild = Callable[[str, int], None]
"""Called with a gallery and a generation whose published index is missing, wrong, or far behind."""


_TRIES = 50


@dataclass(frozen=True)
class LoadLimits:
    """Up to how many bytes an index is loaded while searches wait, and vectors are checked before they are searched."""

    loaded_at_once: int = 2**22  # read in some milliseconds
    checked_at_once: int = CHECKED_AT_ONCE


@dataclass(frozen=True)
class LivePair:
    """A transformed generation's index, and that of the generation that it was derived from: both as of one version of
    the items."""

    derived: VectorIndex
    parent: VectorIndex


class LiveIndexes:
    """One live index for each generation that was searched. The items are the truth: an index only follows them."""

    def __init__(self, galleries: Galleries, ask_for_rebuild: AskForRebuild, limits: LoadLimits = LoadLimits()) -> None:
        self._galleries = galleries
        self._ask = ask_for_rebuild
        self._limits = limits
        self._opening = threading.Lock()
        self._open: dict[tuple[str, int, str | None], _Followed] = {}

    def index(self, info: GalleryInfo, number: int) -> VectorIndex:
        """The index of a generation, with everything in it that was acknowledged before this call; what is written
        later does not change it, so that it stays the items as of its `version`."""
        return self._followed(info, number).level(info)

    def pair(self, info: GalleryInfo, number: int) -> LivePair:
        """The indexes of a transformed generation and of its parent, as `index`, of one version of the items.

        Raises Unavailable where items are written so fast that the two are never level with each other.
        """
        generation = info.generations[number]
        if generation.parent is None:
            raise ValueError(f"generation {number} of {info.id} was derived from none")
        ends = self._followed(info, number), self._followed(info, generation.parent)
        for _ in range(_TRIES):
            derived = ends[0].level(info)
            parent = ends[1].level(info, derived.version)
            if derived.version == parent.version:
                return LivePair(derived, parent)
        raise Unavailable(f"Gallery {info.id!r} is written to without a pause long enough to read both its indexes.")

    def _followed(self, info: GalleryInfo, number: int) -> "_Followed":
        key = (info.folder, number, info.generations[number].upgrade)
        followed = self._open.get(key)
        if followed is None:
            leave_event_loop()
            with self._opening:
                # One of the same number is gone, with the upgrade that made it.
                self._open = {one: kept for one, kept in self._open.items() if one[:2] != key[:2] or one == key}
                followed = self._open.setdefault(key, _Followed(self._galleries, info, number, self._ask, self._limits))
        return followed

    def forget(self, info: GalleryInfo) -> None:
        """Lets go of a gallery that is no more."""
        with self._opening:
            self._open = {key: followed for key, followed in self._open.items() if key[0] != info.folder}


class _Followed:
    """One generation's live index, and how far it has followed the items."""

    def __init__(
        self, galleries: Galleries, info: GalleryInfo, number: int, ask: AskForRebuild, limits: LoadLimits
    ) -> None:
        self._store: GalleryStore = galleries.store(info)
        self._engine = galleries.index_engine
        self._lineage = galleries.lineage(info, number)
        self._number = number
        self._ask_for_rebuild = ask
        self._limits = limits
        self._lock = threading.Lock()
        self._index: LiveIndex | None = None
        self._starting = threading.Lock()
        self._loading: str | None = None  # the index that is loaded beside searches
        self._published: str | None = None
        self._published_version = 0
        self._asked_at: int | None = None
        self._corrupt = False
        self._of_other_engine: bool | None = None

    def level(self, info: GalleryInfo, version: int | None = None) -> VectorIndex:
        """The index, level with the items as of a version, which is known to be no longer ago than the caller's
        request; left out, as they are now. Those who come while it catches up wait for it."""
        generation = info.generations[self._number]
        index = None if self._index is None else self._index.frozen()
        later = index is not None and self._taken_over_later(index.snapshot, info, generation)
        if (
            index is not None
            and not index.lost
            and (later or not self._newly_published(generation))
            and index.version >= (self._store.items.version if version is None else version)
        ):
            return index
        leave_event_loop()
        with self._lock:
            if self._index is not None and self._index.lost:
                self._index = None
            if self._index is None or (self._newly_published(generation) and not later):
                self._index = self._renewed(info, generation)
            try:
                self._follow(self._index)
            except VersionGone:
                # Idle for so long that what happened since is no longer known: begin anew from the items.
                self._index = self._opened(info, None)
            self._ask_if_due(info, self._index)
            return self._index.frozen()

    def _newly_published(self, generation: GenerationInfo) -> bool:
        """Whether there is another index than the one taken. What was read before that one was published, and comes
        here late, may name one before it, which is pruned already."""
        return generation.index_name != self._published and (generation.store_version or 0) >= self._published_version

    def _taken_over_later(self, before: IndexSnapshot | None, info: GalleryInfo, generation: GenerationInfo) -> bool:
        """Whether the newly published index is so large, or not on this machine, that it is loaded beside searches of
        the one before; not where these would fail meanwhile, since that is being removed."""
        name = generation.index_name
        if name is None or not self._newly_published(generation):
            return False
        if before is not None and not self._engine.outlives_its_removal(before):
            return False
        folder = self._store.index_folder(self._number) / name
        if not self._engine.here(folder):
            return self._taking_over(info, generation, name)
        try:
            size = sum(path.stat().st_size for path in folder.iterdir())
        except OSError:  # which loading it will tell of
            return False
        return size > self._limits.loaded_at_once and self._taking_over(info, generation, name)

    def _taking_over(self, info: GalleryInfo, generation: GenerationInfo, name: str) -> bool:
        """Has a thread load the newly published index, unless one does; True."""
        with self._starting:
            if self._loading != name:
                self._loading = name
                threading.Thread(target=self._take_over, args=(info, generation, name), daemon=True).start()
        return True

    def _take_over(self, info: GalleryInfo, generation: GenerationInfo, name: str) -> None:
        try:
            try:
                snapshot = self._loaded(info, name)
            except CorruptIndex:
                snapshot = None  # it will be found corrupt once more, and be searched around
            with self._lock:
                if self._newly_published(generation):
                    self._index = self._renewed(info, generation, snapshot)
                    self._ask_if_due(info, self._index)
        except Unavailable as problem:
            log.warning("published index not taken over yet", gallery=info.id, index=name, why=problem.detail)
        finally:
            self._loading = None  # where it failed, the next search tries again

    def _renewed(
        self, info: GalleryInfo, generation: GenerationInfo, snapshot: IndexSnapshot | None = None
    ) -> LiveIndex:
        """The index with the newly published snapshot under it, which may be loaded already; opened anew where that
        cannot be."""
        index, published = self._index, generation.index_name
        if index is None or published is None:
            index = self._opened(info, published)
        else:
            try:
                index.swap(snapshot or self._loaded(info, published))
            except (CorruptIndex, ValueError) as error:
                log.warning("published index not taken over", gallery=info.id, index=published, error=str(error))
                index = self._opened(info, published)
        self._published, self._published_version = published, generation.store_version or 0
        self._asked_at = None  # what was asked for is there; where as much was written meanwhile, another is due
        return index

    def _opened(self, info: GalleryInfo, published: str | None) -> LiveIndex:
        metric, dimension = info.generations[self._number].space.metric, self._lineage.dimension
        if published is not None:
            try:
                return LiveIndex(metric, dimension, snapshot=self._loaded(info, published))
            except CorruptIndex as error:
                log.error("published index is corrupt; searching exactly until it is rebuilt", error=str(error))
                self._corrupt = True
        index = LiveIndex(metric, dimension)
        version = self._store.items.version
        self._store.items.check(version)  # a published index has checksums of its own
        for part in self._store.project(self._lineage, version=version):
            index.upsert(part.rows, part.vectors, version=version)
        return index

    def _loaded(self, info: GalleryInfo, published: str) -> IndexSnapshot:
        """A published snapshot; where it has very many vectors, they are checked while it is searched already.

        Raises CorruptIndex, and Unavailable where its server does not answer.
        """
        folder = self._store.index_folder(self._number) / published
        snapshot = self._engine.open(folder, check_at_once=self._limits.checked_at_once)
        if self._of_other_engine is None and not self._engine.is_own(snapshot):
            self._of_other_engine = True  # once: where a worker publishes by another engine, it would go on for ever
        if not snapshot.checked:
            threading.Thread(target=self._check, args=(info, snapshot), name=f"check {published}", daemon=True).start()
        return snapshot

    def _check(self, info: GalleryInfo, snapshot: IndexSnapshot) -> None:
        """Lets go of a snapshot whose vectors turn out damaged, and has another built."""
        try:
            snapshot.check_vectors()
        except CorruptIndex as error:
            with self._lock:
                given_up = not snapshot.directory.exists()  # for another, which was published since
                if given_up or self._index is None or self._index.snapshot is not snapshot:
                    return
                log.error("published index is corrupt; searching exactly until it is rebuilt", error=str(error))
                self._corrupt = True
                self._index = self._opened(info, None)
                self._ask_if_due(info, self._index)

    def _follow(self, index: LiveIndex) -> None:
        if self._store.items.version <= index.version:
            return
        changes, written = self._store.changes(self._lineage, index.version)
        rows = np.concatenate([np.empty(0, np.int64), *(part.rows for part in written)])
        nothing = np.empty((0, index.dimension), np.float32)
        vectors = np.concatenate([nothing, *(part.vectors for part in written)])
        index.apply(rows, vectors, changes.removed, version=changes.version)

    def _ask_if_due(self, info: GalleryInfo, index: LiveIndex) -> None:
        if (index.rebuild_due or self._corrupt or self._of_other_engine) and self._asked_at is None:
            if self._ask(info.id):
                self._asked_at, self._corrupt = index.version, False
                if self._of_other_engine:
                    self._of_other_engine = False  # once is enough
        elif not index.rebuild_due:
            self._asked_at = None

    def _ask(self, gallery: str) -> bool:
        """Asks for a rebuild; whether that was heard. A full disk takes no request, and must not end a search."""
        try:
            self._ask_for_rebuild(gallery, self._number)
        except Unavailable as problem:
            log.warning("rebuild not asked for; a later search asks again", gallery=gallery, why=problem.detail)
            return False
        return True
