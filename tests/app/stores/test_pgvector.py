"""pgvector, against a PostgreSQL server: every sort of table passes the contract."""

from collections.abc import Iterator

import psycopg
import pytest

from tests.app.stores.contract import StoreContract
from tests.app.stores.pgvector_world import SORTS, PgvectorWorld
from tests.services import postgres_database


@pytest.fixture(scope="module")
def database_url(postgres: str) -> Iterator[str]:
    """A database with pgvector."""
    with postgres_database(postgres) as url:
        url = url.replace("+psycopg", "")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")
        yield url


class TestPgvector(StoreContract):
    @pytest.fixture(params=list(SORTS.values()), ids=list(SORTS))
    def world(self, request: pytest.FixtureRequest, database_url: str) -> PgvectorWorld:
        return PgvectorWorld(database_url, request.param)
