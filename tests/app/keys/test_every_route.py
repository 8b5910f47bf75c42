"""Every route of the service, tried with every kind of key that may not use it: all are refused, before any body."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest
from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute
from pydantic import SecretStr
from sqlalchemy import update

from app.keys.access import KeyScope
from app.keys.admission import refuse_unruled
from app.keys.rules import RULES
from app.keys.schemas import NewKey
from app.keys.service import Keys
from app.keys.tables import ApiKeyRow
from app.main import create_app
from app.settings import Settings
from app.storage.database import Database, utc_now
from tests.app.keys.keyed import OPEN, KeyedService, routes_of
from tests.services import postgres_database
from tests.serving import serving

ROUTES = [route for route in routes_of(create_app(Settings())) if route[0] != "HEAD"]
NEEDING_A_KEY = [route for route in ROUTES if " ".join(route) not in OPEN]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyedService]:
    """Two galleries, `mine` and `foreign`, each with its model and dataset; keys are in use."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("data"))
    if request.param == "sqlite":
        yield from _serving(settings)
        return
    with postgres_database(request.getfixturevalue("postgres")) as url:
        yield from _serving(settings.model_copy(update={"database_url": url}))


def _serving(settings: Settings) -> Iterator[KeyedService]:
    with serving(settings) as client:
        client.post("/models", json={"id": "m", "dimension": 2, "metric": "cosine"}).raise_for_status()
        for name in ("mine", "foreign"):
            client.post("/galleries", json={"id": name, "model": "m"}).raise_for_status()
            client.post("/datasets", json={"id": name}).raise_for_status()
        database = Database(settings.sqlalchemy_url)
        yield KeyedService(client, Keys(database))
        database.close()


def _filled(template: str, gallery: str = "mine") -> str:
    """A path of the route, where `gallery` is the gallery and the dataset."""
    values = {"gallery": gallery, "dataset": gallery, "model": "m"}
    return re.sub(r"\{(\w+)\}", lambda match: values.get(match[1], "x"), template)


