"""Drops what folders name in Milvus before they are removed, in one pass over any number of folders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import structlog

from app.index.milvus import COLLECTION, CollectionName
from app.index.milvus_server import MilvusServer
from app.index.protocol import CorruptIndex
from app.problems import IndexEngineAway, ObjectStoreAway, Unavailable

log = structlog.get_logger(__name__)


class CollectionRelease:
    """One pass. Once Milvus or the object store has not answered, it is not asked again: each question would take a
    whole time limit.

    server: None where the settings do not say where Milvus is. bring: has on this machine what names the collections
    of the indexes below a folder, wherever it was written; raises ObjectStoreAway.
    """

    def __init__(self, server: MilvusServer | None, bring: Callable[[Path], None]) -> None:
        self._server = server
        self._bring = bring
        self._away = False
        self._store_away = False

    def release(self, folder: Path) -> bool:
        """Drops the collections that indexes in a folder name, an index's own or a gallery's: before it is removed.

        Whether none is left, so that the folder may go.
        """
        if self._store_away or not self._brought(folder):
            return False
        for path in _named_in(folder):
            try:
                name = CollectionName.read(path.parent).name
            except CorruptIndex:  # killed before it was written, when there was no collection yet
                continue
            if self._away or not self._dropped(name):
                return False
        return True

    def _brought(self, folder: Path) -> bool:
        try:
            self._bring(folder)
        except ObjectStoreAway as problem:
            self._store_away = True
            log.warning("stays: the object store does not tell its collections", folder=str(folder), why=problem.detail)
            return False
        return True

    def _dropped(self, collection: str) -> bool:
        if self._server is None:
            log.warning("a collection stays in Milvus, of which nothing is set", collection=collection)
            return False
        try:
            self._server.drop(collection)
        except Unavailable as problem:
            self._away = isinstance(problem, IndexEngineAway)
            log.warning("a collection stays until leftovers are swept", collection=collection, why=problem.detail)
            return False
        return True


def _named_in(folder: Path) -> Iterator[Path]:
    for pattern in (COLLECTION, f"indexes/*/*/{COLLECTION}", f"*/{COLLECTION}"):
        yield from folder.glob(pattern)
