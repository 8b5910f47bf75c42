"""Files below the data directory that other machines have as well, by way of an object store where one is set.

Each has the key that its path has below the data directory. Without an object store the data directory is the one
place, and there is nothing to do. With one, the store is the one place: what lies below the data directory is a copy,
which is fetched before it is read. Names are of one content for good, but for those of artifacts, which
`app.artifacts.shared` therefore compares.
"""

import secrets
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import structlog

from app.problems import ObjectStoreAway
from app.settings import Settings
from app.storage.location import Location
from app.storage.object_store import ObjectStore

log = structlog.get_logger(__name__)

FETCHING = "fetching"
"""The folder of what is not wholly fetched yet, below the data directory."""


class SharedFiles:
    """The files of one data directory, and the store that keeps them; none where the disk does."""

    def __init__(self, data_dir: Path, store: ObjectStore | None) -> None:
        self._data_dir = data_dir
        self.store = store

    def location(self, folder: Path) -> Location:
        """Where Lance keeps the table that has a path below the data directory."""
        if self.store is None:
            return folder
        return self.store.root / self.key(folder)

    def key(self, path: Path) -> str:
        """The key of a path."""
        return path.relative_to(self._data_dir).as_posix()

    def path(self, key: str) -> Path:
        """The path of a key."""
        return self._data_dir / key

    def publish(self, path: Path, last: Collection[str] = ()) -> None:
        """Copies a file, or all files of a folder, to the store; `last`: the names of those that make it whole."""
        if self.store is None:
            return
        files = [one for one in path.rglob("*") if one.is_file()] if path.is_dir() else [path]
        for file in sorted(files, key=lambda one: (one.name in last, one)):
            self.store.upload(file, self.key(file))

    def fetch(self, path: Path) -> None:
        """Copies a file from the store, or all of a folder, unless it is here; where the store has none, neither has
        the disk afterwards."""
        if self.store is None or path.exists():
            return
        found = self.store.listed(self.key(path))
        if not found:
            self.copy(self.key(path), path)
            return
        with self._scratch() as partial:
            for one in found:
                if not self.copy(one.key, partial / one.key.removeprefix(f"{self.key(path)}/"), one.size):
                    return  # removed meanwhile
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                partial.rename(path)
            except OSError:
                if not path.is_dir():  # unless another process has fetched it meanwhile
                    raise

    def fetch_files(self, folder: Path, last: Collection[str] = ()) -> None:
        """Copies those files below a folder from the store that are not here; `last`: the names of those that make it
        whole."""
        if self.store is None:
            return
        for one in sorted(self.store.listed(self.key(folder)), key=lambda one: one.key.rpartition("/")[2] in last):
            if not (path := self._data_dir / one.key).exists():
                self.copy(one.key, path, one.size)

    def copy(self, key: str, path: Path, size: int | None = None) -> bool:
        """Copies an object to a file, which appears whole, in the place of what was there; whether there was such an
        object, of the size that it was listed with."""
        assert self.store is not None
        with self._scratch() as partial:
            if not self.store.download(key, partial) or size not in (None, partial.stat().st_size):
                return False
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.replace(path)
        return True

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        """A path that is nobody else's, on the disk of the data directory; what is there in the end goes."""
        folder = self._data_dir / FETCHING
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / secrets.token_hex(8)
        try:
            yield partial
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            partial.unlink(missing_ok=True)

    def remove(self, folder: Path) -> None:
        """Removes what the store has of a folder; the folder itself is left to the caller. Where the store is away, it
        stays there, and that is logged."""
        if self.store is None:
            return
        try:
            self.store.remove_folder(self.key(folder))
        except ObjectStoreAway as problem:
            log.warning(
                "left in the object store, where nothing names it any more", key=self.key(folder), why=problem.detail
            )

    def names_in(self, folder: Path) -> set[str]:
        """The names of the folders with files in a folder of the store; of none, where there is no store.

        By their files, since some stores go on listing folders that have none any more.
        """
        if self.store is None:
            return set()
        key = self.key(folder)
        return {one.key.removeprefix(f"{key}/").partition("/")[0] for one in self.store.listed(key)}


def shared_files(settings: Settings) -> SharedFiles:
    """The files of a service's data directory."""
    return SharedFiles(settings.data_dir, None if settings.storage_url is None else _store(settings.storage_url))


@cache
def _store(url: str) -> ObjectStore:
    return ObjectStore(url)
