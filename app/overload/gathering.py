"""Calls that come faster than they are answered are answered together: those that wait for one go into the next."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Generic, TypeVar

from app.overload.threads import HandedOver

About = TypeVar("About", bound=Hashable)
One = TypeVar("One")
Answer = TypeVar("Answer")

_LONG_SECONDS = 0.002

AnswerAll = Callable[[About, Sequence[One]], Sequence[Answer | Exception]]
"""Answers each of several, in their order, or says what is wrong with it. Called in threads."""

Asked = list[tuple[One, "asyncio.Future[Answer]"]]
"""Those that wait for an answer."""


class Gathering(Generic[About, One, Answer]):
    """Answers one at a time while nobody waits, and otherwise as many at once as are waiting.

    Only what is about the same is answered together. Each call of the function begins after all that it answers came,
    so that it sees whatever was written before. While a call takes long, another begins beside it: not sooner, since
    two that are short hinder each other more than they gain. For one event loop.
    """

    def __init__(self, answer: AnswerAll[About, One, Answer], calls: int, most: int, threads: HandedOver) -> None:
        """calls: how many calls about the same run at one time; most: how many one call answers; threads: those that
        calls run in, and nothing else does."""
        self._answer = answer
        self._calls = calls
        self._most = most
        self._threads = threads
        self._running: Counter[About] = Counter()
        self._waiting: dict[About, Asked[One, Answer]] = {}

    async def ask(self, about: About, one: One) -> Answer:
        """Raises what the function says is wrong with this one."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        if not self._running[about]:
            self._running[about] += 1
            # Alone it keeps the context that it was asked in, and with it what log lines say of its request.
            self._threads.submit(partial(copy_context().run, self._call, loop, about, [(one, future)]))
            return await future
        if (waiting := self._waiting.get(about)) is None:
            waiting = self._waiting[about] = []
            if self._running[about] < self._calls:
                loop.call_later(_LONG_SECONDS, self._begin_another, loop, about, waiting)
        waiting.append((one, future))
        return await future

    def _begin_another(self, loop: asyncio.AbstractEventLoop, about: About, waiting: Asked[One, Answer]) -> None:
        """Has those that still wait answered beside the call that runs on."""
        if self._waiting.get(about) is waiting and self._running[about] < self._calls:
            self._running[about] += 1
            self._next(loop, about)

    def _next(self, loop: asyncio.AbstractEventLoop, about: About) -> None:
        """Takes the place of a call that has ended with one for those that wait, or gives the place up."""
        while (waiting := self._waiting.pop(about, None)) is not None:
            taken, left = waiting[: self._most], waiting[self._most :]
            if left:
                self._waiting[about] = left
            taken = [(one, future) for one, future in taken if not future.done()]  # others have gone away
            if taken:
                self._threads.submit(partial(self._call, loop, about, taken))
                return
        self._running[about] -= 1
        if not self._running[about]:
            del self._running[about]

    def _call(self, loop: asyncio.AbstractEventLoop, about: About, taken: Asked[One, Answer]) -> None:
        """In a thread: answers all that were taken, and tells the event loop."""
        answers: Sequence[Answer | Exception]
        try:
            answers = self._answer(about, [one for one, _ in taken])
            if len(answers) != len(taken):  # told to each here: in the event loop nobody would hear of it
                raise RuntimeError(f"{len(answers)} answers to {len(taken)} that were asked for")
        except Exception as error:
            answers = [error] * len(taken)
        with suppress(RuntimeError):  # the loop has ended, and nobody waits any more
            loop.call_soon_threadsafe(self._answered, loop, about, taken, answers)

    def _answered(
        self,
        loop: asyncio.AbstractEventLoop,
        about: About,
        taken: Asked[One, Answer],
        answers: Sequence[Answer | Exception],
    ) -> None:
        self._next(loop, about)
        for (_, future), answer in zip(taken, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
