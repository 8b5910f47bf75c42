"""Ordinary bodies are short; their length is counted, not believed."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from starlette.types import Message, Receive, Scope, Send

from app.http.body_limit import BodyLimit
from app.settings import Settings
from tests.serving import serving
from tests.waiting import PATIENCE_SECONDS

LIMIT = 100_000
JSON = {"content-type": "application/json"}


def _padded(length: int) -> bytes:
    model = b'{"id": "m", "dimension": 4, "metric": "cosine", "modality": 7}'
    return model + b" " * (length - len(model))


def _pieces(total: int) -> Iterator[bytes]:
    for _ in range(total // 10_000):
        yield b" " * 10_000


def test_the_longest_body_is_taken_and_one_byte_more_is_not(shared_client: httpx.Client) -> None:
    assert shared_client.post("/models", content=_padded(LIMIT), headers=JSON).status_code == 422
    answer = shared_client.post("/models", content=_padded(LIMIT + 1), headers=JSON)
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "/problems/too-large"
    assert answer.json()["limit"] == LIMIT


def test_a_body_of_unknown_length_is_counted_as_it_comes(shared_client: httpx.Client) -> None:
    before = psutil.Process().memory_info().rss
    answer = shared_client.post("/models", content=_pieces(200_000_000), headers=JSON)
    assert answer.status_code == 413
    assert psutil.Process().memory_info().rss - before < 50_000_000


def test_an_announced_length_is_refused_before_it_is_sent(shared_client: httpx.Client) -> None:
    address = (str(shared_client.base_url.host), shared_client.base_url.port)
    with socket.create_connection(address, timeout=PATIENCE_SECONDS) as connection:
        connection.sendall(
            b"POST /models HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 99999999999\r\n\r\n"
        )
        assert b" 413 " in connection.recv(1_000).split(b"\r\n")[0]


def test_a_client_that_goes_away_in_the_middle_harms_nobody(shared_client: httpx.Client) -> None:
    address = (str(shared_client.base_url.host), shared_client.base_url.port)
    with socket.create_connection(address, timeout=PATIENCE_SECONDS) as connection:
        connection.sendall(
            b"POST /models HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{"
        )
    assert shared_client.get("/models").status_code == 200


@pytest.mark.parametrize("content_type", ["application/json", "application/x-npy"])
def test_a_client_that_stops_in_the_middle_of_a_body_keeps_its_turn_from_others_for_so_long_alone(
    content_type: str, tmp_path: Path
) -> None:
    settings = Settings(data_dir=tmp_path, bulk_searches_at_once=1, body_seconds=0.5, queue_seconds=PATIENCE_SECONDS)
    query = {"gallery": "g", "model": "m", "vectors": [[1, 0]]}
    with serving(settings) as client:
        address = (str(client.base_url.host), client.base_url.port)
        with socket.create_connection(address, timeout=PATIENCE_SECONDS) as stalled:
            stalled.sendall(
                f"POST /search?{'gallery=g&model=m' if content_type.endswith('npy') else ''} HTTP/1.1\r\n"
                f"Host: localhost\r\nContent-Type: {content_type}\r\nContent-Length: 50\r\n\r\n{{".encode()
            )
            assert client.post("/search", json=query).status_code == 404
            answer = b"".join(iter(lambda: stalled.recv(10_000), b""))
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"/problems/body-stopped" in answer


def test_a_client_may_be_waited_for_longer_once_its_body_is_whole() -> None:
    received: list[Message] = []
    coming: Iterator[Message] = iter([{"type": "http.request", "body": b"{}"}, {"type": "http.disconnect"}])

    async def receive() -> Message:
        if received:
            await asyncio.sleep(0.1)
        return next(coming)

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        received.append(await receive())
        received.append(await receive())

    async def send(message: Message) -> None:
        raise AssertionError(message)

    asyncio.run(BodyLimit(route, LIMIT, seconds=0.01)({"type": "http", "headers": []}, receive, send))
    assert [message["type"] for message in received] == ["http.request", "http.disconnect"]
