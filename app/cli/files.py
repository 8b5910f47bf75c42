"""Files as people have them: opened for a bulk upload, with the media type that their name or their beginning tells."""

import gzip
import io
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import IO

from app.cli.ending import refuse

_PART_BYTES = 2**20
_BEGINNING_BYTES = 16
_GZIP = b"\x1f\x8b"


class FileType(StrEnum):
    """What a file may hold, as a user names it."""

    PARQUET = "parquet"
    ARROW_FILE = "arrow-file"
    ARROW_STREAM = "arrow-stream"
    NPZ = "npz"
    JSON = "json"
    NDJSON = "ndjson"


_MEDIA_TYPES = {
    FileType.PARQUET: "application/vnd.apache.parquet",
    FileType.ARROW_FILE: "application/vnd.apache.arrow.file",
    FileType.ARROW_STREAM: "application/vnd.apache.arrow.stream",
    FileType.NPZ: "application/x-npz",
    FileType.JSON: "application/json",
    FileType.NDJSON: "application/x-ndjson",
}
# `.arrow`, `.feather` and `.ipc` are not among these: each is used for Arrow's file format and for its stream.
_ENDINGS = {
    ".parquet": FileType.PARQUET,
    ".pq": FileType.PARQUET,
    ".parq": FileType.PARQUET,
    ".arrows": FileType.ARROW_STREAM,
    ".npz": FileType.NPZ,
    ".json": FileType.JSON,
    ".ndjson": FileType.NDJSON,
    ".jsonl": FileType.NDJSON,
}
_BEGINNINGS = (
    (b"PAR1", FileType.PARQUET),
    (b"ARROW1", FileType.ARROW_FILE),
    (b"\xff\xff\xff\xff", FileType.ARROW_STREAM),
    (b"PK\x03\x04", FileType.NPZ),
    (b"[", FileType.JSON),
)


@contextmanager
def opened(file: Path, type: FileType | None) -> Iterator[tuple[Iterable[bytes] | IO[bytes], str]]:
    """The file's bytes and their media type; what was compressed with gzip is read as it was before.

    Ends the command where neither `type`, nor the file's name, nor its beginning tells what it is. Raises OSError,
    and EOFError or zlib.error for what is no whole gzip file.
    """
    with ExitStack() as stack:
        content: IO[bytes] = stack.enter_context(file.open("rb"))
        beginning, name = content.read(_BEGINNING_BYTES), file
        content.seek(0)
        if compressed := beginning.startswith(_GZIP):
            content = stack.enter_context(io.BufferedReader(gzip.GzipFile(fileobj=content)))
            beginning, name = (
                content.read(_BEGINNING_BYTES),
                file.with_suffix("") if file.suffix.lower() == ".gz" else file,
            )
            content.seek(0)
        media_type = _MEDIA_TYPES[type or _ENDINGS.get(name.suffix.lower()) or _by_beginning(file, beginning)]
        # Sent in parts where it is decompressed: the file's own length is not that of the body.
        yield (_Parts(content) if compressed else content), media_type


def _by_beginning(file: Path, beginning: bytes) -> FileType:
    for first, type in _BEGINNINGS:
        if beginning.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(first):
            return type
    return refuse(
        f"Neither the name of {file} nor its beginning tells what it is. Say so with --type: "
        f"{', '.join(FileType)}. Known endings: {', '.join(_ENDINGS)}, .arrow, .feather; and .gz after them."
    )


class _Parts:
    """What is read a part at a time, and from its beginning each time it is iterated over."""

    def __init__(self, content: IO[bytes]) -> None:
        self._content = content

    def __iter__(self) -> Iterator[bytes]:
        self._content.seek(0)
        while part := self._content.read(_PART_BYTES):
            yield part
