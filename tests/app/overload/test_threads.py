"""What is handed over is done, by no more threads than there are to be, which end with whoever needs them."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import app
from app.overload.threads import HandedOver
from tests.waiting import PATIENCE_SECONDS, wait_until

NAME = "handed over in a test"


def _threads() -> int:
    return sum(thread.name == NAME for thread in threading.enumerate())


def test_so_many_work_at_one_time_and_all_is_done() -> None:
    threads, let, done = HandedOver(2, NAME), threading.Event(), threading.Semaphore(0)
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        assert let.wait(PATIENCE_SECONDS)
        done.release()

    for number in range(5):
        threads.submit(partial(work, number))
    wait_until(lambda: len(begun) == 2, "both threads to begin")
    assert _threads() == 2
    let.set()
    assert all(done.acquire(timeout=PATIENCE_SECONDS) for _ in range(5))
    assert sorted(begun) == list(range(5))
    del threads
    gc.collect()
    wait_until(lambda: _threads() == 0, "the threads to end")


def test_a_thread_outlives_what_it_was_given_to_do() -> None:
    threads, done = HandedOver(1, NAME), threading.Event()

    def fail() -> None:
        raise ValueError("nobody expected this")

    threads.submit(fail)
    threads.submit(done.set)
    assert done.wait(PATIENCE_SECONDS)


def test_a_process_ends_though_one_of_them_waits_for_ever() -> None:
    waits = "import threading; from app.overload.threads import HandedOver; "
    waits += "threads = HandedOver(1, 'x'); threads.submit(threading.Event().wait)"
    environment = os.environ | {"PYTHONPATH": str(Path(app.__file__).parent.parent)}
    subprocess.run([sys.executable, "-c", waits], env=environment, check=True, timeout=PATIENCE_SECONDS)
