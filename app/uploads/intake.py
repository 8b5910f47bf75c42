"""The one way in for bulk bodies: from a request to validated rows."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pyarrow as pa
from anyio.to_thread import run_sync

from app.problems import InvalidRows, Unprocessable
from app.uploads import media_types
from app.uploads.decoding import decode
from app.uploads.expected_columns import Expected, UploadLimits
from app.uploads.guard import decode_guarded, decoder_forks
from app.uploads.judgements import JudgementFormat, read_judgements
from app.uploads.queries import QueryVectors, vectors_of_npy, vectors_of_rows
from app.uploads.receiving import receive, received
from app.uploads.rows import UploadedRows

if TYPE_CHECKING:  # see `expected`
    from app.settings import Settings

_SMALL_AT_ONCE = 4
_SMALL_JSON_BYTES = 2**20
_JUDGEMENTS_BYTES = 32 * 2**20
_PLAIN = (media_types.JSON, media_types.NDJSON)


class Uploads:
    """Takes bodies in: streams them to disk, has them decoded by `upload_decoders` guarded processes at most."""

    def __init__(self, settings: "Settings") -> None:
        self._directory = settings.uploads_dir
        self._limits = UploadLimits.of(settings)
        self._queries_limit = settings.search_queries_limit
        self._decoders = anyio.CapacityLimiter(settings.upload_decoders)
        self._small = anyio.CapacityLimiter(_SMALL_AT_ONCE)
        self._forks = decoder_forks()

    def close(self) -> None:
        """Ends what decoders come from. To be called when no body is open."""
        if self._forks is not None:
            self._forks.close()

    @asynccontextmanager
    async def rows(
        self, stream: AsyncIterator[bytes], headers: Mapping[str, str], expected: Expected
    ) -> AsyncIterator[UploadedRows]:
        """The rows of a bulk body, every one of them checked; they can be read while the context is open.

        Raises UnsupportedMediaType, TooLarge, InvalidUpload and InvalidRows.
        """
        media_type = _media_type(headers, media_types.BULK)
        limit = self._limits.body(media_type)
        async with receive(stream, self._directory, limit, _length(headers)) as body:
            yield await self._decode(body, media_type, expected, self._limits)

    @asynccontextmanager
    async def row(self, expected: Expected, row: Mapping[str, object]) -> AsyncIterator[UploadedRows]:
        """One row of JSON values, checked by the rules of a bulk body's. Raises InvalidRows and TooLarge."""

        async def body() -> AsyncIterator[bytes]:
            yield json.dumps([row]).encode()

        async with self.rows(body(), {"content-type": media_types.JSON}, expected) as rows:
            yield rows

    @asynccontextmanager
    async def queries(
        self, stream: AsyncIterator[bytes], headers: Mapping[str, str]
    ) -> AsyncIterator[Callable[[int, int | None], Awaitable[QueryVectors]]]:
        """Receives the query vectors of a body, npz or Arrow with a column `vector` and perhaps one `old_vector`.
        Yields what decodes them while the context is open, given the dimension that they must have, and that of the old
        vectors, None where there must be none: (n, dimension) float32, finite.

        So nothing that decides how they are searched is read before the last of a slow body has come. Raises
        UnsupportedMediaType and TooLarge; decoding raises InvalidUpload, TooLarge and Unprocessable.
        """
        media_type = _media_type(headers, media_types.QUERY_COLUMNS)
        limits = replace(self._limits, rows=self._queries_limit)
        async with receive(stream, self._directory, limits.json_bytes, _length(headers)) as body:

            async def decoded(dimension: int, old_dimension: int | None) -> QueryVectors:
                try:
                    rows = await self._decode(body, media_type, Expected.queries(dimension, old_dimension), limits)
                except InvalidRows as problem:
                    raise Unprocessable(problem.detail, **problem.members) from None
                return await run_sync(vectors_of_rows, rows, dimension, old_dimension)

            yield decoded

    async def npy_queries(
        self, stream: AsyncIterator[bytes], headers: Mapping[str, str]
    ) -> Callable[[int], QueryVectors]:
        """Receives the query vectors of a body in npy. Returns what decodes them, given the dimension that they must
        have: (n, dimension) float32, finite. To be called in a thread, as a body may be long.

        Raises UnsupportedMediaType where the body is compressed, and TooLarge; decoding raises InvalidUpload, TooLarge
        and Unprocessable.
        """
        media_types.refuse_encoded(headers.get("content-encoding"))
        array = await received(stream, self._limits.json_bytes, _length(headers))

        def decoded(dimension: int) -> QueryVectors:
            return QueryVectors(vectors_of_npy(array, dimension, self._queries_limit))

        return decoded

    async def judgements(
        self,
        stream: AsyncIterator[bytes],
        headers: Mapping[str, str],
        format: JudgementFormat,
        since: datetime | None,
    ) -> pa.Table:
        """The judgements of a body of text, by query: columns `id` and `relevant`. Clicks before `since` do not count.

        Raises UnsupportedMediaType, TooLarge, InvalidUpload and InvalidRows.
        """
        _media_type(headers, media_types.JUDGEMENTS)
        limit = min(_JUDGEMENTS_BYTES, self._limits.json_bytes)
        async with receive(stream, self._directory, limit, _length(headers)) as body:
            return await run_sync(read_judgements, body, format, since, self._limits.rows, limiter=self._small)

    async def _decode(self, body: Path, media_type: str, expected: Expected, limits: UploadLimits) -> UploadedRows:
        into = body.with_name("rows")
        # A small JSON body cannot grow into much, and is decoded without native code: it is not worth a process.
        if media_type in _PLAIN and body.stat().st_size <= _SMALL_JSON_BYTES:
            return await run_sync(decode, body, media_type, expected, limits, into, limiter=self._small)
        return await run_sync(
            decode_guarded, body, media_type, expected, limits, into, self._forks, limiter=self._decoders
        )


def _media_type(headers: Mapping[str, str], taken: tuple[str, ...]) -> str:
    media_types.refuse_encoded(headers.get("content-encoding"))
    return media_types.accepted(headers.get("content-type"), taken)


def _length(headers: Mapping[str, str]) -> int | None:
    """The length that Content-Length announces, None without one; bytes are counted too, since it may lie."""
    announced = headers.get("content-length", "")
    return int(announced[:20]) if announced.isascii() and announced.isdigit() else None
