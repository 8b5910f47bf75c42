"""Who is let in before there are keys, what is refused before a body is read, and what is never written down."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
import structlog
from pydantic import SecretStr, ValidationError
from starlette.testclient import TestClient
from starlette.types import Message

from app.http.peers import is_loopback
from app.keys.access import KeyScope
from app.keys.schemas import NewKey
from app.keys.secret import new_secret
from app.keys.service import Keys
from app.logs import configure_logging
from app.main import create_app
from app.redaction import redacted
from app.settings import Settings
from app.storage.database import Database
from tests.app.keys.keyed import OPEN
from tests.serving import serving
from workers.runtime.child_process import environment

ADMIN = "not-a-real-admin-key-0123456789abcdef"
SENT = {"Authorization": f"Bearer {ADMIN}"}


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service whose settings have an admin key."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("data"), admin_key=SecretStr(ADMIN))
    with serving(settings) as client:
        yield client


@pytest.fixture(scope="module")
def keyless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The application without keys."""
    application = create_app(Settings(data_dir=tmp_path_factory.mktemp("data")))
    with TestClient(application):
        yield application


def _asked_from(application: Any, peer: str, path: str, **headers: str) -> Any:
    """The answer to somebody at this address."""
    return TestClient(application, base_url="http://127.0.0.1", client=(peer, 5000)).get(path, headers=headers)


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1"])
def test_without_keys_this_machine_may_do_everything(keyless: Any, peer: str) -> None:
    assert _asked_from(keyless, peer, "/models").status_code == 200


@pytest.mark.parametrize("peer", ["10.0.0.9", "203.0.113.4", "fe80::1", "::", "0.0.0.0", "::ffff:10.0.0.9", "unix"])
def test_without_keys_no_other_machine_is_answered(keyless: Any, peer: str) -> None:
    for path in ("/models", "/healthz", "/docs", "/nothing"):
        refusal = _asked_from(keyless, peer, path)
        assert refusal.status_code == 403
        assert "crosswalk keys create" in refusal.json()["detail"]
    # What a client says of itself lets nobody in.
    for header in ("X-Forwarded-For", "X-Real-IP", "Forwarded"):
        assert _asked_from(keyless, peer, "/models", **{header: "127.0.0.1", "Host": "localhost"}).status_code == 403


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("X-Forwarded-For", "203.0.113.4"),
        ("X-Forwarded-For", "127.0.0.1, 203.0.113.4"),
        ("X-Forwarded-For", "unknown"),
        ("X-Real-IP", "203.0.113.4"),
        ("Forwarded", "for=_hidden"),
        ("Forwarded", "for=unknown"),
        ("Forwarded", "for = 8.8.8.8"),
        ("Forwarded", "for=127.0.0.1;for=8.8.8.8"),
        ("Forwarded", "proto=https"),
        ("Via", "1.1 proxy"),
        ("CF-Connecting-IP", "203.0.113.4"),
        ("CF-Ray", "1"),
        ("Forwarded", "for=203.0.113.4;proto=https"),
        ("Forwarded", 'for=127.0.0.1, For="[2001:db8::17]:4711"'),
    ],
)
def test_without_keys_a_proxy_on_this_machine_lets_no_other_in(keyless: Any, header: str, value: str) -> None:
    assert _asked_from(keyless, "127.0.0.1", "/models", **{header: value}).status_code == 403


def test_without_keys_a_proxy_may_speak_for_this_machine(keyless: Any) -> None:
    answer = _asked_from(
        keyless, "127.0.0.1", "/models", **{"X-Forwarded-For": "127.0.0.1", "Forwarded": "for=127.0.0.1"}
    )
    assert answer.status_code == 200


@pytest.mark.parametrize("element", ['for="[::1]:4711"', "for=127.0.0.1:80", "proto=http; For=127.0.0.1"])
def test_without_keys_a_proxy_may_say_so_in_each_form(keyless: Any, element: str) -> None:
    headers = {"Forwarded": element, "X-Forwarded-Prefix": "/cw"}
    assert _asked_from(keyless, "127.0.0.1", "/models", **headers).status_code == 200
    assert _asked_from(keyless, "127.0.0.1", "/models", **{"X-Forwarded-Prefix": "/cw"}).status_code == 200


