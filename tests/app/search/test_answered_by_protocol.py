"""Plain searches that the protocol answers: as the application answers them, and only those that it would."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.contextvars import get_contextvars

from app.http import telemetry
from app.problems import Unavailable
from app.search.answers import Answers
from app.search.service import Search
from app.settings import Settings
from app.short_calls import leave_event_loop
from tests.loopback import NO_TLS
from tests.serving import serving
from tests.waiting import PATIENCE_SECONDS, wait_until

ADMIN = "not-a-real-admin-key-0123456789abcdef"
SEARCH = {"gallery": "g", "model": "m", "vector": "1,0"}
NOT_PLAIN = {"TE": "trailers"}
"""A header that nothing in the service looks at, but for which a request is not plain."""

_OF_ONE_ANSWER = {"date", "x-request-id"}


@dataclass
class Searched:
    """A service with a gallery of two items, and how many of the searches that it was sent its application saw."""

    client: httpx.Client
    seen: list[str]
    key: str | None = None

    def fill(self) -> None:
        self.post("/models", {"id": "m", "dimension": 2, "metric": "cosine"})
        self.post("/galleries", {"id": "g", "model": "m"})
        items = [{"id": "a", "embedding": [1, 0]}, {"id": "b", "embedding": [0, 1]}]
        self.ask("PUT", "/galleries/g/items", params={"model": "m"}, json={"items": items}).raise_for_status()

    def post(self, path: str, body: object) -> Any:
        return self.ask("POST", path, json=body).raise_for_status().json()

    def ask(self, method: str, path: str, **given: Any) -> httpx.Response:
        headers = given.pop("headers", {})
        if self.key is not None:
            headers = {"Authorization": f"Bearer {self.key}"} | headers
        return self.client.request(method, path, headers=headers, **given)

    def search(self, headers: dict[str, str] | None = None, **parameters: str) -> httpx.Response:
        return self.ask("GET", "/search", params=SEARCH | parameters, headers=headers or {})

    def saw_next(self, headers: dict[str, str] | None = None, **parameters: str) -> bool:
        """Whether the application sees a search."""
        before = len(self.seen)
        self.search(headers, **parameters)
        return len(self.seen) > before

    def connected(self) -> socket.socket:
        base = self.client.base_url
        return socket.create_connection((base.host, base.port), timeout=PATIENCE_SECONDS)

    def refuses(self) -> bool:
        """Whether the service takes no connections any more."""
        try:
            self.connected().close()
        except ConnectionRefusedError:
            return True
        return False

    def head(self) -> bytes:
        """What a client of its own sends for a search."""
        return f"GET /search?{urlencode(SEARCH)} HTTP/1.1\r\nHost: {self.client.base_url.host}\r\n\r\n".encode()

    def searched_by_another(self) -> httpx.Response:
        """By a client whose connections outlive this one's."""
        return httpx.get(f"{self.client.base_url}/search", params=SEARCH, timeout=PATIENCE_SECONDS, verify=NO_TLS)

    def metrics(self) -> str:
        return self.ask("GET", "/metrics").text

    def idle(self) -> bool:
        """Whether nothing is answered but the request for metrics."""
        told = self.metrics()
        return 'in_turn{work="searches"} 0.0' in told and "requests_in_flight 1.0" in told

    def passes_by(self) -> None:
        """Waits until a search is answered without the application, as all but one a second are."""
        wait_until(lambda: not self.saw_next(), "a search to be answered by the protocol")


@contextmanager
def _searched(settings: Settings, key: str | None = None, finish_seconds: int | None = None) -> Iterator[Searched]:
    seen: list[str] = []

    class Seen:
        """Middleware, outermost."""

        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http" and scope["path"] == "/search":
                seen.append(scope["method"])
            await self.app(scope, receive, send)

    def watched(application: FastAPI) -> None:
        application.add_middleware(Seen)

    with serving(settings, more=watched, finish_seconds=finish_seconds) as client:
        made = Searched(client, seen, key)
        made.fill()
        yield made


@pytest.fixture
def searched(settings: Settings) -> Iterator[Searched]:
    with _searched(settings) as made:
        yield made


@pytest.fixture
def keyed(settings: Settings) -> Iterator[Searched]:
    """One that asks with a key which may do everything."""
    with _searched(settings.model_copy(update={"admin_key": SecretStr(ADMIN)}), ADMIN) as made:
        yield made


def _shown(answer: httpx.Response) -> tuple[int, dict[str, str], str]:
    """What an answer says, but for what is of one answer alone."""
    headers = {name: value for name, value in answer.headers.items() if name not in _OF_ONE_ANSWER}
    assert answer.headers["x-request-id"]
    return answer.status_code, headers, re.sub(r'"request_id":\s*"\w+"', "", answer.text)


