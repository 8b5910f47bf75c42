"""A plain GET of one path, read and answered without h11, which takes longer for either than a search does.

Plain is a head that came in one piece, alone, with nothing in it that says anything about the connection or a body.
What is not plain goes to h11, and so does everything on any other path; what is plain is what h11 would have made of
it, and the application is told the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from starlette.types import Message
from uvicorn.protocols.http.flow_control import CLOSE_HEADER
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, RequestResponseCycle

_LONGEST = 2**16  # bytes; longer heads are rare, and h11's are limited elsewhere
_HEAD = re.compile(rb"GET (/[!-~]*) HTTP/1\.1\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n)+)\r\n")
_HOST = b"host"
_KEEPS = (b"connection", b"keep-alive")
_NOT_PLAIN = {b"connection", b"content-length", b"expect", b"te", b"trailer", b"transfer-encoding", b"upgrade"}

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class PlainHead:
    """The head of a GET. query: what follows the path's question mark; headers: names in lower case."""

    query: bytes
    headers: Headers


def plain_head(received: bytes, path: bytes) -> PlainHead | None:
    """The head that was received, where it is a plain one of a GET of this path; None where h11 is to read it."""
    if len(received) > _LONGEST or not received.startswith(b"GET %s?" % path):
        return None
    found = _HEAD.fullmatch(received)
    if found is None:
        return None
    headers: Headers = []
    hosts = 0
    for line in found[2].split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        header = name.lower(), value.strip(b" \t")
        hosts += header[0] == _HOST
        if header[0] in _NOT_PLAIN and (header[0], header[1].lower()) != _KEEPS:
            return None
        headers.append(header)
    return PlainHead(found[1][len(path) + 1 :], headers) if hosts == 1 else None


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
            self._begun = self._head(message["status"], [*self.default_headers, *message.get("headers", ())])
            self.response_started = True
        elif self.response_started and not self.response_complete and kind == "http.response.body":
            self.transport.write(self._begun + message.get("body", b""))
            self._begun = b""
            if not message.get("more_body", False):
                self._complete()
        else:
            raise RuntimeError(f"{kind} is not what is to be sent next")

    def _head(self, status: int, headers: Headers) -> bytes:
        said = {name.lower() for name, _ in headers}
        if b"connection" in said or b"content-length" not in said:
            self.keep_alive = False
        if not self.keep_alive and b"connection" not in said:
            headers.append(CLOSE_HEADER)
        lines = [b"HTTP/1.1 %d %s\r\n" % (status, STATUS_PHRASES[status])]
        lines += [b"%s: %s\r\n" % header for header in headers]
        head = b"".join(lines)
        if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines):
            raise RuntimeError("a header holds a line break")
        return head + b"\r\n"

    def _complete(self) -> None:
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
