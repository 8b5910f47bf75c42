"""A body lies in a file while it is looked at, is never longer than allowed, and never stays."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.problems import TooLarge, UnsupportedMediaType
from app.uploads import Uploads
from app.uploads.media_types import JSON
from app.uploads.receiving import receive
from benchmarks.hostile_files import EXPECTED, items
from tests.app.uploads.conftest import pieces


def test_body_is_received_whole_and_removed(tmp_path: Path) -> None:
    sent = os.urandom(3 * 2**20 + 17)

    async def run() -> None:
        async with receive(pieces(sent), tmp_path, len(sent), len(sent)) as body:
            assert body.read_bytes() == sent
        assert list(tmp_path.iterdir()) == []

    asyncio.run(run())


def test_body_longer_than_allowed_is_refused_before_it_is_all_there(tmp_path: Path) -> None:
    given = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal given
        while True:
            given += 1000
            yield bytes(1000)

    async def run() -> None:
        async with receive(endless(), tmp_path, 50_000):
            pass

    with pytest.raises(TooLarge, match="50000"):
        asyncio.run(run())
    assert given == 51_000
    assert list(tmp_path.iterdir()) == []


def test_body_that_announces_too_much_is_not_read_at_all(tmp_path: Path) -> None:
    body_read = False

    async def body() -> AsyncIterator[bytes]:
        nonlocal body_read
        body_read = True
        yield b"a"

    async def run() -> None:
        async with receive(body(), tmp_path, 100, announced_bytes=101):
            pass

    with pytest.raises(TooLarge):
        asyncio.run(run())
    assert not body_read


def test_body_is_removed_when_its_sender_or_its_reader_fails(tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"a"
        raise ConnectionError

    async def sender() -> None:
        async with receive(broken(), tmp_path, 100):
            pass

    async def reader() -> None:
        async with receive(pieces(b"a"), tmp_path, 100):
            raise ConnectionError

    for fail in (sender, reader):
        with pytest.raises(ConnectionError):
            asyncio.run(fail())
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "text/csv"},
        {"content-type": "application/x-npy"},
        {"content-type": JSON, "content-encoding": "gzip"},
    ],
)
def test_other_media_types_and_encodings_are_refused(uploads: Uploads, headers: dict[str, str]) -> None:
    async def run() -> None:
        async with uploads.rows(pieces(items()), headers, EXPECTED):
            pass

    with pytest.raises(UnsupportedMediaType):
        asyncio.run(run())


def test_media_type_may_have_parameters_and_capitals(uploads: Uploads) -> None:
    async def run() -> int:
        headers = {"content-type": "Application/JSON; charset=utf-8", "content-length": str(len(items()))}
        async with uploads.rows(pieces(items()), headers, EXPECTED) as rows:
            assert [batch.num_rows for batch in rows.batches()] == [batch.num_rows for batch in rows.batches()]
            return rows.count

    assert asyncio.run(run()) == 100
