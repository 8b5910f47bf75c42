"""Web pages may search, and change nothing, unless the operator lets them in."""

from collections.abc import Iterator

import httpx
import pytest

from app.settings import Settings
from tests.serving import serving

PAGE = "https://app.example"
OTHER = "https://other.example"


@pytest.fixture(scope="module")
def let_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service that knows one page."""
    with serving(Settings(data_dir=tmp_path_factory.mktemp("data"), cors_origins=(PAGE,))) as client:
        yield client


def _preflight(client: httpx.Client, path: str, method: str, origin: str) -> httpx.Response:
    headers = {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": "x-any"}
    return client.options(path, headers=headers)


def _allowed(answer: httpx.Response) -> str | None:
    origin: str | None = answer.headers.get("access-control-allow-origin")
    return origin


def test_every_page_may_search(shared_client: httpx.Client) -> None:
    preflight = _preflight(shared_client, "/search", "POST", PAGE)
    assert (preflight.status_code, _allowed(preflight)) == (200, "*")
    answer = shared_client.post("/search", json={}, headers={"Origin": PAGE})
    assert (answer.status_code, _allowed(answer)) == (422, "*")
    assert "X-Request-Id" in answer.headers["access-control-expose-headers"]
    assert _allowed(shared_client.get("/search", headers={"Origin": "null"})) == "*"


def test_a_preflight_that_is_refused_is_told_in_a_problem(shared_client: httpx.Client) -> None:
    for asked in ({"Access-Control-Request-Method": "TRACE"}, {"Access-Control-Request-Private-Network": "true"}):
        headers = {"Origin": PAGE, "Access-Control-Request-Method": "POST"} | asked
        answer = shared_client.options("/search", headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (403, "/problems/foreign-origin")
        assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize("origin", [PAGE, "null", "http://127.0.0.1:1", "http://127.0.0.1", "http://[", "file://", ""])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_no_foreign_page_changes_anything(shared_client: httpx.Client, method: str, origin: str) -> None:
    plain = {"Origin": origin, "Content-Type": "text/plain"}  # what needs no preflight
    for path in ("/models", "/galleries/g/items/delete", "/upgrades/u/cancel", "/search/"):
        answer = shared_client.request(method, path, content=b"{}", headers=plain)
        assert (answer.status_code, answer.json()["type"]) == (403, "/problems/foreign-origin")
        assert _allowed(answer) is None
    assert _preflight(shared_client, "/models", method, origin).status_code == 403


def test_reading_is_not_refused_and_not_shared(shared_client: httpx.Client) -> None:
    answer = shared_client.get("/models", headers={"Origin": PAGE})
    assert (answer.status_code, _allowed(answer)) == (200, None)


def test_the_services_own_pages_may_everything(shared_client: httpx.Client) -> None:
    own = str(shared_client.base_url).rstrip("/")
    assert shared_client.post("/models", json={}, headers={"Origin": own}).status_code == 422
    behind = {"Origin": "https://own.example", "X-Forwarded-Host": "own.example"}
    assert shared_client.post("/models", json={}, headers=behind).status_code == 422
    assert shared_client.post("/models", json={}).status_code == 422  # no browser


def test_a_page_that_is_let_in_may_everything(let_in: httpx.Client) -> None:
    preflight = _preflight(let_in, "/models", "DELETE", PAGE)
    assert (preflight.status_code, _allowed(preflight)) == (200, PAGE)
    assert "DELETE" in preflight.headers["access-control-allow-methods"]
    answer = let_in.post("/models", json={"id": "m", "dimension": 1, "metric": "l2"}, headers={"Origin": PAGE})
    assert (answer.status_code, _allowed(answer)) == (201, PAGE)
    assert "Location" in answer.headers["access-control-expose-headers"]
    assert let_in.post("/models", json={}, headers={"Origin": OTHER}).status_code == 403
    assert _preflight(let_in, "/search", "POST", OTHER).status_code == 403
    assert _allowed(let_in.get("/search", headers={"Origin": OTHER})) is None


@pytest.mark.parametrize(("origins", "status"), [(("*",), 422), ((), 403)])
def test_all_or_none_may_be_let_in(settings: Settings, origins: tuple[str, ...], status: int) -> None:
    with serving(settings.model_copy(update={"cors_origins": origins})) as client:
        assert client.post("/models", json={}, headers={"Origin": OTHER}).status_code == status
        assert _allowed(client.get("/models", headers={"Origin": OTHER})) == ("*" if origins else None)
        assert _allowed(client.get("/search", headers={"Origin": OTHER})) == ("*" if origins else None)


def test_origins_are_written_with_commas_in_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSWALK_CORS_ORIGINS", f"{PAGE}, {OTHER}")
    assert Settings().cors_origins == (PAGE, OTHER)
    monkeypatch.setenv("CROSSWALK_CORS_ORIGINS", "")
    assert Settings().cors_origins == ()
    monkeypatch.delenv("CROSSWALK_CORS_ORIGINS")
    assert Settings().cors_origins is None
