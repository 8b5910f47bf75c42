"""Entity tags: what names the content of a file that is downloaded, so that a client fetches it once."""

from functools import lru_cache
from pathlib import Path

from models.portable import digest


def etag(path: Path) -> str:
    """The file's SHA-256 as an HTTP entity tag; computed anew only where the file is another."""
    stat = path.stat()
    return f'"{_sha256(path, stat.st_mtime_ns, stat.st_size)}"'


@lru_cache(maxsize=64)
def _sha256(path: Path, _modified: int, _size: int) -> str:
    return digest(path)
