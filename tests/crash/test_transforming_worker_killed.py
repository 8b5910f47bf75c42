"""One of two workers that transform a gallery is killed: its unit is done by the other, and nothing else again."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.composition import compose
from app.failpoints import FAILPOINT, JOURNAL, Failpoint, Trigger
from app.jobs.values import JobState
from app.settings import Settings
from tests.serving import serving
from tests.waiting import PATIENCE_SECONDS, wait_until
from tests.workers.steps.shared_transformation import GONE, ITEMS, UNIT_ROWS, SharedTransformation
from workers.runtime.child_process import environment


@contextmanager
def worker(settings: Settings, more: Mapping[str, str] | None = None) -> Iterator["subprocess.Popen[bytes]"]:
    """A process of `crosswalk worker`."""
    command = [sys.executable, "-m", "app.cli", "worker"]
    with subprocess.Popen(command, env={**environment(settings), **(more or {})}) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(PATIENCE_SECONDS)


@pytest.fixture
def shared(settings: Settings, postgres_url: str, redis_url: str) -> Iterator[SharedTransformation]:
    more = {"database_url": postgres_url, "broker_url": redis_url, "transform_unit_rows": UNIT_ROWS}
    distributed = settings.model_copy(update=more)
    crosswalk = compose(distributed)
    with serving(distributed) as client:
        yield SharedTransformation(client, crosswalk)
    crosswalk.close()


def test_the_unit_of_a_worker_that_was_killed_is_done_by_another(shared: SharedTransformation, tmp_path: Path) -> None:
    settings = shared.crosswalk.settings
    stop = Trigger(Failpoint.UNIT_CLAIMED, "step", 1, "stop")
    journal = tmp_path / "journal"
    journal.touch()
    with worker(settings, {FAILPOINT: str(stop), JOURNAL: str(journal)}) as killed:
        claimed = f"{stop.kind} {stop.point}\n"
        wait_until(lambda: claimed in journal.read_text(), "the first unit to be claimed")
        with worker(settings):
            wait_until(
                lambda: shared.done().rows == ITEMS - GONE - UNIT_ROWS, "all but the first unit", last=shared.done
            )
            done = shared.pieces()
            os.kill(killed.pid, signal.SIGKILL)
            killed.wait(PATIENCE_SECONDS)
            shared.expire()
            wait_until(lambda: shared.job_state() == JobState.SUCCEEDED, "the other to end it", last=shared.job_state)
    shared.is_transformed()
    assert len(done) == 4
    assert shared.has_pieces(done)