def _same(searched: Searched, headers: dict[str, str] | None = None, **parameters: str) -> httpx.Response:
    """The answer to a search, which is the application's own."""
    by_application = searched.search((headers or {}) | NOT_PLAIN, **parameters)
    answer = searched.search(headers, **parameters)
    assert _shown(answer) == _shown(by_application)
    return answer


def test_plain_searches_are_answered_without_the_application(searched: Searched) -> None:
    searched.passes_by()
    assert [hit["id"] for hit in searched.search().json()["results"]] == ["a", "b"]
    assert searched.saw_next(NOT_PLAIN)


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"k": "1"},
        {"vector": "0,1", "route": "direct"},
        {"filter": '{"id":{"eq":"b"}}'},
        {"k": "0"},
        {"vector": "1"},
        {"vector": "0,0"},
        {"gallery": "none"},
        {"model": "none"},
        {"route": "cascade"},
        {"route": "reranked"},
        {"unknown": "1"},
        {"filter": "{"},
        {"vector": "cwk_0123456789ab_0123456789abcdef"},
    ],
    ids=str,
)
def test_answers_are_the_applications(searched: Searched, parameters: dict[str, str]) -> None:
    searched.passes_by()
    _same(searched, None, **parameters)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.com"}, 421),
        ({"Host": "localhost"}, 200),
        ({"Origin": "http://evil.com"}, 200),
        ({"X-Forwarded-For": "10.1.2.3"}, 403),
        ({"X-Forwarded-Prefix": "/a/../b"}, 400),
        ({"Forwarded": "for=10.1.2.3"}, 403),
        ({"Via": "1.1 proxy"}, 403),
        ({"Authorization": "Bearer whatever"}, 200),
    ],
    ids=str,
)
def test_headers_are_minded_as_by_the_application(searched: Searched, headers: dict[str, str], status: int) -> None:
    searched.passes_by()
    assert _same(searched, headers).status_code == status


def test_a_search_that_fails_is_not_made_again(searched: Searched, monkeypatch: pytest.MonkeyPatch) -> None:
    searched.passes_by()
    made: list[int] = []

    def fail(*_: object) -> None:
        made.append(1)
        raise Unavailable("The store does not answer.")

    monkeypatch.setattr(Search, "search", fail)
    before = len(searched.seen)
    answer = searched.search()
    assert (answer.status_code, answer.json()["detail"]) == (503, "The store does not answer.")
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert (len(made), len(searched.seen)) == (1, before + 1)


def test_a_request_has_the_id_that_its_client_gave_it(searched: Searched) -> None:
    searched.passes_by()
    assert searched.search({"X-Request-Id": "mine"}).headers["x-request-id"] == "mine"


def test_keys_are_minded_as_by_the_application(keyed: Searched) -> None:
    keyed.passes_by()
    keyed.post("/galleries", {"id": "other", "model": "m"})

    def made(**given: object) -> str:
        key: str = keyed.post("/keys", {"name": "test", **given})["key"]
        return key

    for key, status in (
        (ADMIN, 200),
        (made(scopes=["search"]), 200),
        (made(scopes=["search"], galleries=["g"]), 200),
        (made(scopes=["search"], galleries=["other"]), 403),
        (made(scopes=["write"]), 403),
        (f"{ADMIN[:-1]}0", 401),
        ("cwk_0123456789ab_0123456789abcdef", 401),
    ):
        assert _same(keyed, {"Authorization": f"Bearer {key}"}).status_code == status
    for header in ("", "Bearer", f"Basic {ADMIN}", ADMIN):
        assert _same(keyed, {"Authorization": header}).status_code == 401
    keyed.key = None
    assert _same(keyed).status_code == 401


def test_a_key_with_limits_is_counted_by_the_application(keyed: Searched) -> None:
    key = keyed.post("/keys", {"name": "test", "scopes": ["search"], "rate": "3/hour"})["key"]
    sent = {"Authorization": f"Bearer {key}"}
    assert [keyed.search(sent).status_code for _ in range(4)] == [200, 200, 200, 429]
    key = keyed.post("/keys", {"name": "test", "scopes": ["search"], "concurrency": 1})["key"]
    assert all(keyed.saw_next({"Authorization": f"Bearer {key}"}) for _ in range(3))


