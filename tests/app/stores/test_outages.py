"""Whatever keeps a store's server from answering is told as what it is, without its address and secrets."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from app.connections.file import ConfiguredConnection, WrongConnections
from app.stores.kinds import ConfiguredStores
from app.stores.protocol import Place, StoreAway
from tests.app.stores.chroma_world import chroma_connection
from tests.app.stores.elasticsearch_world import elasticsearch_connection
from tests.app.stores.qdrant_world import connection
from tests.app.stores.world import opened

KINDS = {"qdrant": connection, "elasticsearch": elasticsearch_connection, "chroma": chroma_connection}


@contextmanager
def answering(status: int | None, body: bytes) -> Iterator[tuple[str, list[str]]]:
    """The address of a server that answers everything alike, or hangs up where status is None; and what it is asked."""
    asked: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the name that http.server calls
            asked.append(self.path)
            if status is not None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Content-Type", "application/json" if body[:1] in (b"{", b'"') else "text/html")
                self.end_headers()
                self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize(
    ("status", "body", "said", "attempts"),
    [
        (401, b"", "refuses the connection's credentials", 1),
        (403, b"{}", "refuses the connection's credentials", 1),
        (400, b"<html>http://inner.example:1</html>", "refused the request", 1),
        (503, b"http://inner.example:1", "failed", 4),
        (None, b"", "broke", 4),
        (200, b'"http://inner.example:1"', "answered what no|something else", 1),
    ],
)
def test_trouble_is_told_as_what_it_is(
    kind: Callable[[str, str], ConfiguredConnection], status: int | None, body: bytes, said: str, attempts: int
) -> None:
    with answering(status, body) as (url, asked):
        with pytest.raises(StoreAway, match=said) as raised:
            opened(kind("faq", url), Place("items", vector="old"))
        assert len(asked) == attempts
    told = str(raised.value)
    assert "'faq'" in told
    assert not [secret for secret in ("never-to-be-logged", "127.0.0.1", "inner.example") if secret in told]


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("qdrant", {}, "url is missing"),
        ("qdrant", {"url": "sesame:6333"}, "url"),
        ("qdrant", {"url": "http://sesame", "api_key": 7}, "api_key"),
        ("qdrant", {"url": "http://sesame", "timeout_s": 0}, "timeout_s"),
        ("elasticsearch", {"url": "http://sesame", "user": "me"}, "user and password go together"),
        ("elasticsearch", {"url": "http://sesame", "user": "me", "password": "x", "api_key": "y"}, "either api_key"),
        ("chroma", {}, "either url or path"),
        ("chroma", {"url": "http://sesame", "path": "/sesame"}, "either url or path"),
        ("chroma", {"url": "sesame:8000"}, "url has to be like"),
    ],
)
def test_options_that_lead_nowhere_are_refused(kind: str, options: dict[str, object], said: str) -> None:
    with pytest.raises(WrongConnections, match=said) as raised:
        ConfiguredStores({"faq": ConfiguredConnection("faq", kind, options)})
    assert "[faq]" in str(raised.value)
    assert "sesame" not in str(raised.value)