def test_what_is_no_address_is_not_loopback() -> None:
    assert [is_loopback(peer) for peer in ("", "localhost", "127.0.0.1.example.org", "1", "127.1")] == [False] * 5


def test_the_settings_key_may_do_everything_and_is_needed_on_loopback_too(keyed: httpx.Client) -> None:
    assert keyed.get("/models").status_code == 401
    assert keyed.get("/models", headers=SENT).status_code == 200
    assert keyed.get("/keys", headers=SENT).json()["items"] == []
    made = keyed.post("/keys", headers=SENT, json={"name": "a", "scopes": ["search"]})
    assert made.status_code == 201
    assert keyed.get("/models", headers={"Authorization": f"bearer  {made.json()['key']}"}).status_code == 200


@pytest.mark.parametrize(
    "value", ["", "Bearer", ADMIN, f"Basic {ADMIN}", f"Bearer {ADMIN}x", f"Bearer {ADMIN} x", "Bearer \xff"]
)
def test_what_is_not_that_key_is_refused(keyed: httpx.Client, value: str) -> None:
    assert keyed.get("/models", headers={b"Authorization": value.encode("latin-1")}).status_code == 401


def test_two_keys_in_one_request_are_refused(keyed: httpx.Client) -> None:
    twice = [("Authorization", f"Bearer {ADMIN}")] * 2
    assert keyed.get("/models", headers=twice).status_code == 401


@pytest.mark.parametrize(
    "name", ["api_key", "key", "API_KEY", "apikey", "api-key", "access_token", "token", "api%5Fkey"]
)
def test_a_key_in_a_url_is_refused_and_not_looked_at(keyed: httpx.Client, name: str) -> None:
    for headers in ({}, SENT):
        refusal = keyed.get(f"/models?limit=1&{name}={ADMIN}", headers=headers)
        assert refusal.status_code == 400
        assert ADMIN not in refusal.text


def test_a_key_in_the_place_of_another_parameter_is_refused(keyed: httpx.Client) -> None:
    key = new_secret().key
    refusal = keyed.get("/models", params={"cursor": key}, headers=SENT)
    assert refusal.status_code == 400
    assert key[-64:] not in refusal.text


@pytest.mark.parametrize("place", ["/models?cursor={}", "/galleries/mine/items/{}", "/nothing/{}"])
@pytest.mark.parametrize("encoding", ["{}", "%5F", "%255F"])
def test_a_key_anywhere_in_a_url_is_refused_and_not_answered(keyed: httpx.Client, place: str, encoding: str) -> None:
    for key in (new_secret().key, ADMIN):
        sent = key.replace("_", encoding) if encoding != "{}" else key
        refusal = keyed.get(place.format(sent), headers=SENT)
        assert refusal.status_code == 400
        assert key[-32:] not in refusal.text


def test_a_request_id_that_holds_a_key_is_not_taken(keyed: httpx.Client) -> None:
    for key in (new_secret().key, ADMIN):
        answered = keyed.get("/models", headers={**SENT, "X-Request-Id": key})
        assert key[-32:] not in answered.headers["X-Request-Id"]


def test_metrics_are_open_where_the_settings_say_so(tmp_path: Path, keyed: httpx.Client) -> None:
    assert keyed.get("/metrics").status_code == 401
    assert keyed.get("/metrics", headers=SENT).status_code == 200
    settings = Settings(data_dir=tmp_path, admin_key=SecretStr(ADMIN), metrics_without_key=True)
    with serving(settings) as client:
        assert client.get("/metrics").status_code == 200
        assert client.get("/models").status_code == 401


def test_a_body_is_not_read_before_its_sender_is_known(settings: Settings) -> None:
    settings = settings.model_copy(update={"admin_key": SecretStr(ADMIN)})
    application = create_app(settings)
    told: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("the body was read")

    async def send(message: Message) -> None:
        told.append(message)

    def scope(*headers: tuple[bytes, bytes]) -> dict[str, Any]:
        return {
            "type": "http",
            "method": "PUT",
            "path": "/galleries/faq/items",
            "raw_path": b"/galleries/faq/items",
            "query_string": b"model=m",
            "headers": [(b"content-length", b"1000000000"), *headers],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
            "scheme": "http",
            "http_version": "1.1",
            "root_path": "",
        }

    with TestClient(application):
        key = _created(settings, KeyScope.SEARCH)
        application.state.crosswalk.key_ring.changed()
        anyio.run(application, scope(), receive, send)
        anyio.run(application, scope((b"authorization", f"Bearer {key}".encode())), receive, send)
    assert [message["status"] for message in told if message["type"] == "http.response.start"] == [401, 403]


