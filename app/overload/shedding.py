"""Searches refused before they are read: while their line is full, reading one costs nearly as much as answering it.

So what is plainly one more `GET /search` is told 429 from its first bytes: with the body of every other refusal, and a
request id, but neither logged nor looked at any further, whoever sends it. It is counted with those that the line
refuses. Whatever is not plain (pages of other origins, proxies' prefixes, bodies, heads in pieces) is read, and refused
where it is ruled.
"""

from __future__ import annotations

import json
import random

from app.overload.waiting_line import WaitingLine
from app.problems import MEDIA_TYPE

_PATH = "/search"
_PLAIN = b"GET /search?"
_END = b"\r\n\r\n"
_VERSION = b" http/1.1\r\n"
_NEEDED = b"\r\nhost:"
_KEEPS = b"\r\nconnection: keep-alive\r\n"
_NOT_PLAIN = (
    b"\r\norigin:",
    b"\r\nconnection:",
    b"\r\ncontent-length:",
    b"\r\ntransfer-encoding:",
    b"\r\nexpect:",
    b"\r\nupgrade:",
    b"\r\nx-forwarded-prefix:",
    b"\r\nx-request-id:",
)
_HEAD = (
    "HTTP/1.1 429 Too Many Requests\r\nContent-Type: {type}\r\nContent-Length: {length}\r\nRetry-After: {wait}\r\n"
    "X-Request-Id: {id}\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n\r\n"
)


class Shedding:
    """Refuses by the bytes of a request."""

    def __init__(self, searches: WaitingLine) -> None:
        self._searches = searches
        self._random = random.Random()

    def refusal(self, received: bytes) -> bytes | None:
        """The answer to what came on a connection that has nothing else under way; None where it is to be read."""
        if not self._searches.full or not received.startswith(_PLAIN) or not received.endswith(_END):
            return None
        head = received.lower().replace(_KEEPS, b"\r\n")
        one = head.find(_END) == len(head) - len(_END) and _VERSION in head and _NEEDED in head
        if not one or any(name in head for name in _NOT_PLAIN):
            return None
        problem = self._searches.refuse()
        request_id = f"{self._random.getrandbits(128):032x}"
        body = json.dumps(problem.to_json(_PATH) | {"request_id": request_id})
        wait = (problem.headers or {})["Retry-After"]
        return (_HEAD.format(type=MEDIA_TYPE, length=len(body), wait=wait, id=request_id) + body).encode()
