"""The objects of an S3 store below one URL, read and written whole, over the library that Lance itself uses.

Credentials, region and endpoint are the usual AWS_* variables' or the machine's role; nothing of them passes through
here. An object appears wholly or not at all, and a listing tells what was written before it was asked for.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store

from app.problems import ObjectStoreAway
from app.storage.error_causes import causes_of
from app.storage.location import VERSIONS, ObjectFolder

_PROBE = ".crosswalk-probe-"
_KEPT_OPEN = 256
_SILENT_SECONDS = 60.0
"""For how long nothing may come of an answer, however long all of it takes; it begins with the request, whose body is
of some MiB at most."""
_LONGEST_HOURS = 24
_TRUE = ("1", "true", "on", "yes", "y")
_OF_THE_STORE = "Generic S3 error"


@dataclass(frozen=True)
class StoredObject:
    """An object as a listing tells it. key: below the store's URL; etag: another once its content is another."""

    key: str
    size: int
    etag: str
    written: datetime


class ObjectStore:
    """Every object below a URL like `s3://bucket/prefix`. Keys are told below it.

    Each method raises ObjectStoreAway where the store cannot be reached, or refuses.
    """

    def __init__(self, url: str) -> None:
        self.root = ObjectFolder(url)
        self._store = _opened(url)

    def listed(self, folder: str) -> list[StoredObject]:
        """Every object below a folder, in the order of their keys."""
        with _answering(self.root):
            found = [one for page in obstore.list(self._store, folder or None) for one in page]
        objects = [_stored(one["path"], one["size"], one["e_tag"], one["last_modified"]) for one in found]
        return sorted(objects, key=lambda one: one.key)

    def folders_in(self, folder: str) -> list[str]:
        """The keys of the folders directly in a folder."""
        with _answering(self.root):
            return list(obstore.list_with_delimiter(self._store, folder)["common_prefixes"])

    def holds_any(self, folder: str) -> bool:
        """Whether there is an object below a folder."""
        with _answering(self.root):
            return any(page for page in obstore.list(self._store, folder, chunk_size=1))

    def upload(self, path: Path, key: str) -> None:
        """Writes a file's content to an object, whatever it held before."""
        with _answering(self.root):
            obstore.put(self._store, key, path)

    def download(self, key: str, path: Path) -> bool:
        """Writes an object's content to a file; whether there is such an object."""
        try:
            with _answering(self.root):
                content = obstore.get(self._store, key)
                with path.open("wb") as file:
                    for piece in content:
                        file.write(piece)
        except FileNotFoundError:
            return False
        return True

    def remove(self, keys: list[str]) -> None:
        """Removes objects, those that are there."""
        if keys:
            with _answering(self.root):
                obstore.delete(self._store, keys)

    def remove_folder(self, folder: str) -> None:
        """Removes every object below a folder; first what names the versions of tables, so that whoever reads one
        meanwhile can tell that it is gone from that it is damaged."""
        keys = [one.key for one in self.listed(folder)]
        manifests = [key for key in keys if f"/{VERSIONS}/" in f"/{key}"]
        self.remove(manifests)
        self.remove(sorted({*keys} - {*manifests}))

    def refuses_to_overwrite(self) -> bool:
        """Whether the store takes `If-None-Match: *` for what it says. Two writers of a table would otherwise both be
        told that they committed the same version, and one's rows would be gone."""
        key = f"{_PROBE}{secrets.token_hex(8)}"
        with _answering(self.root):
            try:
                obstore.put(self._store, key, b"1", mode="create")
                try:
                    obstore.put(self._store, key, b"2", mode="create")
                except AlreadyExistsError:
                    return True
                return False
            finally:
                obstore.delete(self._store, [key])

    def answers(self) -> bool:
        """Whether the store can be reached, and lets us list. Asked without patience."""
        try:
            next(iter(obstore.list(_opened(self.root.url, impatient=True), _PROBE, chunk_size=1)), None)
        except (BaseError, OSError):
            return False
        return True


def _stored(key: str, size: int, etag: str | None, written: datetime) -> StoredObject:
    """An object as the store lists it; one that has no etags tells another content by its size and time."""
    return StoredObject(key, size, etag or f"{size}-{written.isoformat()}", written)


@lru_cache(maxsize=_KEPT_OPEN)
def _opened(url: str, *, impatient: bool = False) -> S3Store:
    """One client a URL, whose connections all who use it share."""
    silent = 5.0 if impatient else _SILENT_SECONDS
    longest = timedelta(seconds=silent) if impatient else timedelta(hours=_LONGEST_HOURS)  # with the body
    return S3Store.from_url(
        url,
        client_options={
            "timeout": longest,
            "read_timeout": timedelta(seconds=silent),
            "connect_timeout": timedelta(seconds=5),
            # Not taken from the variable where there are options at all.
            "allow_http": os.environ.get("AWS_ALLOW_HTTP", "").lower() in _TRUE,
        },
        retry_config={"max_retries": 0 if impatient else 4, "retry_timeout": timedelta(seconds=min(30.0, silent))},
    )


@contextmanager
def _answering(root: ObjectFolder) -> Iterator[None]:
    """Raises ObjectStoreAway for what the store or the way to it says, in one line.

    A missing object is FileNotFoundError."""
    try:
        yield
    except (BaseError, FileNotFoundError) as error:
        if isinstance(error, FileNotFoundError) and "NoSuchBucket" not in str(error):
            raise
        raise ObjectStoreAway(f"The object store {root} cannot be used: {first_line(error)}", url=str(root)) from error


def first_line(error: BaseException) -> str:
    """What an error of the object store says, without the XML and the client's own state that follow it."""
    said = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return said.partition("<?xml")[0].rstrip(" :")[:300]


def store_problem(error: BaseException) -> ObjectStoreAway | None:
    """The problem where the object store, or the way to it, caused an error of Lance, which has no class for it; None
    where something else did."""
    for cause in causes_of(error):
        if isinstance(cause, ObjectStoreAway):
            return cause
        if isinstance(cause, OSError | ValueError | RuntimeError) and _OF_THE_STORE in str(cause):
            return ObjectStoreAway(f"The object store cannot be used: {first_line(cause)}")
    return None
