"""How much of a request is read, and how long it is waited for.

Ordinary bodies are parsed in memory, and must be short; bulk bodies are streamed.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.problems import BodyStopped, TooLarge

_ALLOWANCE = "crosswalk.body_allowance"


@dataclass
class _Allowance:
    limit: int | None
    taken: int = 0

    def take(self, count: int) -> None:
        self.taken += count
        if self.limit is not None and self.taken > self.limit:
            raise TooLarge(
                f"The body is longer than {self.limit} bytes, the most that this operation takes.", limit=self.limit
            )


class BodyLimit:
    """Middleware: refuses a body once it is longer than `limit_bytes`, counted as it comes, and one of which nothing
    more comes for `seconds`: until then it has a turn that others wait for, and its client may be gone unnoticed.

    A Content-Length beyond the limit is refused before anything is read, and no Content-Length is believed.

    Starlette's own `RequestBodyLimitMiddleware` (1.10) does not do for this. It answers in plain text, without the
    limit; it turns the answer of a route that never read its body into a 413, though the work is done; its limit cannot
    be lifted for a stream from within; and FastAPI's routes (0.165) take no `max_body_size`.
    """

    def __init__(self, app: ASGIApp, limit_bytes: int, seconds: float) -> None:
        self.app = app
        self.limit_bytes = limit_bytes
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        allowance = scope[_ALLOWANCE] = _Allowance(self.limit_bytes)
        announced = Headers(scope=scope).get("content-length", "")
        declared = int(announced[:20]) if announced.isascii() and announced.isdigit() else 0

        whole = False  # from then on it is only waited for that the client goes away

        async def next_part() -> Message:
            nonlocal whole
            if whole:
                return await receive()
            try:
                async with asyncio.timeout(self.seconds):
                    message = await receive()
            except TimeoutError:
                raise BodyStopped(f"Nothing more of the body came for {self.seconds:g} seconds.") from None
            whole = not message.get("more_body", False)
            return message

        async def counted() -> Message:
            if allowance.limit is not None and declared > allowance.limit:
                allowance.take(declared)
            message = await next_part()
            allowance.take(len(message.get("body", b"")))
            return message

        await self.app(scope, counted, send)


def _bulk(request: Request) -> AsyncIterator[bytes]:
    request.scope[_ALLOWANCE].limit = None
    return request.stream()


BulkBody = Annotated[AsyncIterator[bytes], Depends(_bulk)]
"""What a route takes that streams its body to `app.uploads`, which has limits of its own."""
