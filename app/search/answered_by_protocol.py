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
from app.http.hosts import HostNames, host_of
from app.http.peers import is_loopback
from app.http.plain_requests import Address, Answer, Failed, Headers, PlainDone, PlainHead
from app.http.problem_answers import ended_before
from app.http.security_headers import secured
from app.http.telemetry import REQUEST_ID_HEADER, Metrics, new_request_id, tell_answer
from app.keys.access import Access
from app.keys.admission import caller_without_waiting
from app.keys.limits import KeyLimits
from app.keys.rules import Rules
from app.overload.waiting_line import WaitingLine
from app.search.plain_query import PlainQuery, plain_query
from app.search.quick_answers import begin_plain, headers_of
from app.search.routes import router
from app.search.single_queries import SingleAnswer

PATH = router.prefix
_METHOD = "GET"
_AUTHORIZATION = b"authorization"
_LOOKED_AT_HERE = frozenset({b"host", _AUTHORIZATION})
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
"""By no middleware, and not by the route of this path."""


@dataclass(frozen=True)
class SharedWithMiddleware:
    """What the middlewares decide by, and what they count in.

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

    def __init__(self, shared: SharedWithMiddleware, client: Address | None, server: Address | None) -> None:
        """client, server: the ends of the connection."""
        self._shared = shared
        self._server = server
        self._local = client is not None and is_loopback(client[0])
        self._headers: Headers | None = None
        self._taken = False

    def begin(self, head: PlainHead, done: PlainDone) -> asyncio.Future[SingleAnswer] | None:
        """As `PlainAnswering.begin`."""
        began = time.perf_counter()
        if head.headers is not self._headers:  # which most clients send the same with each request
            self._headers, self._taken = head.headers, self._takes(head.headers)
        query = plain_query({"headers": (), "query_string": head.query}) if self._taken else None
        caller = None if query is None else self._caller(head)
        if query is None or caller is None or not self._shared.line.take_free():
            return None
        self._shared.metrics.in_flight.inc()
        context, request_id = Context(), new_request_id()
        try:
            future = context.run(self._asked, query, caller, request_id)
        except Exception:  # which the application comes to as well, and answers
            self._leave()
            return None
        future.add_done_callback(partial(self._answered, began, request_id, done), context=context)
        return future

    def _takes(self, headers: Headers) -> bool:
        """Whether no middleware would do more with these headers than is done here."""
        names = {name for name, _ in headers}
        known = names <= _LOOKED_AT_HERE | _LOOKED_AT_NOWHERE
        return known and self._shared.hosts.take(host_of(headers), self._server)

    def _caller(self, head: PlainHead) -> Access | None:
        shared, sent = self._shared, [value for name, value in head.headers if name == _AUTHORIZATION]
        return caller_without_waiting(
            shared.crosswalk.key_ring, shared.limits, shared.rules, _METHOD, PATH, head.query, sent, local=self._local
        )

    def _asked(self, query: PlainQuery, caller: Access, request_id: str) -> asyncio.Future[SingleAnswer]:
        """Binds to the context, as `Telemetry` and `Admission` do, what log lines say."""
        structlog.contextvars.bind_contextvars(request_id=request_id)
        if caller.key is not None:
            structlog.contextvars.bind_contextvars(key=caller.key)
        return begin_plain(self._shared.crosswalk, query, caller)

    def _leave(self) -> None:
        """Ends the turn that was taken."""
        self._shared.line.give_back()
        self._shared.metrics.in_flight.dec()

    def _answered(self, began: float, request_id: str, done: PlainDone, future: asyncio.Future[SingleAnswer]) -> None:
        self._leave()
        try:
            answer = ended_before() if future.cancelled() else future.exception() or future.result()
            if isinstance(answer, BaseException):
                raise answer
            headers = [*secured(headers_of(answer)), (REQUEST_ID_HEADER, request_id.encode())]
            tell_answer(self._shared.metrics, _METHOD, PATH, PATH, 200, time.perf_counter() - began)
        except Exception as error:
            done(Failed(error, began, request_id))
            return
        done(Answer(headers, answer.body))
