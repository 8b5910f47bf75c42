"""Turns are given in the order of coming, and what waits is bounded in number and in time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from app.overload.waiting_line import WaitingLine
from app.problems import Overloaded
from tests.waiting import PATIENCE_SECONDS


def _run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), PATIENCE_SECONDS))


def test_turns_are_given_in_the_order_of_coming_and_no_more_than_there_are() -> None:
    async def test() -> None:
        line = WaitingLine("things", 2, 3, PATIENCE_SECONDS)
        assert [line.take_free() for _ in range(3)] == [True, True, False]
        places = [line.join() for _ in range(3)]
        assert (line.in_turn, line.waiting) == (2, 3)
        for count in range(3):
            line.give_back()
            assert [place.done() for place in places] == [place <= count for place in range(3)]
        assert (line.in_turn, line.waiting) == (2, 0)
        line.give_back()
        line.give_back()
        assert (line.in_turn, line.take_free()) == (0, True)

    _run(test)


def test_who_finds_the_line_full_is_refused_at_once_and_told_when_to_come_again() -> None:
    async def test() -> None:
        line = WaitingLine("things", 1, 1, PATIENCE_SECONDS)
        assert line.take_free()
        place = line.join()
        with pytest.raises(Overloaded, match="1 things wait") as refusal:
            line.join()
        assert refusal.value.headers is not None
        assert int(refusal.value.headers["Retry-After"]) >= 1
        assert (line.waiting, line.refused) == (1, 1)
        line.give_back()
        assert place.done()

    _run(test)


def test_who_waits_for_too_long_is_refused_and_the_next_turn_is_of_those_who_came_later() -> None:
    async def test() -> None:
        line = WaitingLine("things", 1, 2, 0.01)
        assert line.take_free()
        with pytest.raises(Overloaded, match="without a turn"):
            await line.join()
        assert (line.in_turn, line.waiting, line.refused) == (1, 0, 1)
        later = line.join()
        line.give_back()
        assert later.result() is None
        assert line.in_turn == 1

    _run(test)


def test_who_leaves_the_line_is_passed_and_who_leaves_with_a_turn_gives_it_to_the_next() -> None:
    async def test() -> None:
        line = WaitingLine("things", 1, 3, PATIENCE_SECONDS)
        assert line.take_free()
        first, second, third = (line.join() for _ in range(3))
        line.leave(first)
        line.give_back()
        assert (first.cancelled(), second.done(), third.done()) == (True, True, False)
        line.leave(second)
        assert third.done()
        line.leave(third)
        assert (line.in_turn, line.waiting) == (0, 0)

    _run(test)
