"""What comes while others are answered waits, is answered together, and is answered as if it had come alone."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextvars import ContextVar

import anyio
import pytest

from app import short_calls
from app.overload.gathering import Gathering
from app.overload.threads import HandedOver
from app.short_calls import leave_event_loop
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


@pytest.fixture
def everything_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a busy machine takes for it."""
    monkeypatch.setattr(short_calls, "_SECONDS", 3600.0)
    monkeypatch.setattr(short_calls, "_SECONDS_FOR_EACH", 60.0)


class Tripling:
    """Triples numbers at once; of those over 100, it has to wait."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[int], bool]] = []
        self.told: list[str | None] = []

    def __call__(self, about: str, numbers: Sequence[int]) -> list[int | Exception]:
        self.calls.append((list(numbers), threading.current_thread() is threading.main_thread()))
        if max(numbers) > 100:
            leave_event_loop()
        self.told.append(_OF_REQUEST.get())
        return [ValueError("13") if number == 13 else 3 * number for number in numbers]


_OF_REQUEST: ContextVar[str | None] = ContextVar("of_request", default=None)


def _tripled(tripling: Tripling, *rounds: Sequence[int], short: bool = True, most: int = 10) -> list[dict[int, object]]:
    """The answers to each round of numbers, whose requests come at one time."""

    async def one(gathering: Gathering[str, int, int], number: int, into: dict[int, object]) -> None:
        _OF_REQUEST.set(f"request {number}")
        await _ask(gathering, "a", number, into)

    async def ask() -> list[dict[int, object]]:
        gathering: Gathering[str, int, int] = Gathering(
            tripling, 1, most, HandedOver(4, "tripling"), lambda about: short
        )
        told: list[dict[int, object]] = []
        for numbers in rounds:
            told.append({})
            async with anyio.create_task_group() as tasks:
                for number in numbers:
                    tasks.start_soon(one, gathering, number, told[-1])
        return told

    return anyio.run(ask)


@pytest.mark.usefixtures("everything_is_short")
def test_short_calls_are_made_by_the_event_loop_with_all_that_came_by_then() -> None:
    tripling = Tripling()
    assert _tripled(tripling, [1], [2], [3, 4, 5]) == [{1: 3}, {2: 6}, {3: 9, 4: 12, 5: 15}]
    assert tripling.calls == [([1], False), ([2], True), ([3, 4, 5], True)]


def test_calls_that_may_not_leave_the_event_loop_are_made_in_threads() -> None:
    tripling = Tripling()
    assert _tripled(tripling, [1], [2], [3], short=False) == [{1: 3}, {2: 6}, {3: 9}]
    assert tripling.calls == [([1], False), ([2], False), ([3], False)]


@pytest.mark.usefixtures("everything_is_short")
def test_a_short_call_that_comes_to_what_takes_long_is_made_again_in_a_thread() -> None:
    tripling = Tripling()
    assert _tripled(tripling, [1], [2, 200, 3], [4], [5]) == [{1: 3}, {2: 6, 200: 600, 3: 9}, {4: 12}, {5: 15}]
    assert tripling.calls == [
        ([1], False),
        ([2, 200, 3], True),
        ([2, 200, 3], False),
        ([4], True),
        ([5], True),
    ]


@pytest.mark.usefixtures("everything_is_short")
def test_more_than_one_short_call_answers_are_answered_by_several() -> None:
    tripling = Tripling()
    assert _tripled(tripling, [1], [2, 3, 4, 5, 6], most=2)[1] == {2: 6, 3: 9, 4: 12, 5: 15, 6: 18}
    assert tripling.calls[1:] == [([2, 3], True), ([4, 5], True), ([6], True)]


@pytest.mark.usefixtures("everything_is_short")
def test_what_is_wrong_with_one_of_a_short_call_is_told_to_that_one_alone() -> None:
    told = _tripled(Tripling(), [1], [2, 13, 3])[1]
    assert isinstance(told.pop(13), ValueError)
    assert told == {2: 6, 3: 9}


@pytest.mark.usefixtures("everything_is_short")
def test_a_short_call_says_in_the_log_whose_it_is_where_it_is_of_one_request() -> None:
    tripling = Tripling()
    _tripled(tripling, [1], [2], [3, 4])
    assert tripling.told == ["request 1", "request 2", None]


@pytest.mark.usefixtures("everything_is_short")
def test_who_comes_while_a_call_runs_in_a_thread_waits_for_it() -> None:
    doubling = Doubling()
    doubling.let.set()

    async def ask() -> dict[int, object]:
        gathering: Gathering[str, int, int] = Gathering(doubling, 1, 10, HandedOver(4, "doubling"), lambda about: True)
        told: dict[int, object] = {}
        await _ask(gathering, "a", 1, told)
        gathering._paces["a"].refused()  # so that the next is made in a thread
        doubling.let.clear()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_ask, gathering, "a", 2, told)
            await _until(2, doubling)
            tasks.start_soon(_ask, gathering, "a", 3, told)
            await anyio.lowlevel.checkpoint()
            doubling.let.set()
        return told

    assert anyio.run(ask) == {1: 2, 2: 4, 3: 6}
    assert [numbers for _, numbers in doubling.calls] == [[1], [2], [3]]


@pytest.mark.usefixtures("everything_is_short")
def test_a_short_call_that_takes_too_long_after_all_leaves_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    tripling = Tripling()

    def answer(about: str, numbers: Sequence[int]) -> list[int | Exception]:
        monkeypatch.setattr(short_calls, "_SECONDS", 0.0)  # as if this call had taken longer than any may
        monkeypatch.setattr(short_calls, "_SECONDS_FOR_EACH", 0.0)
        return tripling(about, numbers)

    async def ask() -> dict[int, object]:
        gathering: Gathering[str, int, int] = Gathering(answer, 1, 1, HandedOver(4, "tripling"), lambda about: True)
        gathering._pace("a").took(0.0001, 1, in_loop=False)
        told: dict[int, object] = {}
        with anyio.fail_after(PATIENCE_SECONDS):
            async with anyio.create_task_group() as tasks:
                for number in (1, 2, 3):
                    tasks.start_soon(_ask, gathering, "a", number, told)
        return told

    assert anyio.run(ask) == {1: 3, 2: 6, 3: 9}
    assert tripling.calls[0] == ([1], True)
    assert tripling.calls[1] == ([2], False)


def _behind_a_thread(tripling: Tripling, *numbers: int) -> dict[int, object]:
    """The answers to 200, whose call a thread makes until the others have come, and to those."""
    let = threading.Event()

    def answer(about: str, asked: Sequence[int]) -> list[int | Exception]:
        if max(asked) > 100:
            leave_event_loop()
            assert let.wait(PATIENCE_SECONDS)
        return tripling(about, [min(number, 100) for number in asked])

    async def one(gathering: Gathering[str, int, int], number: int, told: dict[int, object]) -> None:
        _OF_REQUEST.set(f"request {number}")
        await _ask(gathering, "a", number, told)

    async def ask() -> dict[int, object]:
        gathering: Gathering[str, int, int] = Gathering(answer, 1, 10, HandedOver(4, "tripling"), lambda about: True)
        gathering._pace("a").took(0.0001, 1, in_loop=False)
        told: dict[int, object] = {}
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one, gathering, 200, told)
            while not gathering._running["a"]:
                await anyio.lowlevel.checkpoint()
            for number in numbers:
                tasks.start_soon(one, gathering, number, told)
            await anyio.lowlevel.checkpoint()
            let.set()
        return told

    return anyio.run(ask)


@pytest.mark.usefixtures("everything_is_short")
def test_those_who_wait_for_a_call_in_a_thread_are_answered_by_the_event_loop_once_it_has_ended() -> None:
    tripling = Tripling()
    assert _behind_a_thread(tripling, 2, 3) == {200: 300, 2: 6, 3: 9}
    assert tripling.calls == [([100], False), ([2, 3], True)]


@pytest.mark.usefixtures("everything_is_short")
def test_who_waited_for_a_call_in_a_thread_is_not_taken_for_who_asked_for_that_in_the_log() -> None:
    tripling = Tripling()
    assert _behind_a_thread(tripling, 2) == {200: 300, 2: 6}
    assert tripling.told == ["request 200", None]
