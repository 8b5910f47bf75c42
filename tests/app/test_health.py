"""Readiness names what is missing."""

import shutil

import httpx
import psycopg
from sqlalchemy import make_url, text

from app.settings import Settings
from app.storage.database import Database
from tests.services import RedisServer
from tests.serving import serving
from tests.waiting import wait_until


def _unready(client: httpx.Client) -> dict[str, str]:
    """The parts that are not ready, with their states."""
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["type"] == "/problems/unavailable"
    checks: dict[str, str] = answer.json()["checks"]
    assert set(checks) == {"database", "migrations", "store", "queue"}
    return {name: state for name, state in checks.items() if state != "ok"}


def test_a_fresh_service_is_ready(each_client: httpx.Client) -> None:
    assert each_client.get("/healthz").json() == {"status": "ok"}
    answer = each_client.get("/readyz")
    assert answer.status_code == 200
    assert set(answer.json()["checks"].values()) == {"ok"}


def test_a_store_that_cannot_be_written_is_named(client: httpx.Client, settings: Settings) -> None:
    shutil.rmtree(settings.data_dir)
    assert "store" in _unready(client)
    assert client.get("/healthz").status_code == 200


def test_pending_migrations_are_named(client: httpx.Client, settings: Settings) -> None:
    database = Database(settings.sqlalchemy_url)
    with database.session() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    database.close()
    assert _unready(client) == {"migrations": "pending"}


def test_a_broker_that_went_away_is_named_and_found_again(settings: Settings) -> None:
    redis = RedisServer()
    redis.start()
    with serving(settings.model_copy(update={"broker_url": redis.url})) as client:
        wait_until(lambda: client.get("/readyz").is_success, "the broker to be found")
        redis.kill()
        assert _unready(client) == {"queue": "unreachable"}
        redis.start()
        wait_until(lambda: client.get("/readyz").is_success, "the broker to be found again")
        redis.kill()


def test_a_database_that_went_away_is_named_and_found_again(
    settings: Settings, postgres_url: str, postgres: str
) -> None:
    name = make_url(postgres_url).database
    with (
        serving(settings.model_copy(update={"database_url": postgres_url})) as client,
        psycopg.connect(postgres, autocommit=True) as server,
    ):
        assert client.get("/readyz").status_code == 200
        server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
        server.execute("SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = %s", [name])
        assert _unready(client) == {"database": "failing", "migrations": "failing"}
        assert client.get("/models").status_code == 503
        server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())
        assert client.get("/readyz").status_code == 200


def test_the_landing_page_shows_the_state_and_leads_to_the_documentation(client: httpx.Client) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert 'href="/docs"' in page.text
    assert "<td>database</td><td>ok</td>" in page.text
