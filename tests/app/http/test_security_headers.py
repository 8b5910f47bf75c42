"""What browsers are told about every answer."""

import httpx
import pytest

PAGES = ("/", "/docs")


@pytest.mark.parametrize("path", [*PAGES, "/models", "/nothing", "/assets/swagger/swagger-ui.css", "/metrics"])
def test_nothing_is_sniffed_framed_or_told_on(shared_client: httpx.Client, path: str) -> None:
    headers = shared_client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]


def test_data_is_not_kept_by_caches_and_files_are_asked_for_anew(shared_client: httpx.Client) -> None:
    assert shared_client.get("/models").headers["cache-control"] == "no-store"
    assert shared_client.get("/nothing").headers["cache-control"] == "no-store"
    script = shared_client.get("/assets/swagger/swagger-ui-bundle.js")
    assert script.headers["cache-control"] == "private, no-cache"
    again = {"If-None-Match": script.headers["etag"]}
    assert shared_client.get("/assets/swagger/swagger-ui-bundle.js", headers=again).status_code == 304


@pytest.mark.parametrize("path", PAGES)
def test_pages_run_no_script_but_their_own(shared_client: httpx.Client, path: str) -> None:
    page = shared_client.get(path)
    policy = page.headers["content-security-policy"]
    scripts = [part for part in policy.split("; ") if part.startswith("script-src")]
    assert "unsafe-inline" not in "".join(scripts)
    assert len(scripts) == ("<script" in page.text)
