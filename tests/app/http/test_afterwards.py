"""What is left for after an answer never disturbs the connection that the answer went by."""

import httpx
import pytest

from app.search.service import Search
from tests.waiting import wait_until


def test_a_request_goes_through_on_the_connection_of_one_whose_afterwork_failed(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[str] = []

    def warm(_: Search, gallery: str) -> None:
        failed.append(gallery)
        raise RuntimeError("the gallery went meanwhile")

    monkeypatch.setattr(Search, "warm", warm)
    client.post("/models", json={"id": "m", "dimension": 1, "metric": "l2"})
    client.post("/galleries", json={"id": "g", "model": "m"})
    for _ in range(3):
        answer = client.put("/galleries/g/items", params={"model": "m"}, json=[{"id": "a", "embedding": [1]}])
        assert answer.status_code == 200
        assert client.get("/galleries/g").status_code == 200
    # The last answer may come before what the one before it left for afterwards.
    wait_until(lambda: failed == ["g"] * 3, "each to be tried", last=lambda: failed)


def test_every_change_of_items_is_followed_before_the_next_search_asks(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed: list[str] = []
    monkeypatch.setattr(Search, "warm", lambda _, gallery: followed.append(gallery))
    client.post("/models", json={"id": "m", "dimension": 1, "metric": "l2"})
    client.post("/galleries", json={"id": "g", "model": "m"})
    item = {"id": "a", "embedding": [1]}
    answers = [
        client.put("/galleries/g/items", params={"model": "m"}, json=[item, item | {"id": "b"}]),
        client.patch("/galleries/g/items", json=[{"id": "a", "label": "first"}]),
        client.patch("/galleries/g/items/a", json={"label": "second"}),
        client.put("/galleries/g/side-information", params={"dimension": 1}, json=[]),
        client.post("/galleries/g/items/delete", json={"ids": ["a"]}),
        client.post("/galleries/g/items/delete", json={"filter": {"id": {"exists": True}}}),
    ]
    assert [answer.status_code for answer in answers] == [200] * len(answers)
    wait_until(lambda: followed == ["g"] * len(answers), "each to be followed", last=lambda: followed)
