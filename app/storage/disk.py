"""Tells from any library's error that a disk is full or failing, and says so in one way.

The operating system says ENOSPC; Lance, SQLite, PostgreSQL, FAISS, Arrow and safetensors each wrap that in an error of
their own, some in words alone.
"""

import errno
import os
import re
import sqlite3
from pathlib import Path

from app.problems import DiskFailing, DiskFull, Problem
from app.storage.error_causes import causes_of
from app.storage.sqlite_errors import sqlite_error_kind

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FAILING = (errno.EIO, errno.EROFS)
_FULL_WORDS = re.compile(
    r"No space left on device|Disk quota exceeded|database or disk is full|\bos error (?:28|122)\b", re.IGNORECASE
)
_FAILING_WORDS = re.compile(r"Input/output error|Read-only file system|\bos error (?:5|30)\b", re.IGNORECASE)
_SQLSTATES: dict[str, type[DiskFull] | type[DiskFailing]] = {
    "53100": DiskFull,  # PostgreSQL's disk_full
    "58030": DiskFailing,  # PostgreSQL's io_error
}
_NEARLY_NOTHING = 256 * 2**10
"""Free bytes below which SQLite's "disk I/O error", which it says of both, is a full disk's."""


def disk_problem(error: BaseException, folder: Path) -> DiskFull | DiskFailing | None:
    """The problem where a disk that is full or failing caused an error; None where something else did.

    folder: what the error was about writing, unless the error names its file.
    """
    if isinstance(error, (DiskFull, DiskFailing)):
        return error
    if isinstance(error, Problem):
        return None
    for cause in causes_of(error):
        if isinstance(cause, (DiskFull, DiskFailing)):
            return cause
        if (of_the_server := _problem_of_server(cause)) is not None:
            return of_the_server
        where = (
            Path(os.fsdecode(named)) if isinstance(named := getattr(cause, "filename", None), str | bytes) else folder
        )
        kind = _kind(cause, where)
        if kind is DiskFull:
            return disk_full(where)
        if kind is DiskFailing:
            return DiskFailing(
                f"The disk that holds {_existing(where)} {_STATE[kind]}: {_line(cause)}. {_REMEDY[kind]}",
                folder=str(_existing(where)),
            )
    return None


def server_disk_problem(error: BaseException) -> DiskFull | DiskFailing | None:
    """The problem where the disk of a database server, which is none of this machine's, caused an error."""
    problems = map(_problem_of_server, causes_of(error))
    return next((problem for problem in problems if problem is not None), None)


def disk_full(folder: Path) -> DiskFull:
    """What is said of the full disk that holds a folder."""
    here = _existing(folder)
    space = os.statvfs(here)
    free, size = space.f_bavail * space.f_frsize, space.f_blocks * space.f_frsize
    files = ", and it takes no more files" if space.f_files and not space.f_favail else ", which is not enough"
    return DiskFull(
        f"The disk that holds {here} {_STATE[DiskFull]}: {free} of its {size} bytes are free{files}. "
        f"{_REMEDY[DiskFull]}",
        folder=str(here),
        free_bytes=free,
    )


def free_bytes(folder: Path) -> int:
    """What may still be written to the disk that holds a folder; 0 where it takes no more files."""
    space = os.statvfs(_existing(folder))
    return 0 if space.f_files and not space.f_favail else space.f_bavail * space.f_frsize


_STATE = {DiskFull: "is full", DiskFailing: "does not take what is written, or give back what was"}
_REMEDY = {
    DiskFull: "Free space there, or give it more, and send the request again; nothing has to be restarted.",
    DiskFailing: "Look at the system's log and the disk's health, and keep a copy of what can still be read.",
}


def _problem_of_server(error: BaseException) -> DiskFull | DiskFailing | None:
    """What PostgreSQL says of its own disk in one error, its causes aside."""
    kind = _SQLSTATES.get(getattr(error, "sqlstate", None) or "")
    return None if kind is None else kind(f"The disk of the database server {_STATE[kind]}: {error}. {_REMEDY[kind]}")


def _kind(error: BaseException, where: Path) -> type[DiskFull] | type[DiskFailing] | None:
    """Whether one error, its causes aside, says that a disk is full or failing."""
    if (code := sqlite_error_kind(error)) is not None:
        return _kind_of_sqlite(code, where)
    number = error.errno if isinstance(error, OSError) else None
    if number is not None:
        return DiskFull if number in _FULL else DiskFailing if number in _FAILING else None
    # Of libraries' own errors only those kinds are read that they wrap the system's in: words may be a user's too.
    if isinstance(error, OSError | RuntimeError) or type(error).__name__ == "SafetensorError":
        text = str(error)
        return DiskFull if _FULL_WORDS.search(text) else DiskFailing if _FAILING_WORDS.search(text) else None
    return None


def _kind_of_sqlite(code: int, where: Path) -> type[DiskFull] | type[DiskFailing] | None:
    if code == sqlite3.SQLITE_FULL:
        return DiskFull
    if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
        if free_bytes(where) < _NEARLY_NOTHING:
            return DiskFull
        return DiskFailing if code == sqlite3.SQLITE_IOERR else None
    return None


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    folder = folder.absolute()
    while not folder.is_dir():
        folder = folder.parent
    return folder


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
