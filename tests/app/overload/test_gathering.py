"""What comes while others are answered waits, is answered together, and is answered as if it had come alone."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import anyio
import pytest

from app.overload.gathering import Gathering
from app.overload.threads import HandedOver
from tests.waiting import PATIENCE_SECONDS, wait_until


class Doubling:
    """Doubles numbers, a call at a time once it is let; has nothing to say of 13."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[int]]] = []
        self.let = threading.Event()

    def __call__(self, about: str, numbers: Sequence[int]) -> list[int | Exception]:
        self.calls.append((about, list(numbers)))
        assert self.let.wait(PATIENCE_SECONDS)
        return [ValueError("13") if number == 13 else 2 * number for number in numbers]


def _gathering(doubling: Doubling, most: int = 10, calls: int = 1) -> Gathering[str, int, int]:
    return Gathering(doubling, calls, most, HandedOver(4, "doubling"))


async def _ask(gathering: Gathering[str, int, int], about: str, number: int, into: dict[int, object]) -> None:
    try:
        into[number] = await gathering.ask(about, number)
    except ValueError as error:
        into[number] = error


async def _until(calls: int, doubling: Doubling) -> None:
    await anyio.to_thread.run_sync(lambda: wait_until(lambda: len(doubling.calls) >= calls, "a call"))


async def _first_and_then(doubling: Doubling, gathering: Gathering[str, int, int], *numbers: int) -> dict[int, object]:
    """The answers to 1, whose call runs until the others wait, and to the others."""
    told: dict[int, object] = {}
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_ask, gathering, "a", 1, told)
        await _until(1, doubling)
        for number in numbers:
            tasks.start_soon(_ask, gathering, "a", number, told)
        await anyio.lowlevel.checkpoint()
        doubling.let.set()
    return told


def test_who_comes_alone_is_answered_alone() -> None:
    doubling = Doubling()
    doubling.let.set()

    async def ask() -> list[int]:
        gathering: Gathering[str, int, int] = _gathering(doubling)
        return [await gathering.ask("a", number) for number in range(5)]

    assert anyio.run(ask) == [0, 2, 4, 6, 8]
    assert [numbers for _, numbers in doubling.calls] == [[0], [1], [2], [3], [4]]


@pytest.mark.parametrize(("most", "calls"), [(10, [[1], [2, 3, 4, 5]]), (3, [[1], [2, 3, 4], [5]])])
def test_those_who_wait_are_answered_together_in_a_call_begun_after_they_came(
    most: int, calls: list[list[int]]
) -> None:
    doubling = Doubling()
    told = anyio.run(lambda: _first_and_then(doubling, _gathering(doubling, most), 2, 3, 4, 5))
    assert told == {number: 2 * number for number in range(1, 6)}
    assert [numbers for _, numbers in doubling.calls] == calls


def test_what_is_wrong_with_one_is_told_to_that_one_alone() -> None:
    doubling = Doubling()
    told = anyio.run(lambda: _first_and_then(doubling, _gathering(doubling), 2, 13, 3))
    assert isinstance(told.pop(13), ValueError)
    assert told == {1: 2, 2: 4, 3: 6}


def test_what_is_about_something_else_does_not_wait() -> None:
    doubling = Doubling()

    async def ask() -> dict[int, object]:
        gathering: Gathering[str, int, int] = _gathering(doubling)
        told: dict[int, object] = {}
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_ask, gathering, "a", 1, told)
            await _until(1, doubling)
            tasks.start_soon(_ask, gathering, "b", 2, told)
            await _until(2, doubling)
            doubling.let.set()
        return told

    assert anyio.run(ask) == {1: 2, 2: 4}


def test_who_went_away_is_passed_and_the_others_are_answered() -> None:
    doubling = Doubling()

    async def ask() -> dict[int, object]:
        gathering: Gathering[str, int, int] = _gathering(doubling)
        told: dict[int, object] = {}
        async with anyio.create_task_group() as tasks, anyio.create_task_group() as leaving:
            tasks.start_soon(_ask, gathering, "a", 1, told)
            await _until(1, doubling)
            leaving.start_soon(_ask, gathering, "a", 2, told)
            tasks.start_soon(_ask, gathering, "a", 3, told)
            await anyio.lowlevel.checkpoint()
            leaving.cancel_scope.cancel()
            doubling.let.set()
        return told

    assert anyio.run(ask) == {1: 2, 3: 6}
    assert [numbers for _, numbers in doubling.calls] == [[1], [3]]


def test_who_waits_for_a_call_that_takes_long_is_answered_by_another_beside_it() -> None:
    doubling = Doubling()

    async def ask() -> dict[int, object]:
        gathering = _gathering(doubling, calls=2)
        told: dict[int, object] = {}
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_ask, gathering, "a", 1, told)
            await _until(1, doubling)
            tasks.start_soon(_ask, gathering, "a", 2, told)
            await _until(2, doubling)  # though the first has not ended
            tasks.start_soon(_ask, gathering, "a", 3, told)
            await anyio.lowlevel.checkpoint()
            doubling.let.set()
        return told

    assert anyio.run(ask) == {1: 2, 2: 4, 3: 6}
    assert [numbers for _, numbers in doubling.calls] == [[1], [2], [3]]


def test_a_call_that_leaves_some_without_an_answer_is_told_to_all_of_them() -> None:
    async def ask() -> None:
        gathering: Gathering[str, int, int] = Gathering(lambda *_: [], 1, 10, HandedOver(1, "nothing"))
        with anyio.fail_after(PATIENCE_SECONDS):
            for number in range(2):
                with pytest.raises(RuntimeError, match="0 answers to 1"):
                    await gathering.ask("a", number)

    anyio.run(ask)
