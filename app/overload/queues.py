"""The lines that requests wait in, and their metrics."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.plain_requests import FAILED
from app.overload.waiting_line import WaitingLine
from app.overload.work import Work, work_of
from app.settings import Settings


class Queues:
    """Middleware: answers a request once its turn has come, and refuses it with 429 where that would take too long.

    A body that comes slowly is received within the turn. A read's turn ends where its answer begins, since a stream or
    a download may last for hours; any other turn ends with what the request leaves for after its answer. A request
    whose client goes away while it waits leaves the line.
    """

    def __init__(self, app: ASGIApp, lines: Mapping[Work, WaitingLine]) -> None:
        self._app = app
        self._lines = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # What has failed already has had its turn.
        work = work_of(scope) if scope["type"] == "http" and FAILED not in scope else None
        if work is None:
            await self._app(scope, receive, send)
            return
        line = self._lines[work]
        if not line.take_free():
            receive = await _waited(line, scope, receive)
        if work is Work.READS:
            await self._until_begun(line, scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            line.give_back()

    async def _until_begun(self, line: WaitingLine, scope: Scope, receive: Receive, send: Send) -> None:
        given_back = False

        def give_back() -> None:
            nonlocal given_back
            if not given_back:
                given_back = True
                line.give_back()

        async def watched(message: Message) -> None:
            give_back()
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            give_back()


class QueueMetrics:
    """The lines as Prometheus sees them; where several processes share a port, those of all together."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._in_turn = Gauge(
            "crosswalk_queue_in_turn",
            "Requests whose turn it is.",
            ["work"],
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._waiting = Gauge(
            "crosswalk_queue_waiting",
            "Requests that wait for their turn.",
            ["work"],
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._refused = Counter(
            "crosswalk_queue_refused", "Requests refused because too many came.", ["work"], registry=registry
        )

    def following(self, work: Work) -> Callable[[WaitingLine], None]:
        """What a line of this kind of work is to call once its numbers have changed."""
        in_turn, waiting, refused = self._in_turn.labels(work), self._waiting.labels(work), self._refused.labels(work)
        waited = counted = 0
        in_turn.set(0)
        waiting.set(0)
        refused.inc(0)

        def changed(line: WaitingLine) -> None:
            nonlocal waited, counted
            in_turn.set(line.in_turn)
            if line.waiting != waited:
                waited = line.waiting
                waiting.set(waited)
            if line.refused != counted:
                refused.inc(line.refused - counted)
                counted = line.refused

        return changed


def lines_of(settings: Settings, metrics: QueueMetrics) -> dict[Work, WaitingLine]:
    """A line for each kind of work, as the settings have it."""
    at_once = {
        Work.SEARCHES: settings.searches_at_once,
        Work.BULK_SEARCHES: settings.bulk_searches_at_once,
        Work.EMBEDDINGS: settings.embeddings_at_once,
        Work.WRITES: settings.writes_at_once,
        Work.READS: settings.reads_at_once,
    }
    return {
        work: WaitingLine(work, most, settings.queue_length, settings.queue_seconds, metrics.following(work))
        for work, most in at_once.items()
    }


async def _waited(line: WaitingLine, scope: Scope, receive: Receive) -> Receive:
    """Waits in line until it has a turn; what the route is to receive its request by from then on.

    Raises Overloaded, and ClientDisconnect once the client is gone. In either case there is no turn to give back.
    """
    place = line.join()
    came: deque[Message] = deque()
    gone = asyncio.ensure_future(_gone(scope, receive, came))
    try:
        either: set[asyncio.Future[Any]] = {place, gone}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not place.done() and gone.result():
            raise ClientDisconnect
        await place
    except BaseException:
        line.leave(place)
        raise
    finally:
        gone.cancel()

    async def again() -> Message:
        return came.popleft() if came else await receive()

    return again


async def _gone(scope: Scope, receive: Receive, came: deque[Message]) -> bool:
    """Whether the client went away; ends as late as it does. Keeps what was received meanwhile in `came`: of a body no
    more than its beginning, after which nobody can tell without reading on, and False is answered."""
    if any(name == b"expect" for name, _ in scope["headers"]):
        return False  # it sends its body once that is read
    while True:
        message = await receive()
        came.append(message)
        if message["type"] == "http.disconnect":
            return True
        if message.get("more_body"):
            return False
