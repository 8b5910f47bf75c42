"""Cursors lead through a list, and nothing else passes for one."""

import base64

import httpx
import pytest


def _encoded(text: bytes) -> str:
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


@pytest.fixture(scope="module")
def cursor(shared_client: httpx.Client) -> str:
    for name in ("a", "b"):
        shared_client.post("/models", json={"id": name, "dimension": 2, "metric": "l2"})
    cursor = shared_client.get("/models", params={"limit": 1}).json()["next_cursor"]
    assert isinstance(cursor, str)
    return cursor


def test_the_last_page_has_no_cursor(shared_client: httpx.Client, cursor: str) -> None:
    page = shared_client.get("/models", params={"limit": 1, "cursor": cursor}).json()
    assert [model["id"] for model in page["items"]] == ["b"]
    assert page["next_cursor"] is None


def test_a_cursor_of_another_list_is_refused(shared_client: httpx.Client, cursor: str) -> None:
    answer = shared_client.get("/galleries", params={"cursor": cursor})
    assert answer.status_code == 400
    assert answer.json()["parameter"] == "cursor"


@pytest.mark.parametrize(
    "forged",
    [
        "",
        "a",
        "ä",
        "%%%",
        _encoded(b""),
        _encoded(b"\xff"),
        _encoded(b"null"),
        _encoded(b'["/models"]'),
        _encoded(b'["/models", 7]'),
        _encoded(b'["/models", "a", "b"]'),
        _encoded(b'["/models", "nul \\u0000"]'),
        _encoded(b'["/models", "\\ud800"]'),
        _encoded(b"[" * 1_200),
    ],
)
def test_what_is_no_cursor_is_a_bad_request(shared_client: httpx.Client, forged: str) -> None:
    answer = shared_client.get("/models", params={"cursor": forged})
    assert answer.status_code == 400
    assert answer.json()["type"] == "/problems/bad-request"


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "many", "1e2"])
def test_a_limit_out_of_range_is_refused(shared_client: httpx.Client, limit: str) -> None:
    assert shared_client.get("/models", params={"limit": limit}).status_code == 422
