"""The gateway that is tried: on PostgreSQL, which takes fewer texts than SQLite; in a long run on both."""

import os
from collections.abc import Iterator

import httpx
import pytest

from app.settings import Settings
from tests.services import postgres_database
from tests.serving import serving

LONG = "CROSSWALK_TEST_FUZZ_EXAMPLES"


@pytest.fixture(params=["postgresql", "sqlite"] if LONG in os.environ else ["postgresql"])
def gateway(request: pytest.FixtureRequest, settings: Settings) -> Iterator[httpx.Client]:
    """A service without a worker, so that what is begun stays begun."""
    if request.param == "sqlite":
        with serving(settings) as client:
            yield client
        return
    with (
        postgres_database(request.getfixturevalue("postgres")) as url,
        serving(settings.model_copy(update={"database_url": url})) as client,
    ):
        yield client
