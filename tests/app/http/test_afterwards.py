"""What is left for after an answer never disturbs the connection that the answer went by."""

import httpx
import pytest

from app.search.service import Search


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
    assert failed == ["g"] * 3
