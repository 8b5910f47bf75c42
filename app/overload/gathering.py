"""Calls that come faster than they are answered are answered together: those that wait for one go into the next."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from contextvars import Context, copy_context
from functools import partial
from typing import Generic, TypeVar

from app.overload.threads import HandedOver
from app.short_calls import Pace, TakesLong, in_event_loop

About = TypeVar("About", bound=Hashable)
One = TypeVar("One")
Answer = TypeVar("Answer")

_LONG_SECONDS = 0.002
_MOST_PACES = 1_024

AnswerAll = Callable[[About, Sequence[One]], Sequence[Answer | Exception]]
"""Answers each of several, in their order, or says what is wrong with it. Called in threads."""

Unanswered = list[tuple[One, "asyncio.Future[Answer]"]]
"""Those that wait for an answer."""


class Gathering(Generic[About, One, Answer]):
    """Answers one at a time while nobody waits, and otherwise as many at once as are waiting.

    Only what is about the same is answered together. Each call of the function begins after all that it answers came,
    so that it sees whatever was written before. While a call takes long, another begins beside it: not sooner, since
    two that are short hinder each other more than they gain. For one event loop, which makes calls itself where these
    turn out to be short and `short` lets it.
    """

    def __init__(
        self,
        answer: AnswerAll[About, One, Answer],
        calls: int,
        most: int,
        threads: HandedOver,
        short: Callable[[About], bool] = lambda about: False,
    ) -> None:
        """calls: how many calls about the same run at one time; most: how many one call answers; threads: those that
        calls run in, and nothing else does. short: whether calls about this leave the event loop (`app.short_calls`)
        before they wait, and so may be made by it."""
        self._answer = answer
        self._calls = calls
        self._most = most
        self._threads = threads
        self._short = short
        self._running: Counter[About] = Counter()
        self._waiting: dict[About, Unanswered[One, Answer]] = {}
        self._paces: dict[About, Pace] = {}

    async def ask(self, about: About, one: One) -> Answer:
        """Raises what the function says is wrong with this one."""
        return await self.begin(about, one)

    def begin(self, about: About, one: One) -> asyncio.Future[Answer]:
        """The answer to this one, once it is there; or what the function says is wrong with it. To be called in the
        event loop. Cancelled before its turn, it is not asked for."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        waiting = self._waiting.get(about)
        if waiting is not None:
            waiting.append((one, future))
        elif self._running[about]:
            self._wait(loop, about, [(one, future)])
        elif (pace := self._paces.get(about)) is not None and pace.fit:
            self._waiting[about] = [(one, future)]
            loop.call_soon(self._at_once, loop, about, future)  # with those whose requests have come by now too
        else:
            self._running[about] += 1
            # Alone it keeps the context that it was asked in, and with it what log lines say of its request.
            self._threads.submit(partial(copy_context().run, self._call, loop, about, [(one, future)]))
        return future

    def _wait(self, loop: asyncio.AbstractEventLoop, about: About, asked: Unanswered[One, Answer]) -> None:
        """Has these answered once a call has ended, or has taken long."""
        self._waiting[about] = asked
        if self._running[about] < self._calls:
            loop.call_later(_LONG_SECONDS, self._begin_another, loop, about, asked)

    def _begin_another(self, loop: asyncio.AbstractEventLoop, about: About, waiting: Unanswered[One, Answer]) -> None:
        """Has those that still wait answered beside the call that runs on."""
        if self._waiting.get(about) is waiting and self._running[about] < self._calls:
            self._running[about] += 1
            self._next(loop, about)

    def _at_once(
        self, loop: asyncio.AbstractEventLoop, about: About, first: asyncio.Future[Answer] | None = None
    ) -> None:
        """Answers those that wait, as many as the event loop can by itself; the others by threads, or soon. first:
        whose context this runs in, if anybody's."""
        waiting = self._waiting.pop(about, None)
        if not waiting:
            return
        pace = self._pace(about)
        fit = min(pace.fit, self._most)
        if not fit:
            self._wait(loop, about, waiting)
            if not self._running[about]:
                self._running[about] += 1
                self._next(loop, about)
            return
        taken, left = waiting[:fit], waiting[fit:]
        if left:
            self._waiting[about] = left
            loop.call_soon(self._at_once, loop, about)
        taken = _still_waiting(taken)
        if not taken:
            return
        own = len(taken) == 1 and taken[0][1] is first
        began, worked = time.perf_counter(), time.thread_time()
        answer = partial(self._answers, about, taken)
        try:
            with in_event_loop():
                answers = answer() if own else Context().run(answer)
        except TakesLong:
            pace.refused()
            if self._running[about] >= self._calls:  # one of them will see to these
                self._waiting[about] = [*taken, *self._waiting.get(about, [])]
                return
            self._running[about] += 1
            call = partial(self._call, loop, about, taken)
            self._threads.submit(partial(copy_context().run, call) if own else call)
            return
        worked, kept = time.thread_time() - worked, time.perf_counter() - began
        pace.took(worked, len(taken), in_loop=True, kept=kept)
        _tell(taken, answers)

    def _next(self, loop: asyncio.AbstractEventLoop, about: About) -> None:
        """Takes the place of a call that has ended with one for those that wait, or gives the place up."""
        while (waiting := self._waiting.pop(about, None)) is not None:
            taken, left = waiting[: self._most], waiting[self._most :]
            if left:
                self._waiting[about] = left
            taken = _still_waiting(taken)
            if taken:
                self._threads.submit(partial(self._call, loop, about, taken))
                return
        self._give_up(about)

    def _call(self, loop: asyncio.AbstractEventLoop, about: About, taken: Unanswered[One, Answer]) -> None:
        """In a thread: answers all that were taken, and tells the event loop."""
        began = time.thread_time()
        answers = self._answers(about, taken)
        seconds = time.thread_time() - began
        with suppress(RuntimeError):  # the loop has ended, and nobody waits any more
            loop.call_soon_threadsafe(self._answered, loop, about, taken, answers, seconds)

    def _answers(self, about: About, taken: Unanswered[One, Answer]) -> Sequence[Answer | Exception]:
        """The answer to each of them, or what is wrong."""
        try:
            answers = self._answer(about, [one for one, _ in taken])
            if len(answers) != len(taken):  # told to each here: in the event loop nobody would hear of it
                raise RuntimeError(f"{len(answers)} answers to {len(taken)} that were asked for")
        except Exception as error:
            return [error] * len(taken)
        return answers

    def _answered(
        self,
        loop: asyncio.AbstractEventLoop,
        about: About,
        taken: Unanswered[One, Answer],
        answers: Sequence[Answer | Exception],
        seconds: float,
    ) -> None:
        """seconds: of a processor that the call took."""
        if self._short(about):
            self._pace(about).took(seconds, len(taken), in_loop=False)
        self._go_on(loop, about)
        _tell(taken, answers)

    def _go_on(self, loop: asyncio.AbstractEventLoop, about: About) -> None:
        """As `_next`, but that the event loop answers those that wait, where it is to make the next call. A thread
        would share the interpreter with it, and each would wait for the other many times a search."""
        pace = self._paces.get(about)
        if about in self._waiting and pace is not None and pace.fit:
            self._give_up(about)
            loop.call_soon(self._at_once, loop, about)
        else:
            self._next(loop, about)

    def _give_up(self, about: About) -> None:
        """Gives up the place of a call that has ended."""
        self._running[about] -= 1
        if not self._running[about]:
            del self._running[about]

    def _pace(self, about: About) -> Pace:
        if about not in self._paces and len(self._paces) >= _MOST_PACES:
            self._paces.clear()
        return self._paces.setdefault(about, Pace())


def _still_waiting(asked: Unanswered[One, Answer]) -> Unanswered[One, Answer]:
    return [(one, future) for one, future in asked if not future.done()]  # others have gone away


def _tell(asked: Unanswered[One, Answer], answers: Sequence[Answer | Exception]) -> None:
    for (_, future), answer in zip(asked, answers, strict=True):
        if future.done():
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
