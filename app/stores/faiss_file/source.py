"""The old index and its ids, as of the moment that both were opened."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from app.stores.faiss_file.ids import read_ids
from app.stores.faiss_file.index_file import IndexFile
from app.stores.files.folder import Folder, Identity, identity
from app.stores.files.key_index import NOWHERE, KeyPlaces, hashes_of
from app.stores.protocol import WrongPlace


class OpenedIndex:
    """ids: of each vector, in their order."""

    def __init__(self, folder: Folder, path: str, ids_path: str | None) -> None:
        self.file = IndexFile(path, folder.open(path))
        try:
            self.ids = self._ids(folder, ids_path)
            self._places = KeyPlaces(hashes_of(self.ids.to_pylist(), len(self.ids)))
            if (again := self._places.twice()) is not None:
                raise WrongPlace(f"the id {self.ids[again].as_py()!r} is there twice")
        except BaseException:
            self.file.close()
            raise

    def places(self, ids: Sequence[str]) -> npt.NDArray[np.int64]:
        """The number of each id's vector, NOWHERE for one that is not there."""
        return self._places.find(hashes_of(ids, len(ids)))

    def _ids(self, folder: Folder, ids_path: str | None) -> pa.StringArray:
        if ids_path is None:
            return pa.array(self.file.ids()).cast(pa.string())
        ids = read_ids(ids_path, folder.open(ids_path))
        if len(ids) != self.file.about.rows:
            raise WrongPlace(f"{ids_path!r} has {len(ids)} ids, and the index {self.file.about.rows} vectors")
        return ids


class FaissSource:
    """Opens the index again once its files are others; who reads the one before reads it to its end."""

    def __init__(self, folder: Folder, ids_path: str | None) -> None:
        self._folder, self._ids_path = folder, ids_path
        self._opened: OpenedIndex | None = None
        self._seen: list[tuple[str, Identity]] = []
        self._readers: dict[OpenedIndex, int] = {}

    @contextmanager
    def reading(self, path: str) -> Iterator[OpenedIndex]:
        """The index at a resolved path."""
        opened = self._now(path)
        self._readers[opened] = self._readers.get(opened, 0) + 1
        try:
            yield opened
        finally:
            self._readers[opened] -= 1
            if not self._readers[opened]:
                del self._readers[opened]
                if opened is not self._opened:
                    opened.file.close()

    def close(self) -> None:
        opened, self._opened, self._seen = self._opened, None, []
        if opened is not None and opened not in self._readers:
            opened.file.close()

    def _now(self, path: str) -> OpenedIndex:
        ids_path = None if self._ids_path is None else self._folder.resolved(self._ids_path)
        seen = [(each, self._identity(each)) for each in (path, ids_path) if each is not None]
        if self._opened is None or seen != self._seen:
            self.close()
            self._opened, self._seen = OpenedIndex(self._folder, path, ids_path), seen
        return self._opened

    def _identity(self, path: str) -> Identity:
        descriptor = self._folder.open(path)
        try:
            return identity(os.fstat(descriptor))
        finally:
            os.close(descriptor)


def there(ids: Sequence[str], places: npt.NDArray[np.int64]) -> tuple[list[str], list[int]]:
    """Those of the ids that have a place, each once, and their places."""
    found = {id_: int(place) for id_, place in zip(ids, places, strict=True) if place != NOWHERE}
    return list(found), list(found.values())
