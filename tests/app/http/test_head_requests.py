"""HEAD answers wherever GET does, as GET does, and OPTIONS names the methods."""

from collections.abc import AsyncIterator

import anyio
import httpx
import pytest
from fastapi import FastAPI
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.responses import StreamingResponse

from app.settings import Settings
from tests.app.http.test_request_checks import ROUTES
from tests.serving import serving

GETS = [path for method, path, _ in ROUTES if method == "GET"]
_CHANGING = {"x-request-id", "date", "content-length"}
"""Headers that differ from one request to the next; the length does where a body names the request."""


@pytest.mark.parametrize("path", GETS)
def test_head_is_get_without_a_body(shared_client: httpx.Client, path: str) -> None:
    got, head = shared_client.get(path), shared_client.head(path)
    assert (head.status_code, head.content) == (got.status_code, b"")
    assert head.headers.keys() == got.headers.keys()
    assert {n: v for n, v in head.headers.items() if n not in _CHANGING} == {
        n: v for n, v in got.headers.items() if n not in _CHANGING
    }


def test_a_stream_is_not_begun_for_head(settings: Settings) -> None:
    begun: list[str] = []

    def endless(app: FastAPI) -> None:
        @app.get("/endless")
        def stream() -> StreamingResponse:
            async def pieces() -> AsyncIterator[bytes]:
                begun.append("the stream")
                yield b"begun"
                await anyio.sleep_forever()

            return StreamingResponse(pieces(), headers={"X-Kind": "stream"})

        @app.get("/events")
        def events() -> EventSourceResponse:
            async def changes() -> AsyncIterator[ServerSentEvent]:
                yield ServerSentEvent("begun")
                await anyio.sleep_forever()

            return EventSourceResponse(changes())

    with serving(settings, more=endless) as client:
        answer = client.head("/endless")
        assert (answer.status_code, answer.headers["x-kind"], begun) == (200, "stream", [])
        assert client.head("/events").headers["content-type"].startswith("text/event-stream")
        measured = client.get("/metrics").text
        assert 'crosswalk_http_requests_total{method="HEAD",route="/endless",status="200"} 1.0' in measured


def test_head_where_there_is_no_get_is_told_what_there_is(shared_client: httpx.Client) -> None:
    answer = shared_client.head("/models/m/upgrade")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST, OPTIONS")


@pytest.mark.parametrize(("method", "path"), [(method, path) for method, path, _ in ROUTES])
def test_options_names_every_method(shared_client: httpx.Client, method: str, path: str) -> None:
    answer = shared_client.options(path)
    assert (answer.status_code, answer.content) == (204, b"")
    assert {method, "OPTIONS"} <= set(answer.headers["allow"].split(", "))


def test_options_of_nothing_is_not_found(shared_client: httpx.Client) -> None:
    assert shared_client.options("/nothing").status_code == 404
