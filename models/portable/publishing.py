"""Writes a file atomically and durably."""

from __future__ import annotations

import os
from pathlib import Path


def publish(path: Path, content: bytes) -> None:
    """Replaces `path` by `content` so that no reader and no crash ever leaves it half-written.

    Write, fsync, rename, fsync of the folder. Raises OSError.
    """
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
