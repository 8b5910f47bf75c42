"""A database that goes away is told as such, and is spoken to again once it is back."""

from __future__ import annotations

import httpx
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from app.http.problem_answers import _is_away
from app.settings import Settings
from tests.services import PostgresServer
from tests.serving import serving


def test_requests_are_answered_503_while_postgresql_is_away_and_rightly_once_it_is_back(settings: Settings) -> None:
    server = PostgresServer()
    try:
        server.start()
        url = server.uri.replace("postgresql://", "postgresql+psycopg://")
        with serving(settings.model_copy(update={"database_url": url})) as client:
            model = {"id": "m", "dimension": 4, "metric": "cosine"}
            assert client.post("/models", json=model).status_code == 201
            server.kill()
            for answer in (client.get("/models/m"), client.post("/models", json={**model, "id": "n"})):
                assert _told(answer) == (503, "/problems/unavailable", "2")
            server.start()
            assert client.get("/models/m").status_code == 200
            assert client.get("/models/n").status_code == 404
    finally:
        server.remove()


def _told(answer: httpx.Response) -> tuple[int, str, str | None]:
    return answer.status_code, answer.json()["type"], answer.headers.get("Retry-After")


@pytest.mark.parametrize(
    ("url", "away"), [("sqlite:////nowhere/at/all.db", True), ("sqlite://", False)], ids=["no file", "wrong statement"]
)
def test_sqlite_that_cannot_be_opened_is_away_and_one_that_refuses_a_statement_is_not(url: str, away: bool) -> None:
    with pytest.raises(DBAPIError) as raised, create_engine(url).connect() as connection:
        connection.execute(text("SELECT * FROM no_such_table"))
    assert _is_away(raised.value) == away
