from collections.abc import Iterator

import pytest

from app.settings import Settings
from app.storage.database import Database
from tests.workers.job_bench import JobBench
from tests.workers.workshop import Workshop, workshop


@pytest.fixture
def bench(settings: Settings, database: Database) -> JobBench:
    """On SQLite; nobody rings."""
    return JobBench.on(settings, database)


@pytest.fixture
def shop(settings: Settings) -> Iterator[Workshop]:
    """On SQLite, with nothing in it."""
    with workshop(settings) as made:
        yield made
