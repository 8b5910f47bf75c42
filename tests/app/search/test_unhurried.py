"""Work beside searches: one after the other, whatever fails, and none after the end."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from app.search.unhurried import Unhurried
from tests.waiting import PATIENCE_SECONDS, wait_until


def test_work_that_fails_does_not_keep_the_next_from_being_done() -> None:
    done: list[str] = []

    def failing() -> Iterator[None]:
        done.append("began")
        yield
        raise OSError("the disk is gone")

    def whole() -> Iterator[None]:
        done.append("first")
        yield
        done.append("second")

    work = Unhurried()
    for _ in range(2):  # its thread may have ended in between
        work.begin("failing", failing())
        work.begin("whole", whole())
        wait_until(lambda: not work.busy, "the work to be done")
    assert done == ["began", "first", "second"] * 2


def test_closing_lets_the_step_under_way_end_and_begins_no_other() -> None:
    begun, go_on, steps = threading.Event(), threading.Event(), []

    def endless() -> Iterator[None]:
        while True:
            begun.set()
            assert go_on.wait(PATIENCE_SECONDS)
            steps.append("done")
            yield

    work = Unhurried()
    work.begin("endless", endless())
    assert begun.wait(PATIENCE_SECONDS)
    closing = threading.Thread(target=work.close)
    closing.start()
    go_on.set()
    closing.join(PATIENCE_SECONDS)
    assert not closing.is_alive()
    assert not work.busy
    left = len(steps)
    work.begin("late", endless())
    assert not work.busy
    assert len(steps) == left
