"""The service answers to its own names: a domain that was made to point here gets nothing."""

import httpx
import pytest

from app.settings import Settings
from tests.serving import serving


@pytest.mark.parametrize("host", ["evil.com", "evil.com:8000", "127.0.0.1.evil.com", "EVIL.com.", "localhost.evil.com"])
def test_no_registered_name_reaches_loopback(shared_client: httpx.Client, host: str) -> None:
    spoofed = {"Host": host, "Origin": f"http://{host}", "X-Forwarded-Host": "localhost"}
    for answer in (shared_client.get("/models", headers=spoofed), shared_client.post("/models", headers=spoofed)):
        assert (answer.status_code, answer.json()["type"]) == (421, "/problems/unknown-host")


@pytest.mark.parametrize(
    "host", ["localhost:80", "127.0.0.1", "[::1]:8000", "x", "crosswalk.localhost", "10.0.0.7", ""]
)
def test_local_names_and_addresses_do(shared_client: httpx.Client, host: str) -> None:
    assert shared_client.get("/models", headers={"Host": host}).status_code == 200


def test_the_operator_says_which_names_there_are(settings: Settings) -> None:
    with serving(settings.model_copy(update={"allowed_hosts": ("Api.Example.com", "*.example.org")})) as client:
        for host, status in {
            "api.example.com": 200,
            "API.example.com:8443": 200,
            "a.b.example.org": 200,
            "127.0.0.1": 200,
            "example.org": 421,
            "other.com": 421,
            "localhost": 421,
        }.items():
            assert client.get("/models", headers={"Host": host}).status_code == status, host
