"""`crosswalk demo` as its user runs and ends it: whatever ends it, no process of it is left, and no folder either."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.services import runs
from tests.waiting import PATIENCE_SECONDS, wait_until
from tests.workers.job_bench import command_line

_WHOLE_SECONDS = 3 * PATIENCE_SECONDS


@contextmanager
def demonstration(folder: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """The command in a process of its own, its folders in `folder/tmp`, what it prints in `folder/printed`."""
    (folder / "tmp").mkdir()
    environment = {**os.environ, "TMPDIR": str(folder / "tmp"), "CROSSWALK_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}
    with (folder / "printed").open("w") as printed:
        command = [sys.executable, "-u", "-m", "app.cli", "demo", *options]
        process = subprocess.Popen(command, stdout=printed, stderr=printed, env=environment, start_new_session=True)
    try:
        yield process
    finally:
        end(descendants(process.pid))
        process.kill()
        process.wait(PATIENCE_SECONDS)


def descendants(pid: int) -> list[psutil.Process]:
    try:
        children: list[psutil.Process] = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return children


def end(processes: list[psutil.Process]) -> None:
    for each in processes:
        with suppress(psutil.NoSuchProcess):
            each.kill()


def printed(folder: Path, process: subprocess.Popen[bytes], sentence: str, seconds: float) -> str:
    """What was printed once the sentence is there."""

    def has_printed() -> bool:
        runs_still = process.poll() is None  # asked first: it may print this and end right afterwards
        text = (folder / "printed").read_text()
        assert runs_still or sentence in text, text
        return sentence in text

    wait_until(has_printed, f"the demonstration to print {sentence!r}", seconds)
    return (folder / "printed").read_text()


def gone(processes: list[psutil.Process]) -> bool:
    return not any(runs(each) for each in processes)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda how: how.name)
def test_signal_ends_the_service_and_removes_the_folder(tmp_path: Path, how: signal.Signals) -> None:
    with demonstration(tmp_path) as process:
        printed(tmp_path, process, "Service at", PATIENCE_SECONDS)
        service = descendants(process.pid)
        assert any(b"serve" in command_line(each.pid) for each in service)
        assert list((tmp_path / "tmp").glob("crosswalk-demo-*"))
        process.send_signal(how)
        assert process.wait(PATIENCE_SECONDS) == 128 + how
        wait_until(lambda: gone(service), "the service to be gone")
    assert list((tmp_path / "tmp").glob("crosswalk-demo-*")) == []
    assert "Traceback" not in (tmp_path / "printed").read_text()


def test_service_ends_by_itself_where_the_demonstration_is_killed(tmp_path: Path) -> None:
    with demonstration(tmp_path) as process:
        printed(tmp_path, process, "Service at", PATIENCE_SECONDS)
        service = descendants(process.pid)
        assert any(b"serve" in command_line(each.pid) for each in service)
        process.kill()
        try:
            wait_until(lambda: gone(service), "the service to notice")
        finally:
            end(service)


def test_kept_service_ends_with_the_demonstration_which_foretells_what_it_measures(tmp_path: Path) -> None:
    with demonstration(tmp_path, "--keep") as process:
        screen = printed(tmp_path, process, "The service stays up", _WHOLE_SECONDS)
        service = descendants(process.pid)
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 0
        wait_until(lambda: gone(service), "the service to be gone")
    assert list((tmp_path / "tmp").glob("crosswalk-demo-*")) == []
    assert "warning" not in screen.lower()
    screen = " ".join(screen.split())
    assert re.search(r"of \d+ items were not re-embedded", screen)
    predicted = re.search(r"by what others taught: [\d.]+% \(([\d.]+)% to ([\d.]+)%\)", screen)
    measured = re.search(r"h\(old\)[^%]*?([\d.]+)%", screen)
    assert predicted, screen
    assert measured, screen
    assert float(predicted[1]) <= float(measured[1]) <= float(predicted[2]), screen


def test_table_of_the_users_own_is_upgraded_and_what_was_in_it_stays_to_the_bit(tmp_path: Path) -> None:
    with demonstration(tmp_path, "--pgvector") as process:
        screen = printed(tmp_path, process, "What was in the table before is", _WHOLE_SECONDS)
        started = descendants(process.pid)
        assert process.wait(PATIENCE_SECONDS) == 0
        wait_until(lambda: gone(started), "all that it started to be gone")
    assert "The embedder was asked for 500 texts" in screen
    assert "the same to the bit" in screen
    assert "embedding vector(64)" in screen
    assert "vector(384)" in screen
    assert "saw vectors of 384 numbers; rolled back, 64; activated again, 384" in screen
    assert "warning" not in screen.lower()
    assert list((tmp_path / "tmp").glob("crosswalk-demo-*")) == []
