"""One limit on a request's head, however its bytes arrive, and refusals that are problems and reach the client."""

import json
import socket
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest
from starlette.applications import Starlette

from app.http.server import HEAD_LIMIT_BYTES, server_config
from tests.waiting import PATIENCE_SECONDS

WHOLE = 10**9


@pytest.fixture(scope="module")
def address(shared_client: httpx.Client) -> tuple[str, int]:
    assert shared_client.base_url.port is not None
    return shared_client.base_url.host, shared_client.base_url.port


def _answer(address: tuple[str, int], head: bytes, piece: int) -> tuple[int, dict[str, object]]:
    """The status, and the problem if it is one, of a head that is sent in pieces, whose sending is not given up."""
    with socket.create_connection(address, timeout=PATIENCE_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(head), piece):
            connection.sendall(head[start : start + piece])
        answer = b"".join(_received(connection))
    status, body = answer.partition(b"\r\n")[0], answer.partition(b"\r\n\r\n")[2]
    with suppress(ValueError):
        return int(status.split(b" ")[1]), json.loads(body)
    return int(status.split(b" ")[1]), {}


def _received(connection: socket.socket) -> Iterator[bytes]:
    while part := connection.recv(2**16):
        yield part


def _long_url(size: int) -> bytes:
    """A head of exactly `size` bytes, whose URL is long."""
    start, end = b"GET /search?gallery=g&model=m&vector=", b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    return start + b"1" * (size - len(start) - len(end)) + end


def _long_headers(size: int) -> bytes:
    start, end = b"GET /models HTTP/1.1\r\nHost: x\r\nConnection: close\r\nCookie: ", b"\r\n\r\n"
    return start + b"c" * (size - len(start) - len(end)) + end


@pytest.mark.parametrize("piece", [WHOLE, 16_384, 1_000, 97])
@pytest.mark.parametrize(
    ("size", "long_url", "long_headers"), [(HEAD_LIMIT_BYTES, 404, 200), (HEAD_LIMIT_BYTES + 1, 414, 431)]
)
def test_the_limit_is_exact_however_the_bytes_arrive(
    address: tuple[str, int], size: int, long_url: int, long_headers: int, piece: int
) -> None:
    status, problem = _answer(address, _long_url(size), piece)
    assert status == long_url
    assert status == 404 or (problem["type"] == "/problems/uri-too-long" and "POST /search" in str(problem["detail"]))
    status, problem = _answer(address, _long_headers(size), piece)
    assert status == long_headers
    assert status == 200 or problem["type"] == "/problems/headers-too-large"


@pytest.mark.parametrize("size", [2 * HEAD_LIMIT_BYTES, 20 * HEAD_LIMIT_BYTES])
@pytest.mark.parametrize("piece", [WHOLE, 16_384])
def test_far_too_much_is_told_the_same(address: tuple[str, int], size: int, piece: int) -> None:
    assert _answer(address, _long_url(size), piece)[0] == 414
    assert _answer(address, _long_headers(size), piece)[0] == 431


def test_byte_by_byte_is_no_different(address: tuple[str, int]) -> None:
    assert _answer(address, _long_headers(2_000), 1)[0] == 200


def test_the_limit_is_of_each_request_and_of_no_body(address: tuple[str, int]) -> None:
    body = json.dumps({"id": "x", "dimension": 0, "metric": "l2", "description": "d" * 50_000}).encode()
    one = b"POST /models HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(
        body
    )
    many = (one + body) * 20 + b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    for piece in (WHOLE, 16_384):
        with socket.create_connection(address, timeout=PATIENCE_SECONDS) as connection:
            for start in range(0, len(many), piece):
                connection.sendall(many[start : start + piece])
            answers = b"".join(_received(connection))
        assert answers.count(b"HTTP/1.1 422 ") == 20
        assert answers.count(b"HTTP/1.1 200 ") == 1


@pytest.mark.parametrize(
    "nonsense", [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n"]
)
def test_what_is_no_request_is_told_so(address: tuple[str, int], nonsense: bytes) -> None:
    status, problem = _answer(address, nonsense, WHOLE)
    assert (status, problem["type"], problem["status"]) == (400, "/problems/bad-request", 400)
    assert problem["request_id"]


def test_a_vector_of_4096_numbers_fits_a_url(shared_client: httpx.Client, address: tuple[str, int]) -> None:
    shared_client.post("/models", json={"id": "wide", "dimension": 4096, "metric": "l2"})
    shared_client.post("/galleries", json={"id": "wide", "model": "wide"})
    text = ",".join(["-0.012345678901234567"] * 4096)
    target = f"/search?gallery=wide&model=wide&vector={text}"
    head = f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    for piece in (WHOLE, 16_384):
        status, answer = _answer(address, head, piece)
        assert (status, answer["results"]) == (200, [])
    shared_client.delete("/galleries/wide")
    shared_client.delete("/models/wide")


def test_a_connection_is_kept_longer_than_load_balancers_and_clients_keep_theirs() -> None:
    """They use one again within a minute, and must not meet a server that closes it at that moment."""
    assert server_config(Starlette()).timeout_keep_alive > 60
