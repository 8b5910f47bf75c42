"""Every error is a problem (RFC 9457), whatever went wrong."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.middleware import Middleware
from starlette.responses import StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.testing import capture_logs

from app.http.forwarded import Forwarded
from app.http.head_requests import HeadAsGet
from app.http.hosts import KnownHosts
from app.http.origins import CrossOrigin
from app.http.problem_answers import LastResort
from app.main import create_app
from app.problems import InvalidRows, Unavailable
from app.settings import Settings
from app.storage.database import Database
from tests.serving import serving

MODEL = {"id": "m", "dimension": 4, "metric": "cosine"}
JSON = {"content-type": "application/json"}


def _problem(answer: httpx.Response, status: int, slug: str) -> dict[str, object]:
    """The answer's body, after checking what every problem has."""
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, object] = answer.json()
    assert body["type"] == f"/problems/{slug}"
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    assert body["instance"] == answer.request.url.path
    assert body["request_id"] == answer.headers["x-request-id"]
    return body


def test_an_unknown_path_is_a_problem(shared_client: httpx.Client) -> None:
    for path in ("/nothing", "/models/m/nothing", "/assets/swagger/nothing.js", "/assets/swagger/../../pyproject.toml"):
        _problem(shared_client.get(path), 404, "not-found")


def test_a_wrong_method_is_told_every_right_one(shared_client: httpx.Client) -> None:
    answer = shared_client.put("/models", json=MODEL)
    _problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "GET, HEAD, POST, OPTIONS"
    answer = shared_client.patch("/models/m", json=MODEL)
    assert answer.headers["allow"] == "GET, HEAD, DELETE, OPTIONS"


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"id": "m",}',
        b"\xff\xfe{}",
        b"[" * 50_000,
        b'{"a":' * 10_000,
        b'{"dimension": ' + b"9" * 5_000 + b"}",
    ],
    ids=["truncated", "trailing comma", "not UTF-8", "deep list", "deep object", "5,000 digits"],
)
def test_a_body_that_is_not_json_is_a_bad_request(shared_client: httpx.Client, body: bytes) -> None:
    _problem(shared_client.post("/models", content=body, headers=JSON), 400, "bad-request")


@pytest.mark.parametrize(
    "body", [b"null", b"[]", b'"m"', b"NaN", b"1e999", b"{}", b'{"\\ud800": "\\udfff"}', b'{"id": "\xed\xa0\x80"}']
)
def test_json_that_is_no_model_is_invalid(shared_client: httpx.Client, body: bytes) -> None:
    assert _problem(shared_client.post("/models", content=body, headers=JSON), 422, "validation-error")["errors"]


@pytest.mark.parametrize("media_type", ["text/plain", "application/xml", "application/x-npz", "nonsense", None])
def test_another_media_type_is_refused(shared_client: httpx.Client, media_type: str | None) -> None:
    headers = {} if media_type is None else {"content-type": media_type}
    answer = shared_client.post("/models", content=json.dumps(MODEL).encode(), headers=headers)
    assert "application/json" in str(_problem(answer, 415, "unsupported-media-type")["detail"])


def test_what_was_sent_is_not_sent_back(shared_client: httpx.Client) -> None:
    answer = shared_client.post("/models", json=MODEL | {"metric": "a-secret", "modality": ["another-secret"]})
    assert _problem(answer, 422, "validation-error")
    assert "secret" not in answer.text


def test_a_wrong_parameter_is_named(shared_client: httpx.Client) -> None:
    answer = shared_client.get("/models", params={"limit": "many"})
    errors = _problem(answer, 422, "validation-error")["errors"]
    assert isinstance(errors, list)
    assert [error["parameter"] for error in errors] == ["limit"]


@pytest.mark.parametrize(
    ("upgrade", "pointers"),
    [
        ({"gate": {"require": "no_gate"}}, {"/gate/require"}),
        ({"gate": {"require": {"at_least": "much"}}}, {"/gate/require/at_least"}),
        ({"gate": {"require": {"at_least": 85}}}, {"/gate/require/at_least"}),
        ({"gate": {"require": {"atleast": 0.85}}}, {"/gate/require/at_least", "/gate/require/atleast"}),
        ({"gate": {"require": {}}}, {"/gate/require/at_least"}),
        ({"galleries": ["g", "G!"]}, {"/galleries/1"}),
        ({"literal['x']": 1}, {"/literal['x']"}),
    ],
)
def test_a_pointer_leads_into_the_body(
    shared_client: httpx.Client, upgrade: dict[str, object], pointers: set[str]
) -> None:
    body = {"to": "n", "dataset": "d"} | upgrade
    answer = shared_client.post("/models/m/upgrade", json=body, headers={"Idempotency-Key": "k"})
    assert answer.status_code == 422, answer.text
    assert {error["pointer"] for error in answer.json()["errors"]} == pointers


def test_what_is_wrong_is_said_plainly(shared_client: httpx.Client) -> None:
    problem = shared_client.post("/models", json={"id": "m", "metric": "cosine", "dim": 3}).json()
    assert problem["errors"] == [
        {"pointer": "/dimension", "message": "is missing"},
        {"pointer": "/dim", "message": "is not known here"},
    ]
    assert problem["detail"] == "2 things are wrong with the request, first: /dimension: is missing."
    problem = shared_client.post("/models", json=[]).json()
    assert problem["detail"] == "One thing is wrong with the request: the body: Input should be an object."


