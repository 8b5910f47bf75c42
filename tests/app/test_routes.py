"""Routes are shared by the applications of a process; nothing of one application is seen in another."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI

from app.main import create_app
from app.settings import Settings
from tests.serving import serving

MODEL = {"id": "m", "dimension": 2, "metric": "ip"}


def _greeting(app: FastAPI) -> None:
    @app.get("/greeting")
    async def greeting(name: str) -> str:
        return name


def test_applications_of_one_process_share_neither_data_nor_counts_nor_routes_that_were_added(tmp_path: Path) -> None:
    with (
        serving(Settings(data_dir=tmp_path / "one"), more=_greeting) as one,
        serving(Settings(data_dir=tmp_path / "other", root_path="/below")) as other,
    ):
        assert one.post("/models", json=MODEL).status_code == 201
        assert one.get("/greeting", params={"name": "x"}).json() == "x"
        assert one.get("/greeting", params={"nam": "x"}).status_code == 422
        assert other.get("/greeting", params={"name": "x"}).status_code == 404
        assert [len(each.get("/models").json()["items"]) for each in (one, other)] == [1, 0]
        assert ['method="POST"' in each.get("/metrics").text for each in (one, other)] == [True, False]


def test_documents_of_applications_are_alike_whichever_was_asked_first() -> None:
    documents = [create_app(Settings()).openapi() for _ in range(2)]
    assert documents[0] == documents[1]
    added = create_app(Settings())
    _greeting(added)
    assert added.openapi()["paths"].keys() - documents[0]["paths"].keys() == {"/greeting"}
