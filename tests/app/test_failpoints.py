"""Failpoints: armed by the environment alone, counted over processes, and without effect where nothing is armed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from app.failpoints import FAILPOINT, JOURNAL, Failpoint, Trigger, arm
from tests.waiting import wait_until

PROGRAM = """
from app.failpoints import Failpoint, arm, reached
arm("step")
for _ in range(3):
    reached(Failpoint.INDEX_RENAMED)
print("alive")
"""
IN_A_THREAD = """
import threading
from app.failpoints import Failpoint, arm, reached
arm("step")
def work():
    reached(Failpoint.INDEX_RENAMED)
    print("went on", flush=True)
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""

TOGETHER = """
import threading
from app.failpoints import Failpoint, arm, reached
arm("step")
def work():
    for _ in range(100):
        reached(Failpoint.INDEX_RENAMED)
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def run(journal: Path | None, trigger: str | None = None, program: str = PROGRAM) -> "subprocess.CompletedProcess[str]":
    ours = {name: value for name, value in os.environ.items() if name not in (FAILPOINT, JOURNAL)}
    asked = {} if journal is None else {JOURNAL: str(journal)}
    asked |= {} if trigger is None else {FAILPOINT: trigger}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=ours | asked, capture_output=True, text=True, check=False)


def test_a_process_dies_at_the_time_named_counted_over_processes_and_only_once(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    killed = run(journal, "index.renamed@step*5=kill")
    assert (killed.returncode, killed.stdout) == (0, "alive\n")
    killed = run(journal, "index.renamed@step*5=kill")
    assert (killed.returncode, killed.stdout) == (-signal.SIGKILL, "")
    assert run(journal, "index.renamed@step*5=kill").stdout == "alive\n"
    assert journal.read_text() == "step index.renamed\n" * 8


@pytest.mark.parametrize("time", [1, 100, 250])
def test_no_time_is_passed_over_where_threads_get_there_together(tmp_path: Path, time: int) -> None:
    killed = run(tmp_path / "journal", f"index.renamed@step*{time}=kill", TOGETHER)
    assert killed.returncode == -signal.SIGKILL


def test_a_thread_stops_where_it_is(tmp_path: Path) -> None:
    variables = os.environ | {JOURNAL: str(tmp_path / "journal"), FAILPOINT: "index.renamed@step*1=stop"}
    command = [sys.executable, "-c", IN_A_THREAD]
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True) as process:
        wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED, "the process to stop")
        process.kill()
        assert process.stdout is not None
        assert process.stdout.read() == ""


def test_another_kind_of_process_goes_on(tmp_path: Path) -> None:
    assert run(tmp_path / "journal", "index.renamed@gateway*1=kill").stdout == "alive\n"


def test_nothing_happens_and_nothing_is_written_where_no_test_asks(tmp_path: Path) -> None:
    assert run(None, "index.renamed@step*1=kill").stdout == "alive\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "index.renamed", "no.such-point@step*1=kill", "index.renamed@step*0=kill"])
def test_a_trigger_that_nothing_can_reach_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r".+"):
        arm("step", {JOURNAL: str(tmp_path / "journal"), FAILPOINT: text})


def test_a_trigger_is_written_as_it_is_read() -> None:
    trigger = Trigger(Failpoint.SQL_COMMITTED, "worker", 7, "stop")
    assert Trigger.parse(str(trigger)) == trigger
