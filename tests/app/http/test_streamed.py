"""Answers that are made while they are sent."""

from collections.abc import Generator

import anyio
from anyio.to_thread import current_default_thread_limiter
from starlette.types import Message

from app.http.streamed import StreamedParts
from tests.waiting import PATIENCE_SECONDS


def test_an_answer_in_parts_goes_on_though_requests_hold_every_thread_of_theirs() -> None:
    closed: list[bool] = []
    sent: list[bytes] = []

    def parts() -> Generator[bytes]:
        try:
            yield b"b"
            yield b"c"
        finally:
            closed.append(True)

    async def receive() -> Message:
        await anyio.sleep_forever()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message.get("body", b""))

    async def answer() -> None:
        requests = current_default_thread_limiter()
        holders = [object() for _ in range(int(requests.total_tokens))]
        for holder in holders:
            requests.acquire_on_behalf_of_nowait(holder)
        response = StreamedParts(b"a", parts(), "text/plain", threads=anyio.CapacityLimiter(1))
        with anyio.fail_after(PATIENCE_SECONDS):
            await response({"type": "http", "asgi": {"spec_version": "2.4"}}, receive, send)

    anyio.run(answer)
    assert (b"".join(sent), closed) == (b"abc", [True])
