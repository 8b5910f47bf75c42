import pytest

from app.database import Database
from app.settings import Settings
from tests.workers.bench import Bench


@pytest.fixture
def bench(settings: Settings, database: Database) -> Bench:
    """On SQLite; nobody rings."""
    return Bench.on(settings, database)
