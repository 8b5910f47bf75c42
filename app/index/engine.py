"""Which engine keeps published indexes: FAISS, in files, or Milvus, a server. Everything above asks here."""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import structlog

from app.failpoints import Failpoint, reached
from app.index.effort import tune
from app.index.manifest import Manifest, Tuned
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
from models.portable import Distance

_GRACE_SECONDS = 1.0  # for searches that began before an index was superseded

log = structlog.get_logger(__name__)


class IndexEngine:
    """Publishes, opens and removes indexes. Those of the other engine are opened as well, as far as they can be."""

    def __init__(self, settings: Settings) -> None:
        self._publishes_to_milvus = settings.index_engine == "milvus"
        self._prefix = settings.milvus_prefix
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
            return publish(
                folder,
                batches,
                metric=metric,
                dimension=dimension,
                version=version,
                options=options,
                before=before,
            )
        return publish_to_milvus(
            server,
            self._prefix,
            folder,
            batches,
            metric=metric,
            dimension=dimension,
            version=version,
            options=options,
        )

    def open(self, directory: Path, *, check_at_once: int | None = None) -> IndexSnapshot:
        """Opens what either engine published; check_at_once: as `Snapshot.load`, of files.

        Raises CorruptIndex, also where an index is in Milvus and the settings do not say where that is, and
        Unavailable.
        """
        if not (directory / COLLECTION).exists():
            return Snapshot.load(directory, check_at_once=check_at_once)
        if self._milvus is None:
            raise CorruptIndex(f"{directory} was published to Milvus, and there is no CROSSWALK_MILVUS_URI")
        return MilvusSnapshot.load(directory, self._milvus)

    @staticmethod
    def outlives_its_removal(directory: Path) -> bool:
        """Whether who has opened an index goes on reading it once it is removed, as files are read that are mapped."""
        return not (directory / COLLECTION).exists()

    def growable(self, directory: Path) -> Snapshot | None:
        """What `app.index.grow` can start from; None where an index is built whole, as those in Milvus always are.

        Raises CorruptIndex.
        """
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
        superseded = [path for path in folder.iterdir() if path.name not in keep]
        if any((path / COLLECTION).exists() for path in superseded):
            time.sleep(_GRACE_SECONDS)
            for path in superseded:
                if self.release(path):
                    shutil.rmtree(path)
                    reached(Failpoint.INDEX_PRUNED)
        else:
            prune(folder, keep)

    def release(self, folder: Path) -> bool:
        """Drops the collections that indexes in a folder name, an index's own or a gallery's: before it is removed.

        Whether none is left, so that the folder may go.
        """
        for path in _named_in(folder):
            try:
                name = CollectionName.read(path.parent).name
            except CorruptIndex:  # killed before it was written, when there was no collection yet
                continue
            if self._milvus is None:
                log.warning("a collection stays in Milvus, of which nothing is set", collection=name)
                return False
            try:
                self._milvus.drop(name)
            except Unavailable as problem:
                log.warning("a collection stays until leftovers are swept", collection=name, why=problem.detail)
                return False
        return True

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


def _named_in(folder: Path) -> Iterator[Path]:
    for pattern in (COLLECTION, f"indexes/*/*/{COLLECTION}", f"*/{COLLECTION}"):
        yield from folder.glob(pattern)
