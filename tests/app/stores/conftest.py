"""Databases of a user's own."""

from collections.abc import Iterator

import psycopg
import pytest

from tests.services import postgres_database


@pytest.fixture(scope="module")
def pgvector_url(postgres: str) -> Iterator[str]:
    """The libpq URI of a database with pgvector."""
    with postgres_database(postgres) as url:
        url = url.replace("+psycopg", "")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")
        yield url
