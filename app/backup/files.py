"""Files copied while others write: the data directory's own rules make a copy of it whole, file by file.

What is published is never written to again: artifacts and indexes are renamed into place, and a Lance table only gets
new files. A version of a table is its manifest; the files that it names are there before it is. So a table is copied
tags first, then manifests, then the rest, and holds every version that it holds a manifest of.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from app.index.milvus import COLLECTION
from app.storage.lance_table import Table
from app.storage.removal import REMOVED
from models.portable import digest

_PIECE_BYTES = 2**20
_ATTEMPTS = 5
_REFERS_FIRST = ("_refs", "_versions")


class Vanished(Exception):
    """Files went again and again while they were copied."""


@dataclass(frozen=True)
class CopiedFile:
    """One file of a backup. path: below the backup's folder, with slashes."""

    path: str
    nbytes: int
    sha256: str


def copy_tree(source: Path, into: Path, base: Path) -> list[CopiedFile]:
    """Copies a folder with everything in it but what is still being written or removed; paths are told below `base`.

    What is deleted meanwhile is left out, and so are indexes whose vectors are in Milvus. Raises Vanished where files
    go again and again of a folder that stays.
    """
    copied: list[CopiedFile] = []
    into.mkdir(parents=True, exist_ok=True)
    for entry in sorted(source.iterdir()):
        passing = entry.name.startswith(".") and ("partial" in entry.name or entry.name.endswith(REMOVED))
        if entry.is_symlink() or passing:
            continue
        if (entry / COLLECTION).exists():  # another service must not take a collection of Milvus for its own
            continue
        if entry.is_dir():
            copied += _whole(entry, into / entry.name, base)
        else:
            copied.append(copy_file(entry, into / entry.name, base))
    return copied


def copy_file(source: Path, into: Path, base: Path) -> CopiedFile:
    """Copies one file to the disk itself, and says what was copied."""
    sha256, size = hashlib.sha256(), 0
    into.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as read, into.open("wb") as write:
        while piece := read.read(_PIECE_BYTES):
            sha256.update(piece)
            write.write(piece)
            size += len(piece)
        write.flush()
        os.fsync(write.fileno())
    shutil.copymode(source, into)
    return CopiedFile(into.relative_to(base).as_posix(), size, sha256.hexdigest())


def described(file: Path, base: Path) -> CopiedFile:
    """What a file is, whose path is told below `base`."""
    return CopiedFile(file.relative_to(base).as_posix(), file.stat().st_size, digest(file))


def _whole(source: Path, into: Path, base: Path) -> list[CopiedFile]:
    """A folder, copied anew where files of it went meanwhile, as old versions of a table do at times."""
    copy: Callable[[Path, Path, Path], list[CopiedFile]] = _copy_table if Table.exists(source) else copy_tree
    for _ in range(_ATTEMPTS):
        try:
            return copy(source, into, base)
        except FileNotFoundError:
            shutil.rmtree(into, ignore_errors=True)
            if not source.exists():
                return []
    raise Vanished(f"files of {source} went again and again while they were copied")


def _copy_table(source: Path, into: Path, base: Path) -> list[CopiedFile]:
    return [copy_file(file, into / file.relative_to(source), base) for file in _referring_first(source)]


def _referring_first(table: Path) -> Iterator[Path]:
    """The files of a table, those that name others before the others: listed only when their turn comes."""
    for name in _REFERS_FIRST:
        yield from _files(table / name)
    for entry in sorted(table.iterdir()):
        if entry.name not in _REFERS_FIRST:
            yield from _files(entry)


def _files(root: Path) -> list[Path]:
    if root.is_file():
        return [root]
    return sorted(path for path in root.rglob("*") if path.is_file())