def test_a_member_that_is_missing_has_a_pointer(shared_client: httpx.Client) -> None:
    problem = shared_client.post("/models", json={"id": "m", "metric": "cosine"}).json()
    assert [error["pointer"] for error in problem["errors"]] == ["/dimension"]


def test_thousands_of_errors_make_a_short_answer(shared_client: httpx.Client) -> None:
    answer = shared_client.post("/models", json={f"unknown-{number}": 1 for number in range(3_000)})
    body = _problem(answer, 422, "validation-error")
    assert "3003 things" in str(body["detail"])
    assert len(answer.content) < 10_000


def test_each_type_leads_to_its_explanation(shared_client: httpx.Client) -> None:
    kind = shared_client.get("/nothing").json()
    explained = shared_client.get(kind["type"])
    assert explained.status_code == 200
    assert explained.json().items() >= {key: kind[key] for key in ("type", "title", "status")}.items()
    _problem(shared_client.get("/problems/no-such-kind"), 404, "not-found")


@pytest.mark.parametrize(
    "hostile", ["%00", "a%00b", "%ED%A0%80", "%F0%9F%A6%84", "%0A", "%2e%2e", "'", "%25s", "x" * 5_000]
)
def test_no_path_makes_a_fault(each_shared_client: httpx.Client, hostile: str) -> None:
    document = each_shared_client.get("/openapi.json").json()
    paths = [path for path in document["paths"] if "{" in path]
    assert len(paths) > 10
    for path in paths:
        for method in document["paths"][path]:
            url = re.sub(r"\{\w+\}", hostile, path)
            answer = each_shared_client.request(method, url, json={} if method in ("post", "put") else None)
            assert 400 <= answer.status_code < 500, f"{method} {url}: {answer.text}"


def test_a_fault_inside_tells_nothing_of_itself(settings: Settings) -> None:
    with serving(settings) as client:
        database = Database(settings.sqlalchemy_url)
        with database.session() as session:
            session.execute(text("ALTER TABLE models RENAME TO hidden"))
        database.close()
        answer = client.get("/models")
        _problem(answer, 500, "internal-error")
        for internal in ("no such table", "sqlalchemy", "Traceback", "SELECT", "hidden"):
            assert internal not in answer.text
        assert client.get("/healthz").status_code == 200


class _Raising:
    """Middleware that fails."""

    def __init__(self, app: ASGIApp, error: Exception) -> None:
        self.app = app
        self.error = error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        raise self.error


@pytest.mark.parametrize(
    ("error", "status", "slug"),
    [(RuntimeError("internal words"), 500, "internal-error"), (Unavailable("not now"), 503, "unavailable")],
)
@pytest.mark.parametrize("within", [LastResort, KnownHosts, Forwarded, CrossOrigin, HeadAsGet])
def test_what_fails_in_middleware_is_a_problem_too(
    settings: Settings, within: type, error: Exception, status: int, slug: str
) -> None:
    application = create_app(settings)
    places: list[object] = [middleware.cls for middleware in application.user_middleware]
    application.user_middleware.insert(places.index(within) + 1, Middleware(_Raising, error))

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(application, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get("/search", headers={"Origin": "https://page.example"})

    answer = asyncio.run(ask())
    _problem(answer, status, slug)
    assert "internal words" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


def _faulty(app: FastAPI) -> None:
    @app.get("/unwritable")
    def unwritable() -> None:
        raise InvalidRows("a lone \ud800 surrogate", rows=[{"value": float("nan"), "limits": (float("-inf"), 1.5)}])

    @app.get("/later")
    def later() -> None:
        raise Unavailable("not now")

    @app.get("/half")
    def half() -> StreamingResponse:
        def pieces() -> Iterator[bytes]:
            yield b"begun"
            raise RuntimeError("in the middle")

        return StreamingResponse(pieces())


def test_a_problem_is_json_whatever_its_members_hold(settings: Settings) -> None:
    with serving(settings, more=_faulty) as client:
        body = _problem(client.get("/unwritable"), 422, "invalid-rows")
        assert body["detail"] == "a lone \ud800 surrogate"
        assert body["rows"] == [{"value": None, "limits": [None, 1.5]}]
        answer = client.get("/later")
        _problem(answer, 503, "unavailable")
        assert int(answer.headers["retry-after"]) > 0


def test_a_fault_in_the_middle_of_an_answer_breaks_the_connection(settings: Settings) -> None:
    with serving(settings, more=_faulty) as client:
        with capture_logs() as lines, pytest.raises(httpx.RemoteProtocolError):
            client.get("/half")
        assert [line["event"] for line in lines].count("unhandled error") == 1
        assert client.get("/healthz").status_code == 200


def test_no_connection_to_the_database_is_a_reason_to_try_again(settings: Settings) -> None:
    def taken() -> None:
        raise PoolTimeout("QueuePool limit of size 5 overflow 10 reached")

    with serving(settings, more=lambda application: application.add_api_route("/taken", taken)) as client:
        answer = client.get("/taken")
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert "QueuePool" not in answer.text


def test_request_that_is_cut_off_as_the_service_ends_is_told_to_try_again() -> None:
    sent: list[Message] = []

    async def cut_off(scope: Scope, receive: Receive, send: Send) -> None:
        raise asyncio.CancelledError

    async def receive() -> Message:
        raise AssertionError("nothing is to be read")

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/models", "headers": [], "query_string": b"", "state": {}}
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(_run(LastResort(cut_off, Path()), scope, receive, send))
    assert sent[0]["status"] == 503
    assert json.loads(sent[1]["body"])["type"] == "/problems/unavailable"


async def _run(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    await app(scope, receive, send)