def _refused(answer: httpx.Response, status: int) -> str:
    """Why it was refused, in the words of a problem of this status."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    assert answer.status_code == status, f"{answer.request.method} {answer.request.url}: {answer.text}"
    body = answer.json()
    assert body["status"] == status
    return str(body["detail"])


def test_every_route_has_a_rule_and_every_rule_a_route() -> None:
    assert {(rule.method, rule.template) for rule in RULES} == set(ROUTES)
    assert {f"{rule.method} {rule.template}" for rule in RULES if rule.open} == OPEN


def test_every_route_is_refused_to_whoever_may_not_use_it(service: KeyedService) -> None:
    every = list(KeyScope)
    wrong = f"{service.key(*every)[:-64]}{'0' * 64}"
    expired, revoked, admin = service.key(*every), service.key(*every), service.key(KeyScope.ADMIN)
    _expire(service, expired)
    service.keys.revoke(revoked.split("_")[1], even_last_admin=False)
    unknown = f"cwk_{'0' * 12}_{'0' * 64}"
    by_scope = {scope: service.key(scope) for scope in KeyScope}
    elsewhere = service.key(KeyScope.SEARCH, KeyScope.WRITE, KeyScope.UPGRADE, galleries=["mine"], datasets=["mine"])
    service.knows(admin)
    table = []
    for method, template in NEEDING_A_KEY:
        path, rule = _filled(template), RULES.of_route(method, template)
        assert rule is not None
        statuses = [_ask(service, None, method, path, 401)]
        told = {_refused(service.ask(key, method, path), 401) for key in (wrong, unknown, expired, revoked)}
        assert len(told) == 1  # no word of what is stored
        statuses += [401] * 4
        for scope, key in by_scope.items():
            if scope not in rule.one_of and scope != KeyScope.ADMIN:
                assert "scope" in _refused(service.ask(key, method, path), 403)
                statuses.append(403)
        if rule.shared or path != _filled(template, "foreign"):
            answers = {_told_of(service, elsewhere, method, template, name) for name in ("foreign", "missing")}
            assert len(answers) == 1  # the same whether or not there is such a gallery
            statuses.append(403)
        table.append(f"{method:6} {template:40} {' '.join(map(str, statuses))}")
    print("\n".join(table))
    assert len(table) == len(NEEDING_A_KEY) > 40


def _told_of(service: KeyedService, key: str, method: str, template: str, gallery: str) -> str:
    answer = service.ask(key, method, _filled(template, gallery))
    return _refused(answer, 403).replace(gallery, "…")


def _ask(service: KeyedService, key: str | None, method: str, path: str, status: int) -> int:
    answer = service.ask(key, method, path)
    _refused(answer, status)
    assert answer.headers["www-authenticate"].startswith("Bearer")
    return status


def _expire(service: KeyedService, key: str) -> None:
    with service.keys._database.session() as session:
        past = utc_now() - timedelta(seconds=1)
        session.execute(update(ApiKeyRow).where(ApiKeyRow.id == key.split("_")[1]).values(expires_at=past))


def test_what_needs_no_key_is_answered_without_one(service: KeyedService) -> None:
    service.knows(service.key(KeyScope.ADMIN))
    for route in OPEN - {"GET /problems/{slug}", "GET /assets/swagger/{file}"}:
        assert service.ask(None, *route.split(" ")).is_success
    assert service.ask(None, "GET", "/problems/unauthorized").is_success
    assert service.ask(None, "GET", "/assets/swagger/swagger-ui.css").is_success


def test_what_is_not_there_is_refused_without_a_key_and_not_found_with_one(service: KeyedService) -> None:
    admin = service.key(KeyScope.ADMIN)
    service.knows(admin)
    for path in ("/nothing", "/galleries/a/b/c", "/models/m/nothing", "/assets/other"):
        _refused(service.ask(None, "GET", path), 401)
        _refused(service.ask(admin, "GET", path), 404)
    _refused(service.ask(None, "PATCH", "/models"), 401)
    _refused(service.ask(admin, "PATCH", "/models"), 405)


def test_a_route_that_nobody_ruled_is_refused_to_every_key(tmp_path_factory: pytest.TempPathFactory) -> None:
    def more(application: FastAPI) -> None:
        application.add_api_route("/models/{model}/secrets", lambda model: model)
        application.add_api_route("/elsewhere", lambda: "served")

    settings = Settings(data_dir=tmp_path_factory.mktemp("data"), admin_key="k" * 32)  # type: ignore[arg-type]
    with serving(settings, more=more) as client:
        for path in ("/elsewhere", "/models/m/secrets"):
            assert client.get(path, headers={"Authorization": f"Bearer {'k' * 32}"}).status_code == 404
        # One that looks like a ruled path, and is another route.
    with serving(settings, more=lambda app: app.router.routes.insert(0, _imposter())) as client:
        assert client.get("/galleries/mine", headers={"Authorization": f"Bearer {'k' * 32}"}).status_code == 403


def _imposter() -> APIRoute:
    return APIRoute("/{kind}/{name}", lambda kind, name: "served", dependencies=[Depends(refuse_unruled)])


def test_a_key_made_here_is_named_by_what_it_may_do(service: KeyedService) -> None:
    admin = service.key(KeyScope.ADMIN)
    service.knows(admin)
    made = service.ask(admin, "POST", "/keys", json={"name": "shop", "scopes": ["search"], "galleries": ["mine"]})
    assert made.status_code == 201
    assert made.headers["cache-control"] == "no-store"
    shown = service.ask(admin, "GET", made.headers["location"]).json()
    assert shown == {name: value for name, value in made.json().items() if name != "key"}
    assert service.ask(made.json()["key"], "GET", "/galleries").json()["items"][0]["id"] == "mine"
    assert shown["last_used_at"] is None
    assert service.ask(admin, "GET", made.headers["location"]).json()["last_used_at"] is not None
    assert made.json()["key"] not in service.ask(admin, "GET", "/keys").text


def test_revoking_and_rotating_take_effect_at_once_where_they_were_asked(service: KeyedService) -> None:
    admin = service.key(KeyScope.ADMIN)
    service.knows(admin)
    first = service.ask(admin, "POST", "/keys", json={"name": "a", "scopes": ["search"], "rate": "100/minute"}).json()
    assert service.ask(first["key"], "GET", "/models").is_success
    second = service.ask(admin, "POST", f"/keys/{first['id']}/rotate", json={}).json()
    assert (second["name"], second["scopes"], second["rate"]) == ("a", ["search"], "100/minute")
    _refused(service.ask(first["key"], "GET", "/models"), 401)
    assert service.ask(second["key"], "GET", "/models").is_success
    until = (utc_now() + timedelta(hours=1)).isoformat()
    third = service.ask(admin, "POST", f"/keys/{second['id']}/rotate", json={"until": until}).json()
    assert service.ask(second["key"], "GET", "/models").is_success
    assert service.ask(admin, "DELETE", f"/keys/{third['id']}").status_code == 204
    _refused(service.ask(third["key"], "GET", "/models"), 401)
    _refused(service.ask(admin, "POST", f"/keys/{third['id']}/rotate", json={}), 409)
    _refused(service.ask(admin, "DELETE", f"/keys/{'0' * 12}"), 404)


def test_a_key_rotated_twice_is_replaced_by_one_that_lasts_as_long_as_the_first(service: KeyedService) -> None:
    year = utc_now() + timedelta(days=365)
    first = service.keys.create(NewKey(name="a", scopes=[KeyScope.SEARCH], expires_at=year))
    soon = utc_now() + timedelta(hours=1)
    for until in (soon, soon + timedelta(days=1)):
        new = service.keys.rotate(first.id, until)
        assert new.expires_at is not None
        assert new.expires_at - new.created_at >= timedelta(days=364)
    assert service.keys.get(first.id).state == "active"
    assert service.keys.get(first.id).revoked_at == soon


def test_the_last_admins_key_is_not_revoked_over_http(settings: Settings) -> None:
    database = Database(settings.sqlalchemy_url)
    with serving(settings) as client:
        service = KeyedService(client, Keys(database))
        first = service.key(KeyScope.ADMIN)
        service.knows(first)
        path = f"/keys/{first.split('_')[1]}"
        service.ask(first, "POST", "/keys", json={"name": "shop", "scopes": ["search"]})
        assert "rotate" in _refused(service.ask(first, "DELETE", path), 409)
        second = service.ask(first, "POST", "/keys", json={"name": "b", "scopes": ["admin"]}).json()["key"]
        assert service.ask(first, "DELETE", path).status_code == 204
        assert service.ask(second, "DELETE", path).status_code == 204
        _refused(service.ask(second, "DELETE", f"/keys/{second.split('_')[1]}"), 409)
    with serving(settings.model_copy(update={"admin_key": SecretStr("a" * 32)})) as client:
        assert KeyedService(client, Keys(database)).ask(second, "DELETE", f"/keys/{second.split('_')[1]}").is_success
    database.close()


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "a", "scopes": []},
        {"name": "a", "scopes": ["root"]},
        {"name": "", "scopes": ["search"]},
        {"name": "a", "scopes": ["admin"], "galleries": ["mine"]},
        {"name": "a", "scopes": ["search"], "datasets": ["mine"]},
        {"name": "a", "scopes": ["search"], "rate": "often"},
        {"name": "a", "scopes": ["search"], "concurrency": 0},
        {"name": "a", "scopes": ["search"], "expires_at": "2030-01-01T00:00:00"},
    ],
)
def test_a_key_that_makes_no_sense_is_not_made(service: KeyedService, wrong: dict[str, object]) -> None:
    admin = service.key(KeyScope.ADMIN)
    service.knows(admin)
    before = len(service.keys.rows_after(None, 1000))
    _refused(service.ask(admin, "POST", "/keys", json=wrong), 422)
    assert len(service.keys.rows_after(None, 1000)) == before


def test_new_keys_are_told_apart_by_more_than_their_names(service: KeyedService) -> None:
    new = NewKey(name="same", scopes=[KeyScope.SEARCH])
    one, two = service.keys.create(new), service.keys.create(new)
    assert one.id != two.id
    assert one.key[-64:] != two.key[-64:]
