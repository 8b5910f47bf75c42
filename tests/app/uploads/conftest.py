"""Takes a body in as the gateway does, or decodes it in this process, and shows what came out."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from app.forking.forked_process import ForkServer
from app.settings import Settings
from app.uploads import Expected, UploadLimits, Uploads
from app.uploads.decoding import decode
from app.uploads.guard import decoder_forks
from app.uploads.media_types import NPY

Take = Callable[[bytes, str, Expected], pa.Table]

LIMITS = UploadLimits(rows=10_000, body_bytes=2**24, json_bytes=2**22, decoded_bytes=2**26)
_PIECE_BYTES = 1000


async def pieces(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), _PIECE_BYTES):
        yield body[start : start + _PIECE_BYTES]


def decoded(folder: Path, body: bytes, media_type: str, expected: Expected, limits: UploadLimits = LIMITS) -> pa.Table:
    """What a body decodes to, without a process between."""
    (folder / "body").write_bytes(body)
    rows = decode(folder / "body", media_type, expected, limits, folder / "rows")
    return pa.Table.from_batches(rows.batches(), rows.schema)


@pytest.fixture(scope="module")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Where a module's bodies lie while they are looked at."""
    return Settings(data_dir=tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def uploads(bodies: Settings) -> Iterator[Uploads]:
    """One for a module's tests, as one is for a gateway's requests: what decoders are forked from is started once."""
    uploads = Uploads(bodies)
    yield uploads
    uploads.close()


@pytest.fixture(scope="module")
def forks() -> Iterator[ForkServer | None]:
    """What decoders are forked from, as the gateway has it."""
    forks = decoder_forks()
    yield forks
    if forks is not None:
        forks.close()


@pytest.fixture
def take(uploads: Uploads, bodies: Settings) -> Take:
    """Takes a body all the way, and checks that nothing of it is left on disk."""

    async def taken(body: bytes, media_type: str, expected: Expected) -> pa.Table:
        headers = {"content-type": media_type}
        if media_type == NPY:
            decoded = await uploads.npy_queries(pieces(body), headers)
            return decoded(expected.columns[1].dimension).vectors
        async with uploads.rows(pieces(body), headers, expected) as rows:
            return pa.Table.from_batches(rows.batches(), rows.schema)

    def run(body: bytes, media_type: str, expected: Expected) -> pa.Table:
        try:
            return asyncio.run(taken(body, media_type, expected))
        finally:
            assert list(bodies.uploads_dir.glob("*")) == []

    return run
