"""Steps are forked from a process that lives no longer than its worker, nor they than it."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from app.forking import forked_process
from app.forking.fork_orders import ForkOrder
from app.forking.forked_process import ForkedProcess, ForkServer
from app.jobs.leases import Leases
from app.jobs.values import JobState
from app.settings import Settings
from tests.waiting import PATIENCE_SECONDS, wait_until
from tests.workers.job_bench import JobBench, alive, command_line, only_step
from tests.workers.sample import SAMPLE
from workers.runtime import supervisor
from workers.runtime.celery import EmbeddedWorker
from workers.runtime.child_process import Child, environment

SERVER = "app.forking.fork_server"
POEM = ForkOrder("this", (), ())


@pytest.fixture
def forks(settings: Settings) -> Iterator[ForkServer]:
    server = ForkServer(environment(settings))
    yield server
    server.close()


def servers() -> list[psutil.Process]:
    """Those of steps, which alone are given settings."""
    found = [child for child in psutil.Process().children() if SERVER.encode() in command_line(child.pid)]
    return [server for server in found if _is_given_settings(server)]


def _is_given_settings(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):  # it may end while it is looked at
        return "CROSSWALK_DATA_DIR" in process.environ()
    return False


def said(output: int) -> str:
    with open(output) as lines:
        return lines.read()


def test_a_forked_process_runs_a_module_and_its_output_and_exit_status_are_told(forks: ForkServer) -> None:
    ours, theirs = os.pipe()
    process = forks.fork(POEM, theirs)
    os.close(theirs)
    assert said(ours).startswith("The Zen of Python")
    assert process.wait(PATIENCE_SECONDS) == 0
    assert process.pid not in (None, servers()[0].pid)


def test_a_process_that_is_given_up_before_it_is_born_does_nothing(forks: ForkServer) -> None:
    ours, theirs = os.pipe()
    assert forks.fork(POEM, theirs).wait(PATIENCE_SECONDS) == 0
    (server,) = servers()
    server.suspend()
    forks.fork(POEM, theirs).close()
    os.close(theirs)
    server.resume()
    assert said(ours).count("The Zen of Python") == 1


def test_what_steps_are_forked_from_outlives_the_thread_that_first_needed_it(forks: ForkServer) -> None:
    def fork() -> None:
        ours, theirs = os.pipe()
        process = forks.fork(POEM, theirs)
        os.close(theirs)
        said(ours)
        assert process.wait(PATIENCE_SECONDS) == 0

    first = threading.Thread(target=fork)
    first.start()
    first.join()
    (server,) = servers()
    fork()
    assert servers() == [server]


def test_what_an_import_started_and_left_behind_ends_nothing(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "leaving_a_child.py").write_text("import subprocess\nleft = subprocess.Popen(['true'])\n")
    monkeypatch.syspath_prepend(tmp_path)
    with closing(ForkServer(environment(settings))) as forks:
        ours, theirs = os.pipe()
        process = forks.fork(ForkOrder("this", (), ("leaving_a_child",)), theirs)
        os.close(theirs)
        assert said(ours).startswith("The Zen of Python")
        assert process.wait(PATIENCE_SECONDS) == 0
        (server,) = servers()
        wait_until(lambda: not server.children(), "what was left behind to be buried")
        assert servers() == [server]


def leaves_a_trace(name: str, folder: Path) -> Path:
    """Makes a module that leaves the file returned when it is imported."""
    trace = folder / f"{name}.txt"
    (folder / f"{name}.py").write_text(f"open({str(trace)!r}, 'a').write('imported')\n")
    return trace


def test_what_will_be_forked_finds_imported_what_was_prepared(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = leaves_a_trace("imported_once", tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with closing(ForkServer(environment(settings))) as forks:
        forks.prepare(("imported_once",))
        wait_until(trace.exists, "the module to be imported")
        ours, theirs = os.pipe()
        process = forks.fork(ForkOrder("this", (), ("imported_once",)), theirs)
        os.close(theirs)
        assert said(ours).startswith("The Zen of Python")
        assert process.wait(PATIENCE_SECONDS) == 0
    assert trace.read_text() == "imported"


def test_what_was_prepared_is_asked_for_once_of_one_server_and_anew_of_the_next(
    forks: ForkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[bytes] = []
    send = socket.send_fds

    def counted(to: socket.socket, data: list[bytes], descriptors: list[int]) -> int:
        sent.extend(data)
        return send(to, data, descriptors)

    monkeypatch.setattr(socket, "send_fds", counted)
    forks.prepare(("this",))
    forks.prepare(("this",))
    assert len(sent) == 1
    forks.prepare(("this", "string"))
    assert len(sent) == 2
    with open(os.devnull, "w") as nothing:
        forks.renew(forks.fork(POEM, nothing.fileno()))
    forks.prepare(("this",))
    assert len(sent) == 4


def test_what_a_waiting_step_imports_is_imported_while_another_runs(
    bench: JobBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace, first = leaves_a_trace("of_a_waiting_step", tmp_path), leaves_a_trace("of_the_first_step", tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    more = {"waiting": "of_a_waiting_step", "first": "of_the_first_step"}
    program = replace(SAMPLE, steps={**SAMPLE.steps, **more}, first=("first",))
    for step in ("linger", "waiting"):
        bench.enqueue(step)
    with EmbeddedWorker(bench.settings, program):
        wait_until(first.exists, "the worker to make ready")
        wait_until(trace.exists, "the module to be imported")
        assert [job.state for job in bench.all_jobs()] == [JobState.RUNNING, JobState.QUEUED]


def test_a_step_that_is_born_while_it_is_ended_is_ended(
    bench: JobBench, forks: ForkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = os.pipe()
    assert forks.fork(POEM, theirs).wait(PATIENCE_SECONDS) == 0
    for descriptor in (ours, theirs):
        os.close(descriptor)
    (server,) = servers()
    server.suspend()
    bench.enqueue("hang")
    lease = Leases(bench.database, bench.settings, SAMPLE.failed(bench.settings)).claim(SAMPLE.steps)
    assert lease is not None
    child, wait, waits = Child(SAMPLE, bench.settings, lease, forks), ForkedProcess.wait, list[float]()

    def born_late(process: ForkedProcess, timeout: float) -> int | None:
        waits.append(timeout)
        if len(waits) == 2:
            server.resume()
            wait_until(lambda: wait(process, 0) is None and process.pid is not None, "the step to be born")
        return wait(process, 0)

    monkeypatch.setattr(ForkedProcess, "wait", born_late)
    child.stop()
    pid = child.pid
    assert pid is not None
    wait_until(lambda: not alive(pid), "the step to die")


def test_all_steps_come_from_one_process_that_ends_with_the_worker(bench: JobBench) -> None:
    with EmbeddedWorker(bench.settings, SAMPLE):
        bench.enqueue("count", n=1)
        bench.all_end(1)
        (first,) = servers()
        bench.enqueue("count", n=1, then=[{"n": 2}])
        bench.all_end(3)
        assert servers() == [first]
    assert not alive(first.pid)


def test_the_death_of_what_steps_are_forked_from_ends_the_step_and_another_takes_over(bench: JobBench) -> None:
    with EmbeddedWorker(bench.settings, SAMPLE):
        bench.enqueue("linger")
        wait_until(lambda: bool(bench.diary()), "the step to begin")
        pid = only_step()
        server = psutil.Process(pid).parent()
        assert server is not None
        server.kill()
        wait_until(lambda: not alive(pid), "the step to die")
        wait_until(lambda: len(bench.diary()) == 2, "the step to begin again")
        bench.open_gate("linger")
        bench.reaches(JobState.SUCCEEDED)
    assert bench.job().attempts == 2


def test_a_worker_that_is_killed_leaves_no_process_behind(bench: JobBench) -> None:
    bench.enqueue("hang")
    with bench.worker_process() as worker:
        pid = only_step(worker)
        wait_until(lambda: bool(bench.diary()), "the step to begin")
        server = psutil.Process(pid).ppid()
        worker.kill()
    wait_until(lambda: not alive(pid) and not alive(server), "step and fork server to die")


def test_a_shutdown_that_asks_everyone_to_end_costs_no_attempt(
    bench: JobBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_LINGER_SECONDS", PATIENCE_SECONDS)  # until the worker is asked, too
    with EmbeddedWorker(bench.settings, SAMPLE):
        bench.enqueue("count", n=2, wait_at=1)
        bench.reaches_number(1)
        step = only_step()
        for pid in (psutil.Process(step).ppid(), step):
            os.kill(pid, signal.SIGTERM)
    assert (bench.job().state, bench.job().attempts, bench.job().error) == (JobState.QUEUED, 0, None)


def test_what_steps_are_forked_from_goes_when_nothing_is_to_do_and_comes_back(
    bench: JobBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forked_process, "_REST_SECONDS", 0.0)
    monkeypatch.setattr(forked_process, "_LOOK_SECONDS", 0.05)
    with EmbeddedWorker(bench.settings, SAMPLE):
        for number in (1, 2):
            bench.enqueue("count", n=1)
            bench.all_end(number)
            wait_until(lambda: not servers(), "the fork server to end")


def test_where_nothing_can_be_forked_a_step_has_an_interpreter_of_its_own(bench: JobBench) -> None:
    bench.enqueue("count", n=1)
    leases = Leases(bench.database, bench.settings, SAMPLE.failed(bench.settings))
    lease = leases.claim(SAMPLE.steps)
    assert lease is not None
    child = Child(SAMPLE, bench.settings, lease)
    wait_until(lambda: child.wait(0) is not None, "the step to end")
    child.stop()
    assert bench.results() == [(1, 1)]
