"""How a file is written so that nobody ever sees half of it."""

from __future__ import annotations

import os
from pathlib import Path


def publish(path: Path, content: bytes) -> None:
    """Write → fsync → rename → fsync of the folder, so that `path` is never seen half-written."""
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
