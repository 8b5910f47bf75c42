"""Which engine keeps published indexes: FAISS, in files, or Milvus, a server. Everything above asks here."""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import structlog

from app.failpoints import Failpoint, reached
from app.index.collection_release import CollectionRelease
from app.index.effort import tune
from app.index.manifest import FILE, Manifest, Tuned
from app.index.milvus import COLLECTION, CollectionName, MilvusSnapshot
from app.index.milvus_publish import milvus_name, publish_to_milvus, tune_in_milvus
from app.index.milvus_server import MilvusAddress, MilvusServer
from app.index.partial import prune
from app.index.protocol import CorruptIndex, IndexOptions, RowIds, Vectors
from app.index.publish import publish
from app.index.published import IndexSnapshot
from app.index.snapshot import Snapshot
from app.problems import Unavailable
from app.settings import Settings
from app.storage.shared_files import shared_files
from models.portable import Distance

_ON_ITS_WAY_SECONDS = 3600
_MANIFESTS_KEPT = 1_000
_GRACE_SECONDS = 1.0  # for searches that began before an index was superseded

log = structlog.get_logger(__name__)


class IndexEngine:
    """Publishes, opens and removes indexes. Those of the other engine are opened as well, as far as they can be."""

    def __init__(self, settings: Settings) -> None:
        self._publishes_to_milvus = settings.index_engine == "milvus"
        self._device = settings.index_device
        self._prefix = settings.milvus_prefix
        self._shared = shared_files(settings)
        self._elsewhere = lru_cache(_MANIFESTS_KEPT)(self._manifest_elsewhere)  # names are of one content for good
        self._milvus: MilvusServer | None = None
        if settings.milvus_uri is not None:
            address = MilvusAddress(settings.milvus_uri, settings.milvus_token, settings.milvus_timeout_seconds)
            self._milvus = MilvusServer(address)

    @property
    def server(self) -> MilvusServer | None:
        """The server without which nothing is searched; None where the engine needs none."""
        return self._milvus if self._publishes_to_milvus else None

    def publish(
        self,
        folder: Path,
        batches: Iterable[tuple[RowIds, Vectors]],
        *,
        metric: Distance,
        dimension: int,
        version: int,
        options: IndexOptions,
        before: Manifest | None = None,
    ) -> Path:
        """As `app.index.publish`; in Milvus the kind goes by the number of rows alone. Raises Unavailable."""
        if (server := self.server) is None:
            published = publish(
                folder,
                batches,
                metric=metric,
                dimension=dimension,
                version=version,
                options=options,
                before=before,
                device=self._device,
            )
            return self.share(published)
        published = publish_to_milvus(
            server,
            self._prefix,
            folder,
            batches,
            metric=metric,
            dimension=dimension,
            version=version,
            options=options,
        )
        return self.share(published)

    def share(self, directory: Path) -> Path:
        """Gives a published index, whose directory is returned, to the other machines. Raises ObjectStoreAway."""
        self._shared.publish(directory, last=[FILE])
        return directory

    def here(self, directory: Path) -> bool:
        """Whether a published index need not be brought to this machine first."""
        return self._shared.store is None or (directory / FILE).exists()

    def manifest(self, directory: Path) -> Manifest:
        """What a published index says of itself; the index is not brought to this machine for that. Raises
        CorruptIndex."""
        return Manifest.load(directory) if self.here(directory) else self._elsewhere(directory)

    def _manifest_elsewhere(self, directory: Path) -> Manifest:
        """As `manifest`, of an index that only the object store has."""
        assert self._shared.store is not None
        with TemporaryDirectory() as folder:
            alone = Path(folder) / directory.name
            alone.mkdir()
            self._shared.store.download(self._shared.key(directory / FILE), alone / FILE)
            return Manifest.load(alone)

    def _brought(self, directory: Path) -> None:
        """Has a published index on this machine; those that it follows there are let go."""
        if self.here(directory):
            return
        if directory.is_dir():  # with what names its collection alone, which was to be dropped
            self._shared.fetch_files(directory, last=[FILE])
        self._shared.fetch(directory)
        if not directory.is_dir():
            return  # which opening it tells
        kept = {directory.name} | self._shared.names_in(directory.parent)
        for other in directory.parent.iterdir():
            if other.name in kept or other.name.startswith("."):  # the latter are being built
                continue
            # What is open of it stays until it is closed; a younger one may be on its way to the store.
            with suppress(FileNotFoundError):  # unless another process has removed it
                if time.time() - other.stat().st_mtime > _ON_ITS_WAY_SECONDS:
                    shutil.rmtree(other, ignore_errors=True)

    def open(self, directory: Path, *, check_at_once: int | None = None) -> IndexSnapshot:
        """Opens what either engine published; check_at_once: as `Snapshot.load`, of files.

        Raises CorruptIndex, also where an index is in Milvus and the settings do not say where that is, and
        Unavailable.
        """
        self._brought(directory)
        if not (directory / COLLECTION).exists():
            return Snapshot.load(directory, check_at_once=check_at_once)
        if self._milvus is None:
            raise CorruptIndex(f"{directory} was published to Milvus, and there is no CROSSWALK_MILVUS_URI")
        return MilvusSnapshot.load(directory, self._milvus)

    @staticmethod
    def outlives_its_removal(index: IndexSnapshot) -> bool:
        """Whether who has opened an index goes on reading it once it is removed, as files are read that are mapped."""
        return isinstance(index, Snapshot)

    def growable(self, directory: Path) -> Snapshot | None:
        """What `app.index.grow` can start from; None where an index is built whole, as those in Milvus always are.

        Raises CorruptIndex.
        """
        self._brought(directory)
        if self._publishes_to_milvus or (directory / COLLECTION).exists():
            return None
        return Snapshot.load(directory)

    @staticmethod
    def bytes_on_disk(manifest: Manifest) -> int | None:
        """Of all files of a published index; None where Milvus keeps its vectors."""
        return None if COLLECTION in manifest.files else manifest.bytes

    def is_own(self, index: IndexSnapshot) -> bool:
        """Whether this is the engine that an index was published by; another should be made of it otherwise."""
        return isinstance(index, MilvusSnapshot) == self._publishes_to_milvus

    def tune(
        self, index: IndexSnapshot, queries: Vectors, score: Distance, neighbours: int
    ) -> tuple[Tuned, Tuned] | None:
        """As `app.index.tune`."""
        if isinstance(index, MilvusSnapshot):
            return tune_in_milvus(index, queries, score, neighbours)
        return tune(index, queries, score, neighbours) if isinstance(index, Snapshot) else None

    def prune(self, folder: Path, keep: Collection[str]) -> None:
        """As `app.index.prune`. What cannot be removed from Milvus now stays, and is a leftover."""
        elsewhere = self._shared.names_in(folder) - set(keep)
        for name in elsewhere:
            self._bring_names(folder / name)
        superseded = [path for path in folder.iterdir() if path.name not in keep]
        if any((path / COLLECTION).exists() for path in superseded):
            time.sleep(_GRACE_SECONDS)
            releasing = self.releasing()
            for path in superseded:
                if releasing.release(path):
                    shutil.rmtree(path)
                    reached(Failpoint.INDEX_PRUNED)
        else:
            prune(folder, keep)
        for name in elsewhere:
            if not (folder / name).exists():
                self._shared.remove(folder / name)

    def _bring_names(self, folder: Path) -> None:
        """Has on this machine what names the collections of Milvus of the indexes below a folder; also where nothing is
        set of Milvus, so that what then cannot be dropped keeps its name."""
        if (store := self._shared.store) is not None:
            for one in store.listed(self._shared.key(folder)):
                if one.key.endswith(f"/{COLLECTION}"):
                    self._shared.fetch(self._shared.path(one.key))

    def releasing(self) -> CollectionRelease:
        """What drops the collections that indexes in folders name, before these are removed: for one pass over them."""
        return CollectionRelease(self._milvus, self._bring_names)

    def release(self, folder: Path) -> bool:
        """As `CollectionRelease.release`, of one folder alone."""
        return self.releasing().release(folder)

    def show_active(self, gallery: str, directory: Path | None) -> None:
        """Has the gallery's alias in Milvus lead to the index that answers, for those who look there by themselves.

        There is no alias where that index is in no collection.

        Searches here do not use it. What goes wrong is logged: the next switch or rebuild sets it right.
        """
        if self.server is None:
            return
        alias = f"{self._prefix}_{milvus_name(gallery)}"
        try:
            if directory is not None and (directory / COLLECTION).exists():
                self.server.point_alias(alias, CollectionName.read(directory).name)
            else:
                self.server.drop_alias(alias)
        except (Unavailable, CorruptIndex) as error:
            log.warning("alias not switched", gallery=gallery, error=str(error))
