from collections.abc import Iterator

import pytest

from app.forking import forked_process
from app.settings import Settings
from app.storage.database import Database
from tests.nursery import Nursery
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


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    with Nursery.of_module("tests.workers.fork_servers") as nursery:
        yield nursery


@pytest.fixture
def quick_fork_servers(nursery: Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of what steps do, not of how they come to be: their fork servers need import nothing."""
    monkeypatch.setattr(forked_process, "start_interpreter", nursery.start)
