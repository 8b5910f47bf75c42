"""A whole worker is killed, in both arrangements: SQLite, and PostgreSQL with Redis."""

import pytest

from app.jobs.values import JobState
from app.settings import Settings
from app.storage.database import Database
from tests.waiting import wait_until
from tests.workers.job_bench import JobBench, alive, only_step


@pytest.fixture
def bench(each_settings: Settings, each_database: Database, request: pytest.FixtureRequest) -> JobBench:
    if each_settings.database_url is not None:
        each_settings = each_settings.model_copy(update={"broker_url": request.getfixturevalue("redis_url")})
    return JobBench.on(each_settings, each_database)


def test_step_dies_with_its_worker_and_another_worker_ends_it_as_if_undisturbed(bench: JobBench) -> None:
    bench.enqueue("count", n=5, wait_at=3, then=[{"n": 2}])
    with bench.worker_process() as worker:
        bench.reaches_number(3)
        step = only_step(worker)
        worker.kill()
        wait_until(lambda: not alive(step), "the step to die with its worker")
    bench.open_gate("count")
    bench.leases_expire()
    with bench.worker_process():
        bench.all_end(2)
    assert [total for total, _ in bench.results()] == [15, 3]
    assert [line.split()[1] for line in bench.diary()] == ["1", "2", "3", "4", "5", "1", "2"]


def test_worker_asked_to_stop_hands_its_job_back_and_exits_cleanly(bench: JobBench) -> None:
    bench.enqueue("hang")
    with bench.worker_process() as worker:
        wait_until(lambda: bool(bench.diary()), "the step to begin")
        step = only_step(worker)
        assert worker.ask_to_stop() == 0
        assert not alive(step)
    assert (bench.job().state, bench.job().attempts) == (JobState.QUEUED, 0)
