"""The HTTP server: uvicorn, with one limit on a request's head, and a problem for what is no request at all.

h11 limits a head only while it is incomplete, so that the same head was taken in one write and refused in two.
"""

import asyncio
import json
import secrets
from collections.abc import Callable
from contextvars import Context
from functools import partial
from http import HTTPStatus
from typing import Any

import h11
import structlog
from starlette.types import ASGIApp
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol

from app.http.plain_requests import (
    FAILED,
    Address,
    Answer,
    CycleWithoutTask,
    Failed,
    PlainAnswering,
    PlainCycle,
    PlainHead,
    PlainHeads,
)
from app.problems import MEDIA_TYPE, BadRequest, HeadersTooLarge, Problem, UriTooLong

HEAD_LIMIT_BYTES = 2**18
"""Longest head of a request: method, URL and headers. A vector of 4,096 numbers takes 22 KB of it, or 88 KB as text."""

_LINGER_SECONDS = 5.0

_IDLE_SECONDS = 75
"""How long a connection is kept for the next request. Longer than load balancers and clients keep theirs (60 s for
most), so that it is they who close it: whoever closes may do so just as the other sends."""

_AnsweringOf = Callable[[Address | None, Address | None], PlainAnswering]
"""What answers on a connection, by its client's address and its own."""

log = structlog.get_logger(__name__)


def server_config(application: ASGIApp | Callable[[], ASGIApp], **options: Any) -> Config:
    """How the gateway is served; `application`, or what makes it where the option `factory` is set. Who is trusted to
    forward is for the application to know."""
    return Config(
        application,
        http=RequestProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        lifespan="on",
        proxy_headers=False,
        timeout_keep_alive=_IDLE_SECONDS,
        **options,
    )


