"""A request's body → a file, however long it is, in bounded memory."""

import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from anyio.to_thread import run_sync

from app.failpoints import Failpoint, reached
from app.problems import TooLarge
from app.storage.disk import disk_problem

_PIECE_BYTES = 2**20
_PREFIX = "upload-"


@asynccontextmanager
async def receive(
    stream: AsyncIterator[bytes], directory: Path, limit_bytes: int, announced_bytes: int | None = None
) -> AsyncIterator[Path]:
    """The body as a file in a folder of its own under `directory`, which is removed afterwards, whatever happens.

    Raises TooLarge as soon as the body turns out longer than `limit_bytes`, or says so in its Content-Length
    (`announced_bytes`), and DiskFull.
    """
    if announced_bytes is not None and announced_bytes > limit_bytes:
        raise _too_large(limit_bytes)
    directory.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=directory))
    try:
        body = folder / "body"
        try:
            await _write(stream, body, limit_bytes)
        except OSError as error:
            if (problem := disk_problem(error, directory)) is not None:
                raise problem from error
            raise
        reached(Failpoint.UPLOAD_RECEIVED)
        yield body
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def received(stream: AsyncIterator[bytes], limit_bytes: int, announced_bytes: int | None = None) -> bytes:
    """A body that is short enough for memory. Raises TooLarge as `receive`."""
    if announced_bytes is not None and announced_bytes > limit_bytes:
        raise _too_large(limit_bytes)
    pieces: list[bytes] = []
    length = 0
    async for piece in stream:
        pieces.append(piece)
        length += len(piece)
        if length > limit_bytes:
            raise _too_large(limit_bytes)
    return b"".join(filter(None, pieces))  # which is the piece itself where it came in one


async def _write(stream: AsyncIterator[bytes], body: Path, limit_bytes: int) -> None:
    waiting, written = bytearray(), 0
    with body.open("wb") as file:
        async for piece in stream:
            waiting += piece
            written += len(piece)
            if written > limit_bytes:
                raise _too_large(limit_bytes)
            if len(waiting) >= _PIECE_BYTES:
                await run_sync(file.write, waiting)
                waiting = bytearray()
        file.write(waiting)


def _too_large(limit_bytes: int) -> TooLarge:
    return TooLarge(
        f"The body is longer than {limit_bytes} bytes, the most of one request. Send it in parts.", limit=limit_bytes
    )
