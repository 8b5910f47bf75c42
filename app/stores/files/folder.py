"""The folder of a connection, below which files are read and written, and above which nothing is ever reached.

A request names a file by a path within the folder. That path is hostile: it may be absolute, climb by `..`, or lead
out through a symbolic link, which somebody may put there after it was looked at. So a path is first resolved and
compared, and then opened name by name without following links.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import AfterValidator

from app.connections.options import ConnectionOptions
from app.stores.protocol import StoreAway, WrongPlace

_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_SHOWN = 20
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a named pipe would keep who opens it waiting


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("write an absolute path")
    return path


class FilesOptions(ConnectionOptions):
    """folder: the one below which files are read and written."""

    folder: Annotated[Path, AfterValidator(_absolute)]


class Folder:
    """A folder that the operator configured. What is raised shows its connection's name, and paths within it alone."""

    def __init__(self, root: Path, connection: str) -> None:
        self.connection = connection
        self._called = f"the folder of the connection {connection!r}"
        try:
            self.root = root.resolve(strict=True)
        except OSError as error:
            raise StoreAway(f"{self._called} cannot be reached: {error.strerror}") from None

    def resolved(self, path: str) -> str:
        """Where a path within the folder leads once links are followed, within the folder. Raises WrongPlace."""
        within = PurePosixPath(path)
        if not path or "\0" in path or within.is_absolute() or ".." in within.parts or within == PurePosixPath("."):
            raise WrongPlace(f"{path!r} is no path within {self._called}")
        try:
            found = (self.root / within).resolve(strict=True)
        except (OSError, RuntimeError):  # a ring of links
            raise self._nothing_at(within) from None
        if not found.is_relative_to(self.root):
            raise WrongPlace(f"{path!r} leads out of {self._called}")
        return found.relative_to(self.root).as_posix()

    def beside(self, path: str, name: str) -> str:
        """The resolved path of another name beside a path, wherever the path itself leads to."""
        parent = PurePosixPath(path).parent
        return str((PurePosixPath("." if parent == PurePosixPath(".") else self.resolved(str(parent)))) / name)

    def is_directory(self, resolved: str) -> bool:
        """Whether a resolved path is a directory's."""
        with self.directory(str(PurePosixPath(resolved).parent)) as parent:
            try:
                found = os.stat(PurePosixPath(resolved).name, dir_fd=parent, follow_symlinks=False)
            except OSError as error:
                raise self._told(error, resolved) from None
            return stat.S_ISDIR(found.st_mode)

    def names(self, resolved: str) -> list[str]:
        """What a directory holds, in the order of the names, without what is hidden."""
        with self.directory(resolved) as directory:
            return sorted(name for name in os.listdir(directory) if not name.startswith((".", "_")))

    def open(self, resolved: str) -> int:
        """A descriptor of a regular file, to be closed by the caller. Raises WrongPlace where it is none."""
        place = PurePosixPath(resolved)
        with self.directory(str(place.parent)) as parent:
            try:
                descriptor = os.open(place.name, _FILE, dir_fd=parent)
            except OSError as error:
                raise self._told(error, resolved) from None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise WrongPlace(f"{resolved!r} is no regular file")
        return descriptor

    @contextmanager
    def directory(self, resolved: str) -> Iterator[int]:
        """A descriptor of a directory, by which names in it are opened, made and moved whatever becomes of its path."""
        try:
            descriptor = os.open(self.root, _DIRECTORY)
        except OSError as error:
            raise StoreAway(f"{self._called} cannot be reached: {error.strerror}") from None
        try:
            for name in PurePosixPath(resolved).parts:
                try:
                    inner = os.open(name, _DIRECTORY, dir_fd=descriptor)
                except OSError as error:
                    raise self._told(error, resolved) from None
                os.close(descriptor)
                descriptor = inner
            yield descriptor
        finally:
            os.close(descriptor)

    def _told(self, error: OSError, resolved: str) -> StoreAway | WrongPlace:
        if error.errno in _NOT_THERE:
            return self._nothing_at(PurePosixPath(resolved))
        return StoreAway(f"{resolved!r} cannot be opened: {error.strerror}")

    def _nothing_at(self, path: PurePosixPath) -> WrongPlace:
        """There is no such file; says what there is in the deepest directory on its way."""
        there = PurePosixPath(".")
        for part in path.parts[:-1]:
            if not (self.root / there / part).is_dir() or (self.root / there / part).is_symlink():
                break
            there /= part
        names = self.names(str(there))
        shown = ", ".join(names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "") if names else "nothing"
        where = self._called if there == PurePosixPath(".") else f"{there}/"
        return WrongPlace(f"there is no {str(path)!r}; {where} holds {shown}")


Identity = tuple[int, int, int, int]


def identity(found: os.stat_result) -> Identity:
    """What is another whenever a file was replaced or written to: device, inode, size, time of change."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