def _created(settings: Settings, *scopes: KeyScope) -> str:
    database = Database(settings.sqlalchemy_url)
    key = Keys(database).create(NewKey(name="test", scopes=list(scopes))).key
    database.close()
    return key


def test_keys_are_never_written_to_the_log(
    keyed: httpx.Client, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before, level = logging.getLogger().handlers, logging.getLogger().level
    try:
        configure_logging("json")
        key = new_secret().key
        for headers in ({"Authorization": f"Bearer {key}"}, SENT):
            keyed.get("/models", headers=headers)
            keyed.get(f"/models?api_key={key}", headers=headers)
            keyed.get(f"/galleries/{key}", headers=headers)
            keyed.get(f"/galleries/mine/items/{key.replace('_', '%5F')}", headers=headers)
            keyed.get(f"/galleries/{ADMIN}", headers=headers | {"X-Request-Id": ADMIN})
        log = structlog.get_logger("test")
        log.info("mistaken", header=f"Bearer {key}", of=[key], other={"Authorization": f"Bearer {ADMIN}"})
        try:
            raise ValueError(key)
        except ValueError:
            log.exception("mistaken too")
    finally:
        logging.getLogger().handlers = before
        logging.getLogger().setLevel(level)
    written = capfd.readouterr().err
    assert "mistaken too" in written
    assert "/galleries/cwk_" in written
    assert key[-64:] not in written
    assert ADMIN not in written


def test_a_vector_whose_base64_looks_like_the_beginning_of_a_key_is_searched_with(keyed: httpx.Client) -> None:
    vector = "".join(["cwk_", "A" * 7])  # two numbers
    answer = keyed.get(f"/search?gallery=none&model=none&vector={vector}", headers=SENT)
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-found")


def test_what_is_redacted_keeps_what_names_the_key() -> None:
    secret = new_secret()
    assert redacted(f"key {secret.key}.") == f"key cwk_{secret.id}_[secret]."
    assert redacted("Send `Authorization: Bearer <key>`.") == "Send `Authorization: Bearer <key>`."


@pytest.mark.parametrize("wrong", ["short", "with space " * 4, "ä" * 40])
def test_an_admin_key_that_is_none_is_refused_and_not_shown(tmp_path: Path, wrong: str) -> None:
    settings = Settings(data_dir=tmp_path, admin_key=SecretStr(wrong))
    with pytest.raises(ValueError, match="admin key") as error:
        settings.admin_secret()
    assert wrong not in str(error.value)
    with pytest.raises(ValidationError) as invalid:
        Settings(data_dir=tmp_path, admin_key=ADMIN, key_rate="often")  # type: ignore[arg-type]
    assert ADMIN not in str(invalid.value)
    assert ADMIN not in repr(Settings(admin_key=SecretStr(ADMIN)))


def test_an_admin_key_may_lie_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{ADMIN}\n")
    assert Settings(admin_key_file=tmp_path / "key").admin_secret() == ADMIN


def test_the_processes_of_steps_are_not_given_the_admin_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSWALK_ADMIN_KEY", ADMIN)
    (tmp_path / "key").write_text(ADMIN)
    given = environment(Settings(data_dir=tmp_path, admin_key_file=tmp_path / "key"))
    assert not any("ADMIN" in name or ADMIN in value for name, value in given.items())


def test_the_document_says_which_key_every_operation_needs(keyed: httpx.Client) -> None:
    document = keyed.get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            free = f"{method.upper()} {path}" in OPEN
            assert operation["security"] == ([] if free else [{"key": []}])
            assert ("Needs a" in operation["description"]) != free
            assert free or {"401", "403", "429"} <= set(operation["responses"])
    assert "`upgrade`" in document["paths"]["/models/{model}/upgrade"]["post"]["description"]
