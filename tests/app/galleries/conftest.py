"""A gallery that can be upgraded, on both databases."""

from collections.abc import Iterator

import httpx
import pytest

from app.composition import compose
from app.settings import Settings
from tests.app.galleries.upgraded import Upgraded


@pytest.fixture
def upgraded(client: httpx.Client, settings: Settings) -> Iterator[Upgraded]:
    crosswalk = compose(settings)
    yield Upgraded(client, crosswalk)
    crosswalk.close()


@pytest.fixture
def each_upgraded(each_client: httpx.Client, each_settings: Settings) -> Iterator[Upgraded]:
    """On SQLite and on PostgreSQL in turn."""
    crosswalk = compose(each_settings)
    yield Upgraded(each_client, crosswalk)
    crosswalk.close()
