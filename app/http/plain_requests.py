"""A plain GET of one path, read and answered without h11, which takes longer for either than a search does.

Plain is a head that came in one piece, alone, with nothing in it that says anything about the connection or a body.
What is not plain goes to h11, and so does everything on any other path; what is plain is what h11 would have made of
it, and the application is told the same.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.types import Message
from uvicorn.protocols.http.flow_control import CLOSE_HEADER
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, RequestResponseCycle

_LONGEST = 2**16  # bytes; longer heads are rare, and h11's are limited elsewhere
_LINE = re.compile(rb"GET (/[!-~]*) HTTP/1\.1")
_LINES = re.compile(rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n)+)\r\n")
_HOST = b"host"
_KEEPS = (b"connection", b"keep-alive")
_NOT_PLAIN = {b"connection", b"content-length", b"expect", b"te", b"trailer", b"transfer-encoding", b"upgrade"}

Headers = list[tuple[bytes, bytes]]
Address = tuple[str, int | None]
FAILED = "crosswalk.failed"
"""The member of the ASGI scope that holds what a plain request `Failed` by, which the application is to answer."""


@dataclass(frozen=True, slots=True)
class PlainHead:
    """The head of a GET. path, query: before and after the question mark; headers: names in lower case."""

    path: str
    query: bytes
    headers: Headers


class PlainHeads:
    """Reads the plain heads of one connection, whose header lines are mostly those of the head before."""

    def __init__(self, path: str) -> None:
        """path: that of the GETs that are read."""
        self._path = path
        self._begin = b"GET %s?" % path.encode()
        self._lines: bytes | None = None
        self._headers: Headers | None = None

    def read(self, received: bytes) -> PlainHead | None:
        """The head that was received, where it is a plain one; None where h11 is to read it. Its headers are the very
        same list as those of the head before, if their lines were the same."""
        if len(received) > _LONGEST or not received.startswith(self._begin):
            return None
        first, _, lines = received.partition(b"\r\n")
        line = _LINE.fullmatch(first)
        if lines != self._lines:
            self._lines, self._headers = lines, _plain_headers(lines)
        if line is None or self._headers is None:
            return None
        return PlainHead(self._path, line[1][len(self._begin) - len(b"GET ") :], self._headers)


def _plain_headers(lines: bytes) -> Headers | None:
    """The headers in the lines of a head that follow its first, names in lower case; None where they are not plain."""
    found = _LINES.fullmatch(lines)
    if found is None:
        return None
    headers: Headers = []
    hosts = 0
    for line in found[1].split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        header = name.lower(), value.strip(b" \t")
        hosts += header[0] == _HOST
        if header[0] in _NOT_PLAIN and (header[0], header[1].lower()) != _KEEPS:
            return None
        headers.append(header)
    return headers if hosts == 1 else None


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of status 200. headers: all but those that every answer of the server has."""

    headers: Headers
    body: bytes


@dataclass(frozen=True, slots=True)
class Failed:
    """What a plain request failed by. began: when it was received, by `time.perf_counter`; request_id: that it has."""

    error: Exception
    began: float
    request_id: str


PlainDone = Callable[[Answer | Failed], None]
"""Told the answer, or what the application is to answer in its place."""


class PlainAnswering(Protocol):
    """What answers plain requests of one connection by itself, one at a time."""

    def begin(self, head: PlainHead, done: PlainDone) -> asyncio.Future[Any] | None:
        """Begins to answer a request, and has `done` told later; None where the application is to answer.

        What is begun is cancelled where the server ends before it is done, and told then too.
        """


class CycleWithoutTask:
    """Stands, while a request is answered by a `PlainAnswering`, where uvicorn looks for its cycle."""

    message_event = asyncio.Event()  # that nobody waits for

    def __init__(self) -> None:
        self.response_complete = False
        self.disconnected = False
        self.keep_alive = True

    def whole(self, answer: Answer, of_every: Headers) -> bytes:
        """All that is sent. of_every: the headers that every answer has."""
        closing = [] if self.keep_alive else [CLOSE_HEADER]
        return _answer_head(200, [*of_every, *answer.headers, *closing]) + answer.body


class PlainCycle(RequestResponseCycle):
    """uvicorn's, which writes its answer's head by itself, and with it the beginning of the body. An answer that does
    not say how long it is ends with the connection."""

    _begun = b""

    async def send(self, message: Message) -> None:  # type: ignore[override]
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        kind = message["type"]
        if not self.response_started and kind == "http.response.start":
            headers = [*self.default_headers, *message.get("headers", ())]
            said = {name.lower() for name, _ in headers}
            if b"connection" in said or b"content-length" not in said:
                self.keep_alive = False
            if not self.keep_alive and b"connection" not in said:
                headers.append(CLOSE_HEADER)
            self._begun = _answer_head(message["status"], headers)
            self.response_started = True
        elif self.response_started and not self.response_complete and kind == "http.response.body":
            self.transport.write(self._begun + message.get("body", b""))
            self._begun = b""
            if not message.get("more_body", False):
                self._complete()
        else:
            raise RuntimeError(f"{kind} is not what is to be sent next")

    def _complete(self) -> None:
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


def _answer_head(status: int, headers: Headers) -> bytes:
    lines = [b"HTTP/1.1 %d %s\r\n" % (status, STATUS_PHRASES[status])]
    lines += [b"%s: %s\r\n" % header for header in headers]
    head = b"".join(lines)
    if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines):
        raise RuntimeError("a header holds a line break")
    return head + b"\r\n"