class _Connection(h11.Connection):
    """h11's, which refuses a head beyond the limit however its bytes arrive."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT_BYTES)
        self._received = 0
        self.too_long: type[Problem] | None = None

    def receive_data(self, data: bytes) -> None:
        self._received += len(data)
        super().receive_data(data)

    def start_next_cycle(self) -> None:
        super().start_next_cycle()
        self._received = len(self.trailing_data[0])

    def next_event(self) -> Any:
        try:
            event = super().next_event()
        except h11.RemoteProtocolError as error:
            if error.error_status_hint == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
                self.too_long = _too_long(len(self.trailing_data[0].partition(b"\r\n")[0]))
            raise
        if isinstance(event, h11.Request) and self._received - len(self.trailing_data[0]) > HEAD_LIMIT_BYTES:
            self.too_long = _too_long(len(event.method) + len(event.target) + len("  HTTP/1.1"))
            raise h11.RemoteProtocolError("the head is too long")
        return event


def _too_long(request_line: int) -> type[Problem]:
    """Whether it is the URL that makes the head too long, or the headers."""
    return UriTooLong if request_line > HEAD_LIMIT_BYTES // 2 else HeadersTooLarge


class RequestProtocol(H11Protocol):
    """uvicorn's, whose refusals are problems that reach the client, even one that is still sending."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.conn: _Connection = _Connection()
        self._refused: asyncio.TimerHandle | None = None
        # What the application may have to refuse a request by before it is read: `app.overload.shedding`.
        state = getattr(self.app, "state", None)
        self._shed: Callable[[bytes], bytes | None] | None = getattr(state, "shed", None)
        # The path, if any, of which a plain GET is worth not to be read by h11, and what may answer one without a task.
        path: str | None = getattr(state, "plain_path", None)
        self._plain_heads = None if path is None else PlainHeads(path)
        self._answering_of: _AnsweringOf | None = getattr(state, "plain_answering", None)
        self._answering: PlainAnswering | None = None
        self._plain: PlainCycle | CycleWithoutTask | None = None
        self._later = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self._answering_of is not None:
            self._answering = self._answering_of(self.client, self.server)

    def data_received(self, data: bytes) -> None:
        if self._refused is not None:
            return
        if self._plain is not None and not self._plain.response_complete:
            self._later += data
            self.flow.pause_reading()
            return
        if self._idle():
            if self._shed is not None and not self.flow.write_paused and (refusal := self._shed(data)) is not None:
                self.transport.write(refusal)
                self._unset_keepalive_if_required()
                self.timeout_keep_alive_task = self.loop.call_later(
                    self.timeout_keep_alive, self.timeout_keep_alive_handler
                )
                return
            if self._plain_heads is not None and (head := self._plain_heads.read(data)) is not None:
                self._answer_plain(head)
                return
        super().data_received(data)

    def _idle(self) -> bool:
        """Whether what comes next is the beginning of a request, and no answer is under way."""
        return self.conn.our_state is h11.IDLE and self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]

    def _answer_plain(self, head: PlainHead) -> None:
        self._unset_keepalive_if_required()
        cycle, begun = CycleWithoutTask(), None
        if self._answering is not None and not self.flow.write_paused:
            begun = self._answering.begin(head, partial(self._answered_plain, head, cycle))
        if begun is None:
            self._answer_by_application(head)
            return
        self.cycle = self._plain = cycle  # type: ignore[assignment]
        self.tasks.add(begun)  # type: ignore[arg-type]  # which the server waits for when it ends, and cancels
        begun.add_done_callback(self.tasks.discard)

    def _answered_plain(self, head: PlainHead, cycle: CycleWithoutTask, answer: Answer | Failed) -> None:
        if cycle.disconnected:
            return
        if isinstance(answer, Failed):
            self._answer_by_application(head, answer)
            self.cycle.keep_alive = cycle.keep_alive
            return
        try:
            whole = cycle.whole(answer, self.server_state.default_headers)
        except Exception:
            self.transport.abort()  # its client is not to wait
            raise
        self.transport.write(whole)
        cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        self._complete_plain()

    def _answer_by_application(self, head: PlainHead, failed: Failed | None = None) -> None:
        """As `handle_events` does once h11 has read a whole request. failed: what to answer, where that is known."""
        self.headers = list(head.headers)
        self.scope = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": "1.1",
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,  # type: ignore[typeddict-item]
            "method": "GET",
            "root_path": self.root_path,
            "path": self.root_path + head.path,
            "raw_path": (self.root_path + head.path).encode(),
            "query_string": head.query,
            "headers": self.headers,
            "state": self.app_state.copy(),
        }
        if failed is not None:
            self.scope[FAILED] = failed  # type: ignore[literal-required]
        self.cycle = self._plain = PlainCycle(
            scope=self.scope,
            conn=self.conn,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            on_response=self._complete_plain,
        )
        self.cycle.more_body = False
        self.cycle.message_event.set()
        task = self.loop.create_task(self.cycle.run_asgi(self.app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def _complete_plain(self) -> None:
        self.on_response_complete()
        if self._later and not self.transport.is_closing():
            later, self._later = self._later, b""
            Context().run(self.data_received, later)  # what log lines say is of the request before

    def connection_lost(self, exc: Exception | None) -> None:
        if self._refused is not None:
            self._refused.cancel()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Refuses what was sent. Closed while the client still sends, the connection would be reset, and the answer
        lost with it: so the rest is read for a while, and thrown away."""
        problem = _refusal(self.conn.too_long)
        request_id = secrets.token_hex(16)
        log.info("refused", status=problem.status, detail=problem.detail, request_id=request_id)
        body = json.dumps(problem.to_json() | {"request_id": request_id}).encode()
        head = (
            f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}\r\nContent-Type: {MEDIA_TYPE}\r\n"
            f"Content-Length: {len(body)}\r\nX-Request-Id: {request_id}\r\nX-Content-Type-Options: nosniff\r\n"
            "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._refused = self.loop.call_later(_LINGER_SECONDS, self.transport.close)


def _refusal(too_long: type[Problem] | None) -> Problem:
    if too_long is UriTooLong:
        return UriTooLong(
            f"The request's URL and headers take more than {HEAD_LIMIT_BYTES} bytes. Send long vectors in a body: POST "
            "/search.",
            limit=HEAD_LIMIT_BYTES,
        )
    if too_long is not None:
        return too_long(f"The request's headers take more than {HEAD_LIMIT_BYTES} bytes.", limit=HEAD_LIMIT_BYTES)
    return BadRequest("What was sent is no HTTP request.")
