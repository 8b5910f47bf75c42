"""One more search than the line takes is refused by its first bytes, as it would be by its route."""

from __future__ import annotations

import asyncio
import json

import pytest

from app.overload.shedding import Shedding
from app.overload.waiting_line import WaitingLine
from tests.waiting import PATIENCE_SECONDS

PLAIN = b"GET /search?gallery=g&model=m&vector=1,0 HTTP/1.1\r\nHost: x\r\n\r\n"


def _full() -> WaitingLine:
    line = WaitingLine("searches", 1, 0, PATIENCE_SECONDS)
    assert line.take_free()
    return line


@pytest.mark.parametrize("more", [b"", b"Connection: keep-alive\r\nAccept: */*\r\n", b"Authorization: Bearer x\r\n"])
def test_a_plain_search_is_refused_with_a_problem_while_the_line_is_full(more: bytes) -> None:
    line = _full()
    request = PLAIN.replace(b"Host: x\r\n", b"Host: x\r\n" + more)
    answer = Shedding(line).refusal(request)
    assert answer is not None
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(one.split(": ", 1) for one in lines[1:])
    problem = json.loads(body)
    assert lines[0] == "HTTP/1.1 429 Too Many Requests"
    assert int(headers["Retry-After"]) >= 1
    assert int(headers["Content-Length"]) == len(body)
    assert (problem["type"], problem["status"], problem["instance"]) == ("/problems/overloaded", 429, "/search")
    assert problem["request_id"] == headers["X-Request-Id"]
    assert line.refused == 1
    line.give_back()
    assert Shedding(line).refusal(request) is None


@pytest.mark.parametrize(
    "request_",
    [
        PLAIN[:-1],
        PLAIN + PLAIN,
        PLAIN.replace(b"GET", b"POST"),
        PLAIN.replace(b"/search?", b"/searches?"),
        PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0"),
        PLAIN.replace(b"Host", b"Guest"),
        *(
            PLAIN.replace(b"\r\n\r\n", b"\r\n" + header + b"\r\n\r\n")
            for header in (
                b"Origin: https://a.example",
                b"Connection: close",
                b"CONTENT-LENGTH: 0",
                b"Transfer-Encoding: chunked",
                b"X-Forwarded-Prefix: /a",
                b"X-Request-Id: mine",
            )
        ),
    ],
)
def test_what_is_not_plain_is_read(request_: bytes) -> None:
    line = _full()
    assert Shedding(line).refusal(request_) is None
    assert line.refused == 0


def test_while_there_is_room_nothing_is_refused() -> None:
    async def test() -> None:
        line = WaitingLine("searches", 1, 1, PATIENCE_SECONDS)
        shedding = Shedding(line)
        assert shedding.refusal(PLAIN) is None
        assert line.take_free()
        assert shedding.refusal(PLAIN) is None
        line.join()
        assert shedding.refusal(PLAIN) is not None

    asyncio.run(test())
