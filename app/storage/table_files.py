"""The files of one Lance table, on a disk or in an object store: there or not, opened, checked, and kept few.

Files on a disk get checksums (`app.storage.checksums`), since nobody else has any. Of objects the store itself keeps
checksums, which it compares when they are written and while they lie there: ours are not kept there as well.
"""

import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from datetime import timedelta
from functools import wraps
from inspect import isgeneratorfunction
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import lance
import structlog

from app.failpoints import Failpoint, reached
from app.problems import DamagedFile
from app.storage.checksums import check_table, drop_stale_seals, remove_table, seal_data, seal_table, table_files
from app.storage.disk import disk_problem
from app.storage.error_causes import causes_of
from app.storage.location import VERSIONS, Location, ObjectFolder
from app.storage.object_store import ObjectStore

log = structlog.get_logger(__name__)

Kept = Collection[Path]
"""The files of a version that have their checksums; of a table in an object store, none."""

_DATA = "data"
_OF_TABLE = "of_table"
"""The attribute of an exception that says which table it is about."""
_CONFLICTS = ("Too many concurrent writers", "commit conflict")


class TableGone(LookupError):
    """The table is not there, or went while it was read or written."""

    def __init__(self, uri: str) -> None:
        """uri: where it was."""
        super().__init__(f"there is no table at {uri}")
        self.uri = uri


def failed_table(error: BaseException) -> str | None:
    """Where the table is that an exception of `of_a_table` is about, or what led to it; None for any other."""
    return next((str(of) for one in causes_of(error) if (of := getattr(one, _OF_TABLE, None)) is not None), None)


def is_conflict(error: BaseException) -> bool:
    """Whether another writer came first, which Lance says in the words of exceptions of several classes."""
    return any(words in str(error) for words in _CONFLICTS)


class TableFiles:
    """Where one table is. Opening it is left to Lance, whose errors pass through."""

    def __init__(self, location: Location | str) -> None:
        """location: as text, a folder of this machine."""
        self.location = Path(location) if isinstance(location, str) else location
        self.uri = str(location)

    @property
    def folder(self) -> Path | None:
        """The folder of a table on a disk of this machine."""
        return None if isinstance(self.location, ObjectFolder) else self.location

    def latest(self) -> lance.LanceDataset:
        """A handle of this call's own at the newest version: handles move, and threads share this object."""
        return lance.dataset(self.uri)

    def at(self, version: int | None) -> lance.LanceDataset:
        """As `latest`, at a version."""
        return lance.dataset(self.uri, version=version)

    def exist(self) -> bool:
        """Whether a version was committed; the folders alone are what a full disk leaves."""
        if isinstance(self.location, ObjectFolder):
            return ObjectStore(self.uri).holds_any(VERSIONS)
        return any((self.location / VERSIONS).glob("*.manifest"))

    def explain(self, error: Exception) -> None:
        """Raises TableGone where something went wrong because the table is not there; else notes in the exception which
        table it is about, for `failed_table`."""
        if isinstance(error, TableGone):
            return
        if self._is_gone():
            raise TableGone(self.uri) from error
        setattr(error, _OF_TABLE, self.uri)

    def _is_gone(self) -> bool:
        try:
            return not self.exist()
        except Exception:  # such as a store that does not answer, of which what went wrong tells more
            return False

    def of(self, dataset: lance.LanceDataset) -> Kept:
        """What a version consists of, for `seal` to leave out."""
        return () if self.folder is None else table_files(self.folder, dataset)

    def seal(self, dataset: lance.LanceDataset, over: Kept = ()) -> None:
        """As `checksums.seal_table`."""
        if self.folder is not None:
            seal_table(self.folder, dataset, over)

    def seal_pieces(self, names: Collection[str]) -> None:
        """As `checksums.seal_data`."""
        if self.folder is not None:
            seal_data(self.folder, names)

    def drop_stale_seals(self) -> None:
        """As `checksums.drop_stale_seals`."""
        if self.folder is not None:
            drop_stale_seals(self.folder)

    def check(self, version: int | None = None) -> int:
        """Compares the files of a version, or of the newest, with their checksums; how many have one. In an object
        store, whether those that the version names are there. Raises DamagedFile."""
        if self.folder is not None:
            return check_table(self.folder, version)
        sizes = {one.key: one.size for one in ObjectStore(self.uri).listed(_DATA)}
        try:
            fragments = self.at(version).get_fragments()
        except ValueError as error:
            raise DamagedFile(f"{self.uri} cannot be read: {error}.", file=self.uri) from error
        for file in (file for fragment in fragments for file in fragment.data_files()):
            there = sizes.get(f"{_DATA}/{file.path}")
            if there is None or file.file_size_bytes not in (None, there):
                what = "is missing" if there is None else f"has {there} bytes and not {file.file_size_bytes}"
                raise DamagedFile(f"{self.uri}/{_DATA}/{file.path} {what}.", file=self.uri)
        return 0

    def remove(self) -> None:
        """Removes the table with its checksums, if they are there."""
        if self.folder is None:
            ObjectStore(self.uri).remove_folder("")
        else:
            remove_table(self.folder)

    def remove_unless_created(self) -> None:
        """Removes what an attempt to create the table left, unless somebody else created it meanwhile."""
        if self.folder is None or self.exist():  # an object is there wholly or not at all
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):
            self.folder.parent.rmdir()  # the folder made for it, if nothing else is in there

    def compact(self, fragments: int, keep: timedelta, over: Kept) -> None:
        """Seals what was written over a version of these files, and merges small fragments once there are so many:
        every write adds one, and every read opens them all. keep: the age up to which old versions are kept.

        Where another writer comes in between, that write is kept and the merging is left to the next one; so it is
        where the disk is full, since what was written before is kept.
        """
        dataset = self.latest()
        self.seal(dataset, over)
        if len(dataset.get_fragments()) < fragments:
            return
        try:
            dataset.optimize.compact_files()
            reached(Failpoint.FRAGMENTS_MERGED)
            dataset.cleanup_old_versions(older_than=keep, error_if_tagged_old_versions=False)
            reached(Failpoint.VERSIONS_CLEANED)
            self.seal(dataset, over)
            self.drop_stale_seals()
        except OSError as error:
            full = self.folder is not None and disk_problem(error, self.folder) is not None
            if not full and not is_conflict(error):
                raise
            log.info("fragments not merged; a later write tries again", table=self.uri, why=str(error))


_P = ParamSpec("_P")
_R = TypeVar("_R")


def of_a_table(method: Callable[_P, _R]) -> Callable[_P, _R]:
    """A method of what has a table's files as `_files`: it raises TableGone where that table is not there, which Lance
    says in as many ways as there are files that it may miss. Any other exception passes, and `failed_table` knows which
    table it is about."""
    if isgeneratorfunction(method):

        @wraps(method)
        def streaming(*args: Any, **options: Any) -> Iterator[Any]:
            try:
                yield from cast(Any, method)(*args, **options)
            except Exception as error:
                args[0]._files.explain(error)
                raise

        return cast(Callable[_P, _R], streaming)

    @wraps(method)
    def called(*args: _P.args, **options: _P.kwargs) -> _R:
        try:
            return method(*args, **options)
        except Exception as error:
            cast(Any, args[0])._files.explain(error)
            raise

    return called
