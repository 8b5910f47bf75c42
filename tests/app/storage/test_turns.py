"""Turns at the connections: a session waits once, whatever it waits for, and writers leave some to readers."""

import threading
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
from sqlalchemy.exc import TimeoutError

from app.storage.turns import ConnectionTurns


def test_what_a_writer_waited_for_its_turn_to_write_it_does_not_wait_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now, waits = [100.0], []

    class TwentySeconds(threading.BoundedSemaphore):
        """Has a turn to give, twenty seconds after it was asked for."""

        def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
            waits.append(timeout)
            now[0] += 20
            return super().acquire(blocking, timeout)

    monkeypatch.setattr("app.storage.turns.threading", SimpleNamespace(BoundedSemaphore=TwentySeconds))
    monkeypatch.setattr("app.storage.turns.time", SimpleNamespace(monotonic=lambda: now[0]))
    with ConnectionTurns(4, 30.0).held(writes=True):
        assert waits == [30.0, 10.0]
    with ConnectionTurns(4, 15.0).held(writes=True):
        assert waits[2:] == [15.0, 0.0]


def test_readers_take_what_writers_leave_and_no_more_than_there_is() -> None:
    turns = ConnectionTurns(5, 0.0)
    with ExitStack() as stack:
        for writes in (True, True, False, False):
            stack.enter_context(turns.held(writes=writes))
        with pytest.raises(TimeoutError, match="another writer"), turns.held(writes=True):
            pass
        stack.enter_context(turns.held(writes=False))
        with pytest.raises(TimeoutError, match="another session"), turns.held(writes=False):
            pass
    with turns.held(writes=True), turns.held(writes=True):
        pass
