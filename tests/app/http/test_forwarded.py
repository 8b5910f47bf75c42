"""Behind a proxy that strips a prefix, every path that is answered has it; and only trusted proxies are heard."""

import httpx
import pytest

from app.settings import Settings
from tests.serving import serving

PROXIED = {"X-Forwarded-Prefix": "/cw", "X-Forwarded-Host": "vectors.example.org", "X-Forwarded-Proto": "https"}


def _everything_has(client: httpx.Client, prefix: str, headers: dict[str, str]) -> None:
    body = {"id": "m", "dimension": 2, "metric": "l2"}
    assert client.post("/models", json=body, headers=headers).headers["location"] == f"{prefix}/models/m"
    docs = client.get("/docs", headers=headers).text
    assert f"'{prefix}/openapi.json'" in docs.replace('"', "'")
    assert f'src="{prefix}/assets/swagger/swagger-ui-bundle.js"' in docs
    assert f'href="{prefix}/docs"' in client.get("/", headers=headers).text
    servers = client.get("/openapi.json", headers=headers).json().get("servers", [])
    assert servers == ([{"url": prefix}] if prefix else [])
    for path in ("/nothing", "/models/nothing", "/assets/swagger/nothing.js", "/models?limit=none"):
        problem = client.get(path, headers=headers).json()
        assert problem["instance"] == prefix + path.partition("?")[0]
        assert problem["type"].startswith(f"{prefix}/problems/")
        explained = client.get(problem["type"].removeprefix(prefix), headers=headers).json()
        assert explained["type"] == problem["type"]


def test_each_client_finds_the_service_under_its_own_prefix(client: httpx.Client) -> None:
    for prefix in ("/cw", "/a/b-c", "", "/models", "/search", "/cw"):
        _everything_has(client, prefix, {**PROXIED, "X-Forwarded-Prefix": f"{prefix}/"})


def test_a_prefix_can_be_a_setting(settings: Settings) -> None:
    with serving(settings.model_copy(update={"root_path": "/fixed"})) as client:
        _everything_has(client, "/fixed", {})
        _everything_has(client, "/told", {"X-Forwarded-Prefix": "/told"})


def test_proxies_in_a_row_add_up(client: httpx.Client) -> None:
    assert client.get("/nothing", headers={"X-Forwarded-Prefix": "/a, /b"}).json()["instance"] == "/a/b/nothing"


def test_a_redirect_leads_back_through_the_proxy(client: httpx.Client) -> None:
    answer = client.get("/models/", headers=PROXIED)
    assert answer.headers["location"] == "https://vectors.example.org/cw/models"


def test_cursors_and_keys_are_the_same_on_both_sides(client: httpx.Client) -> None:
    for name in ("a", "b"):
        client.post("/models", json={"id": name, "dimension": 2, "metric": "l2"})
    cursor = client.get("/models", params={"limit": 1}, headers=PROXIED).json()["next_cursor"]
    assert [model["id"] for model in client.get("/models", params={"cursor": cursor}).json()["items"]] == ["b"]


@pytest.mark.parametrize(
    "prefix",
    ["//evil.example", "https://evil.example", "/a//b", "/..", "/a/../b", "/%0d%0a", "/a b", "a", "/ä", '/"><b>'],
)
def test_what_is_no_prefix_is_refused(client: httpx.Client, prefix: str) -> None:
    answer = client.get("/nothing", headers=[(b"X-Forwarded-Prefix", prefix.encode())])
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/bad-request")


@pytest.mark.parametrize("host", ["evil.example/path", "a b", "user@evil.example", "evil.example:port"])
def test_what_is_no_host_is_refused(client: httpx.Client, host: str) -> None:
    assert client.get("/nothing", headers={"X-Forwarded-Host": host}).status_code == 400


def test_strangers_are_not_heard(settings: Settings) -> None:
    with serving(settings.model_copy(update={"trusted_proxies": ("10.0.0.0/8",)})) as client:
        assert client.get("/nothing", headers=PROXIED).json()["instance"] == "/nothing"
        assert client.get("/models/", headers=PROXIED).headers["location"] == f"{client.base_url}/models"


@pytest.mark.parametrize("wrong", ["cw", "/cw/", "//evil", "/a/../b", "https://evil"])
def test_a_root_path_is_a_path(wrong: str) -> None:
    with pytest.raises(ValueError, match="root_path"):
        Settings(root_path=wrong)
