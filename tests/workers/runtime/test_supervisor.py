"""Steps in real processes under a worker in this one, as in the embedded service. Nobody rings: the sweep finds all."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from app.jobs.values import JobState
from app.storage.database import utc_now
from tests.waiting import PATIENCE_SECONDS, wait_until
from tests.workers.job_bench import JobBench, alive, only_step
from tests.workers.sample import SAMPLE
from tests.workers.slow import SLOW
from workers.runtime import supervisor
from workers.runtime.celery import EmbeddedWorker


@pytest.fixture
def worker(bench: JobBench) -> Iterator[EmbeddedWorker]:
    settings = bench.settings.model_copy(update={"job_attempts": 2})
    with EmbeddedWorker(settings, SAMPLE) as worker:
        yield worker


@pytest.mark.usefixtures("worker")
def test_step_reports_progress_and_its_results_are_applied_once(bench: JobBench) -> None:
    bench.enqueue("count", n=4)
    bench.reaches(JobState.SUCCEEDED)
    assert bench.results() == [(10, 1)]
    assert bench.job().progress["done"] == 4
    assert bench.diary() == ["1 1", "1 2", "1 3", "1 4"]


@pytest.mark.usefixtures("worker")
def test_step_enqueues_what_comes_next_in_the_transaction_that_ends_it(bench: JobBench) -> None:
    bench.enqueue("count", n=1, then=[{"n": 2, "then": [{"n": 3}]}])
    bench.all_end(3)
    assert [total for total, _ in bench.results()] == [1, 3, 6]


@pytest.mark.usefixtures("worker")
def test_step_killed_midway_resumes_and_ends_as_if_undisturbed(bench: JobBench) -> None:
    bench.enqueue("count", n=5, wait_at=3)
    bench.reaches_number(3)
    os.kill(only_step(), signal.SIGKILL)
    bench.open_gate("count")
    bench.reaches(JobState.SUCCEEDED)
    assert bench.results() == [(15, 2)]
    assert bench.diary() == ["1 1", "1 2", "1 3", "2 4", "2 5"]


def test_a_step_stands_back_where_others_want_the_processor(bench: JobBench) -> None:
    settings = bench.settings.model_copy(update={"step_niceness": 7})
    with EmbeddedWorker(settings, SAMPLE):
        bench.enqueue("count", n=5, wait_at=3)
        bench.reaches_number(3)
        step = only_step()
        assert psutil.Process(step).nice() == os.nice(0) + 7
        session = Path(f"/proc/{step}/autogroup")
        if session.exists():
            assert session.read_text().split()[-1] == "7"
        bench.open_gate("count")
        bench.reaches(JobState.SUCCEEDED)


@pytest.mark.parametrize(
    ("how", "most", "attempts", "reasons"),
    [
        ("exception", 5, 2, ["failed: RuntimeError: these are its last words Nobody foresaw this"]),
        ("connection", 3, 3, ["ended with exit status 1: ConnectionError: these are its last words"]),
        (
            "SIGSEGV",
            5,
            2,
            [
                "was killed by SIGSEGV: Fatal Python error: Segmentation fault",
                "A native library read or wrote where it must not. The same step is likely to end so again",
            ],
        ),
        ("SIGKILL", 5, 3, ["was killed by SIGKILL", "out of memory"]),
        ("return", 2, 2, ["returned without finishing its job"]),
    ],
)
def test_step_that_always_crashes_is_repeated_as_often_as_may_help_and_fails_with_how_and_its_last_words(
    bench: JobBench, how: str, most: int, attempts: int, reasons: list[str]
) -> None:
    """By its own fault once more, killed from outside twice, and where its surroundings are at fault as often as is
    set."""
    with EmbeddedWorker(bench.settings.model_copy(update={"job_attempts": most}), SAMPLE):
        bench.enqueue("crash", how=how)
        bench.reaches(JobState.FAILED)
    assert bench.job().attempts == attempts
    (told,) = bench.reasons()
    assert told == bench.job().error
    assert told.startswith("Step 'crash'")
    assert [reason for reason in reasons if reason not in told] == []
    assert ("these are its last words" in told) is (how in ("exception", "connection"))
    assert told.endswith(f"(attempt {attempts} of {attempts})")
    assert len(told) < 1700


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(("how", "attempts"), [("embedder asks", 0), ("embedder in vain", 1)])
def test_a_pause_that_an_embedder_asks_for_is_kept_by_the_next_attempt(
    bench: JobBench, how: str, attempts: int
) -> None:
    began = utc_now()
    bench.enqueue("crash", how=how)
    wait_until(lambda: bench.job().error is not None, "the step to be let go")
    assert (bench.job().state, bench.job().attempts) == (JobState.QUEUED, attempts)
    assert (bench.available_at() - began).total_seconds() > 3_500


@pytest.mark.usefixtures("worker")
def test_step_that_cannot_succeed_fails_at_once_with_its_reason(bench: JobBench) -> None:
    bench.enqueue("fail")
    bench.reaches(JobState.FAILED)
    assert (bench.job().attempts, bench.reasons()) == (1, ["the dataset has no pairs; add some"])


@pytest.mark.usefixtures("worker")
def test_step_that_its_data_fails_is_not_tried_again_and_says_so_in_plain_words(bench: JobBench) -> None:
    bench.enqueue("crash", how="data")
    bench.reaches(JobState.FAILED)
    (told,) = bench.reasons()
    assert bench.job().attempts == 1
    assert told.startswith("This cannot be worked out from the data as it is: division by zero.")
    assert "Error" not in told


@pytest.mark.usefixtures("worker")
def test_cancelled_step_is_killed_even_if_it_is_deaf(bench: JobBench) -> None:
    bench.enqueue("hang")
    wait_until(lambda: bool(bench.diary()), "the step to begin")
    pid = only_step()
    bench.cancel()
    bench.reaches(JobState.CANCELLED)
    assert not alive(pid)
    assert bench.reasons() == []


@pytest.mark.usefixtures("worker")
def test_step_whose_lease_was_taken_is_ended_and_writes_nothing(bench: JobBench) -> None:
    bench.enqueue("linger")
    wait_until(lambda: bool(bench.diary()), "the step to begin")
    pid = only_step()
    bench.give_lease_to_another()
    wait_until(lambda: not alive(pid), "the step to be ended")
    bench.open_gate("linger")
    assert bench.results() == []
    assert bench.job().state == JobState.RUNNING


def test_stopping_worker_kills_its_step_and_hands_the_job_back(bench: JobBench) -> None:
    worker = EmbeddedWorker(bench.settings, SAMPLE)
    worker.start()
    bench.enqueue("hang")
    wait_until(lambda: bool(bench.diary()), "the step to begin")
    pid = only_step()
    worker.stop()
    assert not alive(pid)
    assert (bench.job().state, bench.job().attempts) == (JobState.QUEUED, 0)


def test_worker_can_be_started_again_in_the_same_process(bench: JobBench) -> None:
    for number in range(2):
        with EmbeddedWorker(bench.settings, SAMPLE):
            bench.enqueue("count", n=1)
            bench.all_end(number + 1)


def test_step_that_does_not_notice_its_lost_lease_still_writes_nothing(bench: JobBench) -> None:
    settings = bench.settings.model_copy(update={"heartbeat_seconds": 600.0})
    with EmbeddedWorker(settings, SAMPLE):
        bench.enqueue("linger")
        wait_until(lambda: bool(bench.diary()), "the step to begin")
        pid = only_step()
        bench.give_lease_to_another()
        bench.open_gate("linger")
        wait_until(lambda: not alive(pid), "the step to end")
    assert bench.results() == []
    assert bench.job().state == JobState.RUNNING


def test_a_step_that_takes_long_to_start_has_its_lease_renewed_and_is_started_once(bench: JobBench) -> None:
    settings = bench.settings.model_copy(update={"worker_concurrency": 2})
    with EmbeddedWorker(settings, SLOW):
        bench.enqueue("count", n=1)
        claimed_until = wait_until(bench.lease_ends, "the job to be claimed")
        wait_until(lambda: bench.lease_ends() != claimed_until, "the lease to be renewed")
        bench.open_gate("start")
        bench.reaches(JobState.SUCCEEDED)
    assert bench.results() == [(1, 1)]


def test_a_step_that_a_shutdown_ends_before_its_worker_costs_no_attempt(
    bench: JobBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_LINGER_SECONDS", PATIENCE_SECONDS)  # until the worker is asked, too
    with EmbeddedWorker(bench.settings, SAMPLE):
        bench.enqueue("count", n=2, wait_at=1)
        bench.reaches_number(1)
        os.kill(only_step(), signal.SIGTERM)
    assert (bench.job().state, bench.job().attempts, bench.job().error) == (JobState.QUEUED, 0, None)
