"""A world in which models are trained, on both databases."""

from collections.abc import Iterator

import httpx
import pytest

from app.composition import compose
from app.settings import Settings
from tests.app.upgrades.training import Training


@pytest.fixture
def training(client: httpx.Client, settings: Settings) -> Iterator[Training]:
    crosswalk = compose(settings)
    yield Training(client, crosswalk)
    crosswalk.close()


@pytest.fixture
def each_training(each_client: httpx.Client, each_settings: Settings) -> Iterator[Training]:
    """On SQLite and on PostgreSQL in turn."""
    crosswalk = compose(each_settings)
    yield Training(each_client, crosswalk)
    crosswalk.close()
