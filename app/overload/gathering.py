"""Calls that come faster than they are answered are answered together: those that wait for one go into the next."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

About = TypeVar("About", bound=Hashable)
One = TypeVar("One")
Answer = TypeVar("Answer")

_LONG_SECONDS = 0.002

AnswerAll = Callable[[About, Sequence[One]], Sequence[Answer | Exception]]
"""Answers each of several, in their order, or says what is wrong with it. Called in threads."""


class Gathering(Generic[About, One, Answer]):
    """Answers one at a time while nobody waits, and otherwise as many at once as are waiting.

    Only what is about the same is answered together. Each call of the function begins after all that it answers came,
    so that it sees whatever was written before. While a call takes long, another begins beside it: not sooner, since
    two that are short hinder each other more than they gain. For one event loop.
    """

    def __init__(self, answer: AnswerAll[About, One, Answer], calls: int, most: int, threads: CapacityLimiter) -> None:
        """calls: how many calls about the same run at one time; most: how many one call answers; threads: those that
        calls run in."""
        self._answer = answer
        self._calls = calls
        self._most = most
        self._threads = threads
        self._running: Counter[About] = Counter()
        self._waiting: dict[About, list[tuple[One, asyncio.Future[Answer]]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(self, about: About, one: One) -> Answer:
        """Raises what the function says is wrong with this one."""
        if self._running[about]:
            loop = asyncio.get_running_loop()
            future: asyncio.Future[Answer] = loop.create_future()
            if (waiting := self._waiting.get(about)) is None:
                waiting = self._waiting[about] = []
                if self._running[about] < self._calls:
                    loop.call_later(_LONG_SECONDS, self._begin_another, about, waiting)
            waiting.append((one, future))
            return await future
        self._running[about] += 1
        try:
            (answer,) = await run_sync(self._answer, about, [one], limiter=self._threads)
        finally:
            self._leave(about)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _begin_another(self, about: About, waiting: list[tuple[One, asyncio.Future[Answer]]]) -> None:
        """Has those that still wait answered beside the call that runs on."""
        if self._waiting.get(about) is waiting and self._running[about] < self._calls:
            self._running[about] += 1
            self._begin(about)

    def _begin(self, about: About) -> None:
        task = asyncio.get_running_loop().create_task(self._answer_waiting(about))
        self._tasks.add(task)  # else nothing would hold it, and it might be collected in the middle
        task.add_done_callback(self._tasks.discard)

    def _leave(self, about: About) -> None:
        """Ends a call: the place is taken by those that wait, if any do."""
        if about in self._waiting:
            self._begin(about)
            return
        self._running[about] -= 1
        if not self._running[about]:
            del self._running[about]

    async def _answer_waiting(self, about: About) -> None:
        waiting = self._waiting.pop(about, [])
        taken, left = waiting[: self._most], waiting[self._most :]
        if left:
            self._waiting[about] = left
        taken = [(one, future) for one, future in taken if not future.done()]  # others have gone away
        try:
            if taken:
                answers = await run_sync(self._answer, about, [one for one, _ in taken], limiter=self._threads)
                for (_, future), answer in zip(taken, answers, strict=True):
                    _settle(future, answer)
        except Exception as error:
            for _, future in taken:
                _settle(future, error)
        finally:
            for _, future in taken:
                future.cancel()  # those that are not answered: this is being cancelled
            self._leave(about)


def _settle(future: asyncio.Future[Answer], answer: Answer | Exception) -> None:
    if future.done():
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)
