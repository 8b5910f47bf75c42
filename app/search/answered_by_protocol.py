"""A plain `GET /search` answered by the protocol of its connection, without a task and without the middlewares.

A task, and a coroutine for each middleware and its answers, take longer than half a search does. What each middleware
does is done here by the same functions; a request for which one of them would do anything else goes to all of them:
headers that any of them looks at, keys with limits, a line in which it would have to wait, whatever is wrong. What a
search raises, they answer, and do not search again.
"""

from __future__ import annotations

import asyncio
import time
from contextvars import Context
from dataclasses import dataclass
from functools import partial

import structlog
from starlette.datastructures import State

from app.composition import Crosswalk
from app.filters import filter_of_url
from app.http.hosts import HostNames
from app.http.peers import is_loopback
from app.http.plain_requests import Address, Answer, Headers, PlainDone, PlainHead
from app.http.security_headers import secured
from app.http.telemetry import REQUEST_ID_HEADER, Metrics, new_request_id, tell_answer
from app.keys.access import Access
from app.keys.admission import caller_without_waiting
from app.keys.limits import KeyLimits
from app.keys.rules import Rules
from app.overload.waiting_line import WaitingLine
from app.problems import Problem
from app.search.old_vectors import route_with_old_vectors
from app.search.plain_query import PlainQuery, plain_query
from app.search.quick_answers import headers_of
from app.search.routes import router
from app.search.single_queries import SingleAnswer

PATH = router.prefix
_METHOD = "GET"
_HOST, _AUTHORIZATION = b"host", b"authorization"
_LOOKED_AT_HERE = frozenset({_HOST, _AUTHORIZATION})
_LOOKED_AT_NOWHERE = frozenset(
    {
        b"accept",
        b"accept-encoding",
        b"accept-language",
        b"cache-control",
        b"connection",
        b"pragma",
        b"traceparent",
        b"tracestate",
        b"user-agent",
    }
)


@dataclass(frozen=True)
class Doors:
    """What a request passes on its way in and out, each the same that its middleware has.

    state: the application's, which holds its `Crosswalk` once it has begun.
    """

    state: State
    hosts: HostNames
    rules: Rules
    limits: KeyLimits
    line: WaitingLine
    metrics: Metrics

    @property
    def crosswalk(self) -> Crosswalk:
        crosswalk: Crosswalk = self.state.crosswalk
        return crosswalk


class ProtocolSearches:
    """Answers the plain searches of one connection, one at a time. For one event loop."""

    def __init__(self, doors: Doors, client: Address | None, server: Address | None) -> None:
        """client, server: the ends of the connection."""
        self._doors = doors
        self._server = server
        self._local = client is not None and is_loopback(client[0])
        self._headers: Headers | None = None
        self._taken = False
        self._future: asyncio.Future[SingleAnswer] | None = None

    def begin(self, head: PlainHead, done: PlainDone) -> bool:
        """Begins to answer a request; whether it did. `done` is called later, unless `give_up` is called first."""
        began = time.perf_counter()
        if head.headers is not self._headers:  # which most clients send the same with each request
            self._headers, self._taken = head.headers, self._takes(head.headers)
        query = plain_query({"headers": (), "query_string": head.query}) if self._taken else None
        caller = None if query is None else self._caller(head)
        if query is None or caller is None:
            return False
        context = Context()
        try:
            future = context.run(self._ask, query, caller)
        except Problem:  # found again, and answered, by the application
            return False
        if future is None:
            return False
        self._future = future
        future.add_done_callback(partial(self._answered, began, done), context=context)
        return True

    def give_up(self) -> None:
        """Has what was begun last, and is not done, not answered: its client went away."""
        if self._future is not None:
            self._future.cancel()

    def _takes(self, headers: Headers) -> bool:
        """Whether no middleware would do more with these headers than is done here."""
        names = {name for name, _ in headers}
        host = next((value for name, value in headers if name == _HOST), b"")
        return names <= _LOOKED_AT_HERE | _LOOKED_AT_NOWHERE and self._doors.hosts.take(host, self._server)

    def _caller(self, head: PlainHead) -> Access | None:
        keys = [value for name, value in head.headers if name == _AUTHORIZATION]
        doors = self._doors
        return caller_without_waiting(
            doors.crosswalk.key_ring, doors.limits, doors.rules, _METHOD, PATH, head.query, keys, local=self._local
        )

    def _ask(self, query: PlainQuery, caller: Access) -> asyncio.Future[SingleAnswer] | None:
        """The answer once it is there, for which a turn was taken; None where no turn is free.

        Raises Problem. Binds what log lines say to the context.
        """
        caller.require_gallery(query.gallery)
        wanted = filter_of_url(query.filter)
        route_with_old_vectors(query.route, given=False, parameter="old_vector")
        if not self._doors.line.take_free():
            return None
        structlog.contextvars.bind_contextvars(request_id=new_request_id())
        if caller.key is not None:
            structlog.contextvars.bind_contextvars(key=caller.key)
        self._doors.metrics.in_flight.inc()
        try:
            return self._doors.crosswalk.single_queries.begin(query, caller, wanted)
        except BaseException:
            self._leave()
            raise

    def _leave(self) -> None:
        """Ends the turn that `_ask` took."""
        self._doors.line.give_back()
        self._doors.metrics.in_flight.dec()

    def _answered(self, began: float, done: PlainDone, future: asyncio.Future[SingleAnswer]) -> None:
        self._future = None
        self._leave()
        if future.cancelled():
            return
        if (error := future.exception()) is not None:
            if not isinstance(error, Exception):
                raise error
            done(error)
            return
        answer = future.result()
        request_id: str = structlog.contextvars.get_contextvars()["request_id"]
        tell_answer(self._doors.metrics, _METHOD, PATH, PATH, 200, time.perf_counter() - began)
        done(Answer([*secured(headers_of(answer)), (REQUEST_ID_HEADER, request_id.encode())], answer.body))
