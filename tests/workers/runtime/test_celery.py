"""Rings reach workers through both brokers. Nothing is swept here but where a test says so: only a ring finds work."""

import time
from collections.abc import Iterator

import pytest

from app.jobs.doorbell import Doorbell
from app.jobs.values import JobState
from app.settings import Settings
from app.storage.database import Database
from tests.services import RedisServer, eventually
from tests.workers.job_bench import Bench
from tests.workers.sample import SAMPLE
from workers.runtime.celery import EmbeddedWorker

NEVER = 3600.0


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis server that the test may kill."""
    server = RedisServer()
    server.start()
    yield server
    server.kill()


def found_only_by_ringing(bench: Bench, bell: Doorbell) -> None:
    """Puts a job where a worker that just looked does not see it, then rings until it is done."""
    before = len(bench.all_jobs())
    bench.enqueue("count", n=1)
    time.sleep(0.5)
    assert bench.all_jobs()[-1].state == JobState.QUEUED, "it was found without a ring"

    def done() -> bool:
        # More than once, since a worker that has only just started may not be listening yet.
        bell.ring()
        return bench.all_jobs()[-1].state == JobState.SUCCEEDED

    eventually(done, "the ring to be heard")
    assert len(bench.all_jobs()) == before + 1


@pytest.fixture(params=["memory", "redis"])
def broker_url(request: pytest.FixtureRequest) -> str:
    return "memory://" if request.param == "memory" else str(request.getfixturevalue("redis_url"))


def test_ring_wakes_a_worker_that_is_not_looking(settings: Settings, database: Database, broker_url: str) -> None:
    settings = settings.model_copy(update={"broker_url": broker_url, "sweep_seconds": NEVER})
    bench = Bench.on(settings, database)
    bench.enqueue("count", n=1)
    with EmbeddedWorker(settings, SAMPLE):
        bench.all_end(1)
        time.sleep(1.0)  # The end of a step makes the worker look once more.
        found_only_by_ringing(bench, Doorbell(settings))


def test_ring_is_heard_by_an_idle_worker_though_another_is_busy(
    settings: Settings, database: Database, redis_url: str
) -> None:
    settings = settings.model_copy(update={"broker_url": redis_url, "sweep_seconds": NEVER})
    bench = Bench.on(settings, database)
    bell = Doorbell(settings)
    bench.enqueue("hang")
    with bench.worker_process() as busy:
        eventually(lambda: len(busy.steps()) == 1, "the first worker to be busy")
        bench.enqueue("count", n=1)
        with EmbeddedWorker(settings, SAMPLE):
            eventually(lambda: bench.results() == [(1, 1)], "the second worker to have found work")
            time.sleep(1.0)
            # One ring for each: were a ring delivered to one worker alone, the busy one would swallow half of them.
            for _ in range(4):
                bench.enqueue("count", n=1)
                bell.ring()
                eventually(lambda: bench.all_jobs()[-1].state == JobState.SUCCEEDED, "the one ring to be heard", 20.0)


def test_without_a_broker_nothing_fails_and_the_sweep_finds_the_work(
    settings: Settings, database: Database, own_redis: RedisServer
) -> None:
    settings = settings.model_copy(update={"broker_url": own_redis.url})
    bell = Doorbell(settings)
    assert bell.reachable()
    bench = Bench.on(settings, database, bell.ring)
    with EmbeddedWorker(settings, SAMPLE):
        bench.enqueue("count", n=1)
        bench.all_end(1)
        own_redis.kill()
        assert not bell.reachable()
        bench.enqueue("count", n=2)
        bench.all_end(2)


def test_rings_are_heard_again_once_the_broker_is_back(
    settings: Settings, database: Database, own_redis: RedisServer
) -> None:
    settings = settings.model_copy(update={"broker_url": own_redis.url, "sweep_seconds": NEVER})
    bench = Bench.on(settings, database)
    bench.enqueue("count", n=1)
    with EmbeddedWorker(settings, SAMPLE):
        bench.all_end(1)
        own_redis.kill()
        own_redis.start()
        time.sleep(1.0)
        bell = Doorbell(settings)
        assert bell.reachable()
        found_only_by_ringing(bench, bell)
