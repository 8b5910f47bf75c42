"""Files made, replaced and moved in a directory that is open, durable once that is done."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from app.stores.protocol import StoreAway

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_UNFINISHED = ".writing"


@contextmanager
def replaced(directory: int, name: str) -> Iterator[BinaryIO]:
    """A file to write, which has the name once it is whole and on disk; nothing is there of one that fails."""
    hidden = f".{secrets.token_hex(8)}{_UNFINISHED}"
    try:
        with open(os.open(hidden, _NEW_FILE, 0o666, dir_fd=directory), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.rename(hidden, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(hidden, dir_fd=directory)
        raise
    os.fsync(directory)


def clear_unfinished(directory: int) -> None:
    """Removes what processes that were killed have left of files that they were writing."""
    for name in os.listdir(directory):
        if name.startswith(".") and name.endswith(_UNFINISHED):
            os.unlink(name, dir_fd=directory)


@contextmanager
def writing_to(path: str) -> Iterator[None]:
    """Around what writes: a disk that is full or read-only becomes StoreAway, which names the path within the folder
    alone."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise StoreAway(f"{path!r} cannot be written: the disk is full") from None
        raise StoreAway(f"{path!r} cannot be written: {error.strerror}") from None
