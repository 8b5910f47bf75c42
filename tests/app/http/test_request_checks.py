"""Nothing in a request is passed over or fails far inside: what no route knows, and what is no text, is refused."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import httpx
import pytest
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.requests import Request

from app.http import request_checks
from app.http.request_checks import RequestChecks, query_parameters, takes_body
from app.main import create_app
from app.problems import Unprocessable
from app.settings import Settings
from app.uploads import media_types

JSON = {"content-type": "application/json"}
NPY = {"content-type": "application/x-npy"}
HALF = "\\ud83d"
NUL = "\\u0000"


def _routes() -> Iterator[tuple[str, str, APIRoute]]:
    """Every route of the application: a method, a path without templates, and the route."""
    application: FastAPI = create_app(Settings())
    for context in iter_route_contexts(application.routes):
        route = context.original_route
        assert isinstance(route, APIRoute), f"{route} is none of FastAPI's: its requests are not checked"
        for method in route.methods or ():
            yield method, route.path.replace("{", "").replace("}", "").replace(":path", ""), route


ROUTES = list(_routes())
NAMES = [f"{method} {path}" for method, path, _ in ROUTES]


def _refused(answer: httpx.Response, *statuses: int) -> dict[str, Any]:
    assert answer.status_code in (statuses or (422,)), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    return problem


def test_the_routes_are_all_there() -> None:
    assert {"GET /openapi.json", "GET /docs", "GET /", "GET /search", "PUT /galleries/gallery/items"} <= set(NAMES)
    assert len(NAMES) > 40


@pytest.mark.parametrize(("method", "path", "route"), ROUTES, ids=NAMES)
def test_no_route_passes_a_parameter_over(shared_client: httpx.Client, method: str, path: str, route: APIRoute) -> None:
    unknown = _refused(shared_client.request(method, path, params={"nonsense": "1"}))
    assert [error["parameter"] for error in unknown["errors"]] == ["nonsense"]
    if method == "GET":
        assert shared_client.head(path, params={"nonsense": "1"}).status_code == 422
    for content_type in (*media_types.BULK, media_types.NPY, "text/plain") if takes_body(route) else ():
        headers = {"content-type": content_type}
        answer = shared_client.request(method, path, params={"nonsense": "1"}, content=b"[1, 2]", headers=headers)
        assert [error["parameter"] for error in _refused(answer)["errors"]] == ["nonsense"], content_type
    for known in query_parameters(route.dependant):
        misspelt = _refused(shared_client.request(method, path, params={f"{known}s": "1"}))
        assert f"Did you mean `{known}`?" in misspelt["detail"]
        twice = _refused(shared_client.request(method, f"{path}?{known}=1&{known}=1"))
        assert twice["errors"] == [{"parameter": known, "message": "is given more than once"}]
        for bytes_of_no_text in ("%ff", "%ED%A0%80", "a%00b"):
            assert known in _refused(shared_client.request(method, f"{path}?{known}={bytes_of_no_text}"))["detail"]


@pytest.mark.parametrize(("method", "path", "route"), ROUTES, ids=NAMES)
def test_no_route_passes_a_body_over(shared_client: httpx.Client, method: str, path: str, route: APIRoute) -> None:
    if not takes_body(route):
        _refused(shared_client.request(method, path, content=b'{"force": true}', headers=JSON))
    elif route.body_field is not None:
        for text in (HALF, NUL):
            for body in ('{"id": ["%s"]}', '{"%s": 1}', '{"to": {"deep": [{"er": "%s"}]}}'):
                _refused(shared_client.request(method, path, content=(body % text).encode(), headers=JSON))


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ('{"ids": ["a", "x\\ud83d"]}', "/ids/1"),
        ('{"ids": ["a", "x\\udc00\\ud800"]}', "/ids/1"),
        ('{"ids": ["a"], "a/b~\\u0000": 1}', "/a~1b~0\0"),
        ('{"ids": ["a"], "ids": ["b"]}', "/ids"),
        ('{"ids": ["a"], "more": {"x": 1, "y": [{"z": 1, "z": 1}]}}', "/more/y/0/z"),
        ('{"ids": ["a"], "n": [1, NaN]}', "/n/1"),
        ('{"ids": ["a"], "n": -Infinity}', "/n"),
        ('{"ids": ["a"], "n": 1e999}', "/n"),
        ('{"ids": ["a"], "n": 9223372036854775808}', "/n"),
    ],
)
def test_the_place_in_a_body_is_named(shared_client: httpx.Client, body: str, pointer: str) -> None:
    answer = shared_client.post("/galleries/g/items/delete", content=body.encode(), headers=JSON)
    assert [error["pointer"] for error in _refused(answer)["errors"]] == [pointer]


def test_whole_emoji_and_deep_bodies_are_read(shared_client: httpx.Client) -> None:
    whole = b'{"ids": ["\\ud83d\\ude00", "\xf0\x9f\x98\x80"]}'
    assert shared_client.post("/galleries/g/items/delete", content=whole, headers=JSON).status_code == 404
    deep = b'{"ids": ' + b"[" * 800 + b"]" * 800 + b"}"
    _refused(shared_client.post("/galleries/g/items/delete", content=deep, headers=JSON))


@pytest.mark.parametrize("text", [HALF, NUL])
@pytest.mark.parametrize(
    ("body", "place"),
    [
        ('{"gallery": "%s", "model": "m", "vectors": [[1]]}', "/gallery"),
        ('{"gallery": "g", "model": "m", "vectors": [[1]], "filter": {"id": {"eq": "%s"}}}', "/filter/id/eq"),
        ('{"gallery": "g", "model": "m", "vectors": [[1]], "filter": {"payload.%s": {"eq": 1}}}', "/filter/payload.%s"),
        ('{"gallery": "g", "model": "m", "vectors": [[1]], "%s": 1}', "/%s"),
    ],
)
def test_a_search_is_text_too(shared_client: httpx.Client, body: str, place: str, text: str) -> None:
    problem = _refused(shared_client.post("/search", content=(body % text).encode(), headers=JSON))
    assert problem["errors"][0]["pointer"] == json.loads(f'"{place.replace("%s", text)}"')
    wanted = {"gallery": "g", "model": "m", "vector": "1,0"}
    filtered = shared_client.get("/search", params={**wanted, "filter": f'{{"id": {{"eq": "{text}"}}}}'})
    assert _refused(filtered)["errors"][0]["parameter"] == "filter"


def test_half_a_character_in_bytes_is_named_in_every_body(shared_client: httpx.Client) -> None:
    half = b'{"gallery": "g", "model": "\xed\xa0\x80", "vectors": [[1]], "ids": ["a"]}'
    for path in ("/search", "/galleries/g/items/delete"):
        answer = shared_client.post(path, content=half, headers=JSON)
        assert _refused(answer)["errors"][0]["pointer"] == "/model"


def test_a_search_says_everything_once(shared_client: httpx.Client) -> None:
    twice = b'{"gallery": "g", "model": "m", "vectors": [[1, 2], [3, 4]], "k": 1, "k": 2}'
    assert _refused(shared_client.post("/search", content=twice, headers=JSON))["errors"][0]["pointer"] == "/k"
    body = {"gallery": "g", "model": "m", "vectors": [[1]]}
    for name in ("gallery", "model", "k", "route", "filter"):
        answer = shared_client.post("/search", params={name: "1"}, json=body)
        assert _refused(answer)["errors"][0]["parameter"] == name


@pytest.mark.parametrize(
    "wrong",
    ["", "{", "[]", "null", '{"label": ["a"]}', '{"ids": {"eq": "a"}}', '{"id": {"eq": "a"}, "id": {"eq": "a"}}'],
)
def test_a_filter_in_a_url_is_one_or_refused(shared_client: httpx.Client, wrong: str) -> None:
    params = {"gallery": "g", "model": "m", "filter": wrong}
    for answer in (
        shared_client.get("/search", params={**params, "vector": "1,0"}),
        shared_client.post("/search", params=params, content=b"", headers=NPY),
    ):
        if answer.status_code == 404:
            pytest.fail("the filter was not read")
        assert _refused(answer)["errors"][0]["parameter"] == "filter"


@pytest.mark.parametrize("path", ["/galleries/g/items/%ff", "/galleries/g/items/%ED%A0%80", "/models/%c3"])
def test_a_path_that_is_no_text_names_nothing(shared_client: httpx.Client, path: str) -> None:
    assert "UTF-8" in _refused(shared_client.get(path), 400)["detail"]


@pytest.mark.parametrize("name", ["Idempotency-Key", "If-None-Match", "Accept", "Range", "X-Request-Id", "User-Agent"])
def test_no_header_makes_a_fault(shared_client: httpx.Client, name: str) -> None:
    for value in (b"\xff\xfe", b"\xed\xa0\x80", b"a" * 3_000, b'"'):
        for method, path in (("POST", "/models/m/upgrade"), ("POST", "/evaluations"), ("GET", "/models/m/artifact")):
            body = b"{}" if method == "POST" else b""
            headers = [(b"content-type", b"application/json"), (name.encode(), value)]
            assert shared_client.request(method, path, content=body, headers=headers).status_code < 500


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 404),
        ("application/json; charset=utf-8", 404),
        ("application/JSON;charset=UTF8", 404),
        ("application/vnd.api+json", 404),
        ("application/json; charset=latin-1", 415),
        ("application/json; charset=utf-16", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("text/json", 415),
        ("text/plain", 415),
        ("nonsense", 415),
        ("", 415),
    ],
)
def test_every_route_with_a_body_asks_for_its_content_type(
    shared_client: httpx.Client, content_type: str, status: int
) -> None:
    bodies: dict[str, Any] = {
        "/search": {"gallery": "g", "model": "m", "vectors": [[1]]},
        "/galleries": {"id": "g", "model": "m"},
        "/galleries/g/items/delete": {"ids": ["a"]},
        "/models/m/upgrade": {"to": "n", "dataset": "d", "galleries": ["g"]},
    }
    for path, body in bodies.items():
        content = json.dumps(body).encode()
        answer = shared_client.post(path, content=content, headers={"content-type": content_type})
        problem = _refused(answer, status)
        assert status != 415 or "Content-Type" in problem["detail"], path


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/x-www-form-urlencoded", b"id=m"),
        ("text/plain", b"hello"),
        ("text/json", b"{"),
        ("application/x-npy", b"\x93NUMPY"),
        ("application/octet-stream", b"\xff\x00"),
        ("", b"hello"),
        (None, b"\xff\xfe"),
    ],
)
def test_a_body_of_a_wrong_type_is_refused_for_its_type(
    shared_client: httpx.Client, content_type: str | None, body: bytes
) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    for method, path, route in ROUTES:
        if route.body_field is not None:
            answer = shared_client.request(method, path, content=body, headers=headers)
            assert "Content-Type" in _refused(answer, 415)["detail"], (method, path)


def test_a_compressed_body_is_told_from_a_broken_one(shared_client: httpx.Client) -> None:
    for path in ("/models", "/search"):
        answer = shared_client.post(path, content=b"\x1f\x8b\x08", headers={**JSON, "content-encoding": "gzip"})
        assert "Content-Encoding" in _refused(answer, 415)["detail"], path
        broken = shared_client.post(path, content=b'{"id": 1,,}', headers=JSON)
        assert "not valid JSON" in _refused(broken, 400)["detail"], path


def test_what_is_taken_however_deep_can_be_answered(client: httpx.Client) -> None:
    client.post("/models", json={"id": "m", "dimension": 2, "metric": "l2"})
    client.post("/galleries", json={"id": "g", "model": "m"})

    def put(depth: int) -> httpx.Response:
        payload = '{"a":' * (depth - 1) + "[]" + "}" * (depth - 1)
        item = f'[{{"id": "a", "embedding": [1, 0], "payload": {payload}}}]'
        return client.put("/galleries/g/items", params={"model": "m"}, content=item.encode(), headers=JSON)

    assert put(100).status_code == 200
    assert "nested too deeply" in _refused(put(101))["detail"]
    assert client.get("/galleries/g/items/a").status_code == 200
    found = client.post("/search", json={"gallery": "g", "model": "m", "vectors": [[1, 0]]})
    assert found.json()["results"][0][0]["id"] == "a"


@pytest.mark.parametrize("number", ["true", '"1"', "1.5", "null"])
def test_what_is_no_number_counts_for_none(shared_client: httpx.Client, number: str) -> None:
    search = f'{{"gallery": "g", "model": "m", "vectors": [[1]], "k": {number}}}'.encode()
    _refused(shared_client.post("/search", content=search, headers=JSON))
    generation = f'{{"generation": {number}}}'.encode()
    _refused(shared_client.post("/galleries/g/activate", content=generation, headers=JSON))


@pytest.mark.parametrize("vector", ['["1", 0]', "[true, 0]", "[null, 0]"])
def test_what_only_reads_as_a_number_is_none_in_a_query(shared_client: httpx.Client, vector: str) -> None:
    search = f'{{"gallery": "g", "model": "m", "vectors": [[1, 0.5], {vector}]}}'.encode()
    problem = _refused(shared_client.post("/search", content=search, headers=JSON))
    assert [error["pointer"] for error in problem["errors"]] == ["/vectors/1/0"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_json_in_another_encoding_is_refused_everywhere(shared_client: httpx.Client, encoding: str) -> None:
    body = json.dumps({"id": "m", "dimension": 4, "metric": "cosine"}).encode(encoding)
    for path in ("/models", "/search"):
        problem = _refused(shared_client.post(path, content=body, headers=JSON), 400)
        assert f"in {encoding[:6].upper()}" in problem["detail"]


def test_json_may_start_with_a_byte_order_mark(client: httpx.Client) -> None:
    body = json.dumps({"id": "m", "dimension": 4, "metric": "cosine"}).encode("utf-8-sig")
    assert client.post("/models", content=body, headers=JSON).status_code == 201


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        *(("integer", number) for number in ("1_0", "2.0", "5e0", " 5", "+5", "\uff15", "")),
        *(("number", number) for number in ("1_0", "nan", "Infinity", "1e400", ".5", " 5", "+5", "\uff15", "0x1", "")),
    ],
)
def test_a_number_in_a_url_is_written_in_decimal_digits(shared_client: httpx.Client, kind: str, number: str) -> None:
    asked = [
        (method, path, parameter["name"])
        for path, methods in shared_client.get("/openapi.json").json()["paths"].items()
        for method, operation in methods.items()
        for parameter in operation.get("parameters", ())
        if parameter["in"] == "query" and f"'{kind}'" in str(parameter["schema"])
    ]
    known = {
        "integer": {("get", "/search", "k"), ("post", "/search", "k"), ("get", "/models", "limit")},
        "number": {(method, "/search", name) for method in ("get", "post") for name in ("min_score", "max_distance")},
    }
    assert known[kind] <= set(asked)
    for method, path, name in asked:
        url = path.replace("{", "").replace("}", "")
        problem = _refused(shared_client.request(method, url, params={name: number}))
        assert name in [error["parameter"] for error in problem["errors"]], (method, path)


def test_a_route_may_be_asked_for_the_first_time_by_two_applications_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dependency is one for all applications of a process, whose event loops may be in several threads."""
    checks = RequestChecks()
    route = next(route for _, path, route in ROUTES if path == "/search" and "GET" in (route.methods or ()))
    request = Request({"type": "http", "path": "/search", "headers": [], "query_string": b"k=ten", "route": route})
    work_out, refusals = request_checks._numbers, []

    def meanwhile(dependant: Dependant) -> Iterator[tuple[str, type[int] | type[float]]]:
        monkeypatch.undo()
        with ThreadPoolExecutor(1) as other:
            refusals.append(other.submit(_refusal, checks, request).result())
        return work_out(dependant)

    monkeypatch.setattr(request_checks, "_numbers", meanwhile)
    refusals.append(_refusal(checks, request))
    assert [len(refusals), refusals[0]] == [2, refusals[1]]
    assert "`k`" in refusals[0]


def _refusal(checks: RequestChecks, request: Request) -> str:
    with pytest.raises(Unprocessable) as refused:
        anyio.run(checks, request)
    return refused.value.detail
