"""Writes files atomically and durably, and keeps checksums of those that carry none themselves."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import CorruptArtifact


def publish(path: Path, content: bytes, *, sealed: bool = False) -> None:
    """Replaces `path` by `content` so that no reader and no crash ever leaves it half-written.

    sealed: keeps a checksum beside it, for `check_seal`. Raises OSError; then the file is what it was.
    """
    with replacing(path, sealed=sealed) as partial:
        partial.write_bytes(content)


@contextmanager
def replacing(path: Path, *, sealed: bool = False) -> Iterator[Path]:
    """A file to write in the place of `path`, which it becomes at the context's end; where that fails, it goes.

    Write, fsync, rename, fsync of the folder. sealed: keeps a checksum beside it, for `check_seal`.
    """
    partial = path.with_name(f".{path.name}.partial{path.suffix}")
    try:
        yield partial
        sync(partial)
        seal_path(path).unlink(missing_ok=True)  # a crash from here on leaves a file without a seal, not a wrong one
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if sealed:
        seal(path)
    sync(path.parent)


def seal_path(path: Path, folder: Path | None = None) -> Path:
    """Where a file's checksum is kept: beside it, or in a folder of checksums."""
    return path.with_name(f".{path.name}.sha256") if folder is None else folder / f"{path.name}.sha256"


def seal(path: Path, folder: Path | None = None) -> None:
    """Keeps the checksum of a file, which is not to change any more. Raises OSError."""
    sidecar = seal_path(path, folder)
    partial = sidecar.with_name(f".{sidecar.name}.partial.{os.urandom(4).hex()}")
    try:
        partial.write_text(f"{digest(path)}  {path.name}\n")  # as sha256sum writes it
        partial.replace(sidecar)  # not synced: a write's client does not wait for it, and an empty one counts as none
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def check_seal(path: Path, folder: Path | None = None) -> bool:
    """Whether a checksum was kept of a file; an empty one is what a power cut leaves of it. Raises CorruptArtifact
    where the file is gone or another now, and OSError where it cannot be read."""
    try:
        kept = seal_path(path, folder).read_bytes()
    except FileNotFoundError:
        return False
    if not kept:
        return False
    try:
        sha256 = digest(path)
    except FileNotFoundError as error:
        raise CorruptArtifact(f"{path} is missing") from error
    if kept != f"{sha256}  {path.name}\n".encode():
        raise CorruptArtifact(f"{path} does not have the checksum that was kept when it was written")
    return True


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Has the disk hold a file, or a folder's entries."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
