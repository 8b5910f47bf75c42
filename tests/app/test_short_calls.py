"""An event loop makes a call itself only once such calls turned out to be short, and never one that waits."""

from __future__ import annotations

import threading

import pytest

from app.short_calls import Pace, TakesLong, in_event_loop, leave_event_loop


def test_only_what_an_event_loop_calls_itself_is_refused_to_take_long() -> None:
    leave_event_loop()
    with in_event_loop(), pytest.raises(TakesLong):
        leave_event_loop()
    leave_event_loop()


def test_other_threads_may_take_long_meanwhile() -> None:
    refused: list[BaseException] = []

    def call() -> None:
        try:
            leave_event_loop()
        except TakesLong as error:
            refused.append(error)

    with in_event_loop():
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
    assert not refused


def test_to_take_long_is_no_failure_on_the_way() -> None:
    assert not issubclass(TakesLong, Exception)  # else whatever looks for failures on the way would take it for one


def test_the_first_call_is_made_in_a_thread_and_short_ones_then_are_not() -> None:
    pace = Pace()
    assert pace.fit == 0
    pace.took(0.0002, 1, in_loop=False)
    assert pace.fit == 10


def test_calls_that_take_long_stay_in_threads() -> None:
    pace = Pace()
    pace.took(0.01, 2, in_loop=False)
    assert pace.fit == 0


def test_calls_that_turn_out_long_in_the_event_loop_go_back_to_threads_and_are_tried_again() -> None:
    pace = Pace()
    pace.took(0.0025, 1, in_loop=False)
    assert pace.fit == 1
    for calls in (1, 2, 4):
        pace.took(0.0025, 1, in_loop=True)
        for _ in range(calls):
            assert pace.fit == 0
            pace.took(0.0025, 1, in_loop=False)
        assert pace.fit == 1
    for _ in range(12):
        pace.took(0.0004, 1, in_loop=True)
    assert pace.fit == 4


def test_who_came_to_what_takes_long_tries_again_after_twice_as_many_calls_each_time() -> None:
    pace = Pace()
    pace.took(0.0002, 1, in_loop=False)
    for calls in (1, 2, 4, 8, 16, 32, 64, 64):
        pace.refused()
        for _ in range(calls):
            assert pace.fit == 0
            pace.took(0.0002, 1, in_loop=False)
        assert pace.fit
    pace.took(0.0002, 1, in_loop=True)
    pace.refused()
    pace.took(0.0002, 1, in_loop=False)
    assert pace.fit


def test_a_call_that_kept_the_event_loop_for_long_has_the_next_made_in_a_thread() -> None:
    pace = Pace()
    for _ in range(20):
        pace.took(0.0001, 1, in_loop=False)
    pace.took(0.0001, 16, in_loop=True, kept=0.005)
    assert pace.fit == 0
    pace.took(0.0001, 1, in_loop=False)
    assert pace.fit


def test_as_many_are_answered_by_one_call_as_are_in_time_however_long_one_takes_alone() -> None:
    pace = Pace()
    pace.took(0.0012, 1, in_loop=False)
    seen = [pace.fit]
    while len(seen) < 12:
        pace.took(0.00095 + 0.0002 * seen[-1], seen[-1], in_loop=True)
        seen.append(pace.fit)
    assert seen == [1, 2, 3, 4, 5, 6, 5, 6, 5, 6, 5, 6]
    pace.took(0.02, 6, in_loop=True)
    assert pace.fit == 1


def test_calls_that_became_longer_answer_fewer_at_once() -> None:
    pace = Pace()
    pace.took(0.0001, 1, in_loop=False)
    for _ in range(4):
        pace.took(0.0001 * pace.fit, pace.fit, in_loop=True)
    assert pace.fit >= 20
    for _ in range(8):
        pace.took(0.001 * pace.fit, pace.fit, in_loop=True)
    assert pace.fit <= 3


def test_that_many_were_answered_in_time_is_forgotten_while_fewer_come() -> None:
    pace = Pace()
    pace.took(0.0001, 1, in_loop=False)
    for _ in range(20):
        pace.took(0.00005 * pace.fit, pace.fit, in_loop=True)
    for _ in range(40):
        pace.took(0.0015, 1, in_loop=True)
    assert pace.fit == 2
