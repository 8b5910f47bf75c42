"""Rings reach workers through both brokers. Nothing is swept here but where a test says so: only a ring finds work."""

import time
from collections.abc import Iterator

import pytest

from app.jobs.doorbell import Doorbell
from app.jobs.values import JobState
from app.settings import Settings
from app.storage.database import Database
from tests.services import RedisServer
from tests.waiting import wait_until
from tests.workers.job_bench import JobBench
from tests.workers.sample import SAMPLE
from workers.runtime.celery import EmbeddedWorker
from workers.runtime.supervisor import Supervisor

NEVER = 3600.0


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis server that the test may kill."""
    server = RedisServer()
    server.start()
    yield server
    server.kill()


def found_only_by_ringing(bench: JobBench, bell: Doorbell) -> None:
    """Puts a job where the worker does not see it, then rings until it is done."""
    wait_until(lambda: left_alone(bench), "the worker to find no work by itself", last=bench.all_jobs)

    def done() -> bool:
        # More than once, since a worker that has only just started may not be listening yet.
        bell.ring()
        return bench.all_jobs()[-1].state == JobState.SUCCEEDED

    wait_until(done, "the ring to be heard", last=bench.all_jobs)


def left_alone(bench: JobBench) -> bool:
    """Whether a job that is put now waits. Not at first: the end of a step makes the worker look once more."""
    bench.enqueue("count", n=1)
    time.sleep(0.5)
    return bench.all_jobs()[-1].state == JobState.QUEUED


@pytest.fixture(params=["memory", "redis"])
def broker_url(request: pytest.FixtureRequest) -> str:
    return "memory://" if request.param == "memory" else str(request.getfixturevalue("redis_url"))


def test_ring_wakes_a_worker_that_is_not_looking(settings: Settings, database: Database, broker_url: str) -> None:
    settings = settings.model_copy(update={"broker_url": broker_url, "sweep_seconds": NEVER})
    bench = JobBench.on(settings, database)
    bench.enqueue("count", n=1)
    with EmbeddedWorker(settings, SAMPLE):
        bench.all_end(1)
        found_only_by_ringing(bench, Doorbell(settings))


def test_ring_is_heard_by_an_idle_worker_though_another_is_busy(
    settings: Settings, database: Database, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[Supervisor] = []
    wake = Supervisor.wake

    def counted(supervisor: Supervisor) -> None:
        woken.append(supervisor)
        wake(supervisor)

    monkeypatch.setattr(Supervisor, "wake", counted)
    settings = settings.model_copy(update={"broker_url": redis_url, "sweep_seconds": NEVER})
    bench = JobBench.on(settings, database)
    bell = Doorbell(settings)
    bench.enqueue("hang")
    with bench.worker_process() as busy:
        wait_until(lambda: len(busy.steps()) == 1, "the first worker to be busy")
        bench.enqueue("count", n=1)
        with EmbeddedWorker(settings, SAMPLE):
            wait_until(lambda: bench.results() == [(1, 1)], "the second worker to have found work")
            before = len(woken)

            def listens() -> bool:
                bell.ring()
                return len(woken) > before

            wait_until(listens, "the second worker to listen")
            # One ring for each: were a ring delivered to one worker alone, the busy one would swallow every other.
            for _ in range(2):
                wait_until(lambda: left_alone(bench), "the worker to find no work by itself", last=bench.all_jobs)
                bell.ring()
                wait_until(lambda: bench.all_jobs()[-1].state == JobState.SUCCEEDED, "the one ring to be heard")


def test_without_a_broker_nothing_fails_and_the_sweep_finds_the_work(
    settings: Settings, database: Database, own_redis: RedisServer
) -> None:
    settings = settings.model_copy(update={"broker_url": own_redis.url})
    bell = Doorbell(settings)
    wait_until(bell.reachable, "the broker to be reached")
    bench = JobBench.on(settings, database, bell.ring)
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
    bench = JobBench.on(settings, database)
    bench.enqueue("count", n=1)
    with EmbeddedWorker(settings, SAMPLE):
        bench.all_end(1)
        own_redis.kill()
        own_redis.start()
        bell = Doorbell(settings)
        wait_until(bell.reachable, "the broker to be reached")
        found_only_by_ringing(bench, bell)
