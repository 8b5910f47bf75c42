"""A client of the real service, for every test of the gateway."""

from collections.abc import Iterator

import httpx
import pytest

from app.settings import Settings
from tests.services import postgres_database
from tests.serving import serving


@pytest.fixture(scope="module")
def shared_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """One service for a module's tests that leave nothing behind in it."""
    with serving(Settings(data_dir=tmp_path_factory.mktemp("data"), json_limit_bytes=100_000)) as client:
        yield client


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def each_shared_client(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """One service for a module's tests that leave nothing behind in it; they run on SQLite and on PostgreSQL."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("data"))
    if request.param == "sqlite":
        with serving(settings) as client:
            yield client
        return
    with (
        postgres_database(request.getfixturevalue("postgres"), request.getfixturevalue("postgres_template")) as url,
        serving(settings.model_copy(update={"database_url": url})) as client,
    ):
        yield client


@pytest.fixture
def client(settings: Settings) -> Iterator[httpx.Client]:
    """A service on SQLite, with nothing registered and no worker, for each test anew."""
    with serving(settings) as client:
        yield client


@pytest.fixture
def each_client(each_settings: Settings) -> Iterator[httpx.Client]:
    """A service with nothing registered and no worker, for each test on SQLite and on PostgreSQL in turn."""
    with serving(each_settings) as client:
        yield client
