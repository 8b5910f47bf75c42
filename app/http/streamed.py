"""Answers that are made while they are sent, and let go of what they hold as soon as nobody reads them any more."""

from collections.abc import AsyncIterator, Generator, Mapping

from anyio import CancelScope, CapacityLimiter
from anyio.to_thread import run_sync
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send


class StreamedParts(StreamingResponse):
    """Sends the parts that a generator makes, each made in a thread when the one before was sent.

    threads: of how many the parts of all such answers are made, apart from those that requests are answered in: an
    answer that goes on for minutes would take one of these whenever its client has read enough.

    The generator is closed when the last part was sent, or the client has gone away, whichever comes first.
    """

    def __init__(
        self,
        first: bytes,
        rest: Generator[bytes],
        media_type: str,
        headers: Mapping[str, str] | None = None,
        *,
        threads: CapacityLimiter,
    ) -> None:
        """first: the first part, made already, so that what is wrong with the request is answered as such."""
        self._rest = rest
        self._threads = threads
        super().__init__(self._parts(first), headers=headers, media_type=media_type)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            with CancelScope(shield=True):
                await run_sync(self._rest.close, limiter=self._threads)

    async def _parts(self, first: bytes) -> AsyncIterator[bytes]:
        yield first
        # A thread that makes a part is waited for, even where the client has gone: the generator is never closed amid.
        while (part := await run_sync(next, self._rest, None, limiter=self._threads)) is not None:
            yield part
