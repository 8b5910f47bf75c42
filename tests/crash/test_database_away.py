"""While the database is away every request is told so, and nothing has to be restarted when it is back."""

import sqlite3
from pathlib import Path

import httpx
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError, OperationalError

from app.jobs.values import JobState
from app.settings import Settings
from app.storage.away import is_away
from app.storage.database import Database
from tests.services import PostgresServer
from tests.serving import serving
from tests.workers.job_bench import JobBench
from tests.workers.sample import SAMPLE
from workers.runtime.celery import EmbeddedWorker

MODEL = {"id": "m", "dimension": 2, "metric": "l2"}


def test_service_and_worker_go_on_when_the_database_is_back(settings: Settings) -> None:
    postgres = PostgresServer()
    try:
        postgres.start()
        url = postgres.uri.replace("postgresql://", "postgresql+psycopg://")
        impatient = {"database_url": url, "lease_seconds": 5.0, "job_attempts": 50}
        settings = settings.model_copy(update=impatient)
        with serving(settings, lambda settings: EmbeddedWorker(settings, SAMPLE)) as client:
            database = Database(url)
            bench = JobBench.on(settings, database)
            bench.enqueue("count", n=5, wait_at=3)
            bench.reaches_number(3)
            postgres.stop()
            _everything_is_unavailable(client)
            bench.open_gate("count")  # the step wants to write now, and cannot
            _everything_is_unavailable(client)
            postgres.start()
            assert client.post("/models", json=MODEL).status_code == 201
            assert client.get("/readyz").status_code == 200
            bench.reaches(JobState.SUCCEEDED)
            assert [total for total, _ in bench.results()] == [15]
            database.close()
    finally:
        postgres.remove()


def _everything_is_unavailable(client: httpx.Client) -> None:
    assert client.get("/healthz").status_code == 200
    start = {"to": "n", "dataset": "d", "galleries": ["g"]}
    for answer in (
        client.get("/readyz"),
        client.get("/models"),
        client.get("/galleries/g/items/a"),
        client.get("/upgrades/u/events"),
        client.post("/models", json=MODEL),
        client.post("/models/m/upgrade", json=start, headers={"Idempotency-Key": "k"}),
        client.post("/search", json={"gallery": "g", "model": "m", "vectors": [[1, 2]]}),
        client.put("/galleries/g/items", params={"model": "m"}, json=[{"id": "a", "embedding": [1, 2]}]),
    ):
        assert answer.status_code == 503, f"{answer.request.url}: {answer.text}"
        assert answer.json()["type"] == "/problems/unavailable"
        assert int(answer.headers["retry-after"]) > 0
        assert "psycopg" not in answer.text


def test_a_lock_is_waited_for_and_a_wrong_statement_is_not(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    assert is_away(_error(f"sqlite:///{path}", "CREATE TABLE t (x)"))
    holder.close()
    assert not is_away(_error(f"sqlite:///{path}", "SELECT * FROM nothing"))
    assert is_away(_error(f"sqlite:///{tmp_path / 'no folder' / 'x.db'}", "SELECT 1"))


def _error(url: str, statement: str) -> DBAPIError:
    engine = create_engine(url, connect_args={"timeout": 0})
    with pytest.raises(OperationalError) as caught, engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()
    return caught.value