def test_a_revoked_key_is_refused_at_once(keyed: Searched) -> None:
    made = keyed.post("/keys", {"name": "test", "scopes": ["search"]})
    sent = {"Authorization": f"Bearer {made['key']}"}
    wait_until(lambda: not keyed.saw_next(sent), "a search with the key to be answered by the protocol")
    keyed.ask("DELETE", f"/keys/{made['id']}").raise_for_status()
    assert keyed.search(sent).status_code == 401


def test_it_is_counted_and_logged_as_any_other(searched: Searched, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[tuple[str, str, str, int]] = []

    def log(_: str, *, method: str, path: str, status: int, milliseconds: float) -> None:
        assert milliseconds > 0
        logged.append((get_contextvars()["request_id"], method, path, status))

    def counted() -> float:
        told = searched.metrics()
        found = re.search(r'crosswalk_http_requests_total{method="GET",route="/search",status="200"} (\S+)', told)
        assert re.search(r'crosswalk_queue_in_turn{work="searches"} 0.0', told)
        assert re.search(r"crosswalk_http_requests_in_flight 1.0", told)  # the request for metrics itself
        return 0.0 if found is None else float(found[1])

    searched.passes_by()
    before = counted()
    monkeypatch.setattr(telemetry, "log_answer", log)
    ids = [searched.search().headers["x-request-id"] for _ in range(10)]
    assert len(set(ids)) == 10
    assert logged == [(one, "GET", "/search", 200) for one in ids]
    assert counted() == before + 10


@dataclass
class Slow:
    """Searches that last until they are told to end."""

    begun: threading.Event = field(default_factory=threading.Event)
    ends: threading.Event = field(default_factory=threading.Event)

    def begin(self, searched: Searched, monkeypatch: pytest.MonkeyPatch) -> None:
        search = Search.search

        def slow(*given: Any) -> Answers:
            leave_event_loop()
            self.begun.set()
            assert self.ends.wait(PATIENCE_SECONDS)
            return search(*given)

        searched.passes_by()
        monkeypatch.setattr(Search, "search", slow)

    @contextmanager
    def asked(self, searched: Searched) -> Iterator[socket.socket]:
        """A connection over which a search was asked for, and has begun."""
        with searched.connected() as connection:
            connection.sendall(searched.head())
            assert self.begun.wait(PATIENCE_SECONDS)
            yield connection


def test_who_goes_away_has_a_turn_for_as_long_as_the_search_takes(
    searched: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow()
    slow.begin(searched, monkeypatch)
    with slow.asked(searched):
        pass  # and goes away
    seen = len(searched.seen)
    for _ in range(3):
        assert 'crosswalk_queue_in_turn{work="searches"} 1.0' in searched.metrics()
    slow.ends.set()
    wait_until(searched.idle, "the turn to be given back")
    assert len(searched.seen) == seen


def test_what_comes_while_a_search_lasts_is_answered_after_it(
    searched: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow()
    slow.begin(searched, monkeypatch)
    with slow.asked(searched) as connection:
        last = searched.head().replace(b"Host", b"Connection: close\r\nHost")
        for part in (searched.head(), last[:9], last[9:]):
            connection.sendall(part)
        slow.ends.set()
        answers = b"".join(iter(lambda: connection.recv(2**16), b""))
    assert answers.count(b"HTTP/1.1 200") == 3


def test_a_service_that_ends_waits_for_the_search_that_lasts(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow()
    with ThreadPoolExecutor(2) as pool:
        with _searched(settings) as searched:
            slow.begin(searched, monkeypatch)
            asked = pool.submit(searched.searched_by_another)
            assert slow.begun.wait(PATIENCE_SECONDS)
            refused = pool.submit(wait_until, searched.refuses, "no more connections to be taken")
            refused.add_done_callback(lambda _: slow.ends.set())
        refused.result(PATIENCE_SECONDS)
        assert asked.result(PATIENCE_SECONDS).status_code == 200


def test_a_search_that_lasts_for_too_long_is_told_that_the_service_ended(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow()
    with ThreadPoolExecutor(1) as pool:
        with _searched(settings, finish_seconds=1) as searched:
            slow.begin(searched, monkeypatch)
            asked = pool.submit(searched.searched_by_another)
            assert slow.begun.wait(PATIENCE_SECONDS)
            asked.add_done_callback(lambda _: slow.ends.set())
        answer = asked.result(PATIENCE_SECONDS)
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/unavailable")
    assert "ended before" in answer.json()["detail"]


def test_who_goes_away_leaves_nothing_behind(searched: Searched) -> None:
    searched.passes_by()
    for _ in range(50):
        with searched.connected() as connection:
            connection.sendall(searched.head())
    assert searched.search().is_success
    wait_until(searched.idle, "all turns to be given back")
