"""A plain GET is read as h11 reads it, answered as any other, and in order with what else comes on its connection."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import h11
import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.http.plain_requests import PlainHeads
from tests.waiting import PATIENCE_SECONDS

PATH = "/search"
PLAIN = b"GET /search?gallery=plain&model=plain&vector=1,0 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
BY_H11 = PLAIN.replace(b"\r\n\r\n", b"\r\nTE: trailers\r\n\r\n")

NAMES = st.sampled_from([b"Host", b"accept", b"X-Request-Id", b"connection", b"Content-Length", b"a b", b"", b"x\x01"])
VALUES = st.lists(
    st.sampled_from([b"a", b"keep-alive", b" ", b"\t", b"\r\n", b"\n", b"\x00", b"\x7f", b"\xff", b":"]), max_size=4
).map(b"".join)
HEADERS = st.lists(st.tuples(NAMES, VALUES).map(b": ".join), max_size=3).map(b"\r\n".join)
TARGETS = st.lists(st.sampled_from([b"/search", b"?", b"a=1", b"&", b"#", b"%20", b" ", b"\xff"])).map(b"".join)


@given(TARGETS, HEADERS, st.sampled_from([b"\r\n\r\n", b"\r\n", b"\r\n\r\nmore", b"\n\n"]))
@example(b"/search?a=1", b"Host: x", b"\r\n\r\n")
@example(b"/search?a=1", b"Host:x\t \r\nconnection: Keep-Alive\r\naccept:", b"\r\n\r\n")
def test_what_is_taken_for_plain_is_what_h11_reads(target: bytes, headers: bytes, end: bytes) -> None:
    received = b"GET " + target + b" HTTP/1.1\r\n" + headers + end
    head = PlainHeads(PATH).read(received)
    if head is None:
        return
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(received)
    request = connection.next_event()
    assert isinstance(request, h11.Request)
    assert isinstance(connection.next_event(), h11.EndOfMessage)
    assert connection.their_state is h11.DONE  # and not to be closed
    assert connection.trailing_data == (b"", False)
    assert (request.method, request.target) == (b"GET", PATH.encode() + b"?" + head.query)
    assert list(request.headers) == head.headers


@pytest.mark.parametrize("received", [PLAIN, PLAIN.replace(b"Host", b"Accept: */*\r\nConnection: keep-alive\r\nHOST")])
def test_a_plain_search_is_taken(received: bytes) -> None:
    head = PlainHeads(PATH).read(received)
    assert head is not None
    assert head.query == b"gallery=plain&model=plain&vector=1,0"
    assert head.headers[-1] == (b"host", b"127.0.0.1")


@pytest.mark.parametrize(
    "received",
    [
        BY_H11,
        PLAIN[:-1],
        PLAIN + PLAIN,
        PLAIN.replace(b"GET", b"HEAD"),
        PLAIN.replace(b"/search?", b"/searches?"),
        PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0"),
        PLAIN.replace(b"Host", b"Guest"),
        PLAIN.replace(b"\r\n\r\n", b"\r\nHost: y\r\n\r\n"),
        PLAIN.replace(b"\r\n\r\n", b"\r\n folded\r\n\r\n"),
        *(
            PLAIN.replace(b"\r\n\r\n", b"\r\n%s\r\n\r\n" % header)
            for header in (b"Connection: close", b"content-length: 0", b"Transfer-Encoding: chunked", b"Upgrade: h2c")
        ),
    ],
)
def test_what_is_not_plain_is_left_to_h11(received: bytes) -> None:
    assert PlainHeads(PATH).read(received) is None


@pytest.fixture(scope="module")
def address(shared_client: httpx.Client) -> Iterator[tuple[str, int]]:
    shared_client.post("/models", json={"id": "plain", "dimension": 2, "metric": "cosine"})
    shared_client.post("/galleries", json={"id": "plain", "model": "plain"})
    shared_client.put("/galleries/plain/items/one", json={"vector": [1, 0]})
    assert shared_client.base_url.port is not None
    yield shared_client.base_url.host, shared_client.base_url.port
    shared_client.delete("/galleries/plain")
    shared_client.delete("/models/plain")


def _answers(address: tuple[str, int], *parts: bytes) -> bytes:
    """Everything that is answered to what is sent, the last of which has the connection closed."""
    with socket.create_connection(address, timeout=PATIENCE_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in parts:
            connection.sendall(part)
        return b"".join(iter(lambda: connection.recv(2**16), b""))


def _without_what_differs(answer: bytes) -> tuple[list[bytes], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    passed = (b"date:", b"x-request-id:")
    return sorted(line for line in head.lower().split(b"\r\n") if not line.startswith(passed)), body


LAST = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize("query", [b"vector=1,0", b"vector=1,0&min_score=0.5", b"vector=1,0&k=0", b"vector=1"])
def test_it_is_answered_as_what_h11_reads(address: tuple[str, int], query: bytes) -> None:
    def first(request: bytes) -> bytes:
        return _answers(address, request.replace(b"vector=1,0", query), LAST).rpartition(b"HTTP/1.1 ")[0]

    plain, other = (_without_what_differs(first(request)) for request in (PLAIN, BY_H11))
    if b"request_id" in plain[1]:  # of problems, which differ in it alone
        plain, other = ((head, body.partition(b'"request_id"')[0]) for head, body in (plain, other))
    assert plain == other
    assert plain[1]


def test_what_comes_meanwhile_is_answered_after_it_and_in_order(address: tuple[str, int]) -> None:
    missing = PLAIN.replace(b"gallery=plain", b"gallery=none")
    answers = _answers(address, PLAIN, missing, PLAIN + missing[:20], missing[20:] + BY_H11, LAST)
    statuses = [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200", b"404", b"200", b"404", b"200", b"200"]
    assert answers.count(b'"results"') == 3


def test_who_goes_away_amid_it_disturbs_nobody(address: tuple[str, int], shared_client: httpx.Client) -> None:
    for _ in range(20):
        with socket.create_connection(address, timeout=PATIENCE_SECONDS) as connection:
            connection.sendall(PLAIN)
    assert _answers(address, PLAIN, LAST).count(b"HTTP/1.1 200") == 2
    assert shared_client.get("/healthz").is_success
