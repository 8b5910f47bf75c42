"""A line of requests of one kind: so many are answered at one time, so many wait, for so long, and the rest is
refused."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

from app.problems import Overloaded


class WaitingLine:
    """Gives turns in the order of coming. For one event loop.

    What waits is bounded in number and in time, so that whoever is answered at all has waited no longer than
    `longest_wait`, however many come: the others are told so, and to come again.
    """

    def __init__(
        self,
        work: str,
        at_once: int,
        waiting: int,
        longest_wait: float,
        changed: Callable[[WaitingLine], None] = lambda line: None,
    ) -> None:
        """work: what is done in a turn, as the refusal calls it. at_once: how many have a turn at one time. waiting:
        how many more wait for one. longest_wait: seconds that one waits. changed: called with the line once its
        numbers have changed."""
        self._work = work
        self._at_once = at_once
        self._most_waiting = waiting
        self._longest_wait = longest_wait
        self._changed = changed
        self._in_turn = 0
        self._waiting: dict[asyncio.Future[None], float] = {}
        self._refused = 0

    @property
    def in_turn(self) -> int:
        """How many have a turn now."""
        return self._in_turn

    @property
    def waiting(self) -> int:
        """How many wait for one now."""
        return len(self._waiting)

    @property
    def refused(self) -> int:
        """How many were refused so far."""
        return self._refused

    @property
    def full(self) -> bool:
        """Whether one more would be refused."""
        return self._in_turn >= self._at_once and len(self._waiting) >= self._most_waiting

    def refuse(self) -> Overloaded:
        """What one more is told while the line is full, counted as refused."""
        now = time.monotonic()
        oldest = next(iter(self._waiting.values()), now)
        return self._refusal(f"{self._most_waiting} {self._work} wait for their turn already", now - oldest)

    def take_free(self) -> bool:
        """Takes a turn, which `give_back` ends, if one is free."""
        if self._in_turn >= self._at_once:
            return False
        self._in_turn += 1
        self._changed(self)
        return True

    def join(self) -> asyncio.Future[None]:
        """A place at the end of the line. It is done once its turn has come, which `give_back` ends; who no longer
        waits gives it to `leave`. Raises Overloaded where the line is full, as the place does after the longest wait.
        """
        now = time.monotonic()
        if self.full:
            raise self.refuse()
        loop = asyncio.get_running_loop()
        place: asyncio.Future[None] = loop.create_future()
        self._waiting[place] = now
        self._changed(self)
        timer = loop.call_later(self._longest_wait, self._give_up, place)
        place.add_done_callback(lambda _: timer.cancel())
        return place

    def leave(self, place: asyncio.Future[None]) -> None:
        """Gives up a place in the line, or the turn that came of it meanwhile."""
        if self._waiting.pop(place, None) is not None:
            place.cancel()
            self._changed(self)
        elif place.done() and not place.cancelled() and place.exception() is None:
            self.give_back()

    def give_back(self) -> None:
        """Ends a turn, which the first of the line has then."""
        if self._waiting:
            first = next(iter(self._waiting))
            del self._waiting[first]
            first.set_result(None)
        else:
            self._in_turn -= 1
        self._changed(self)

    def _give_up(self, place: asyncio.Future[None]) -> None:
        if self._waiting.pop(place, None) is not None:
            waited = f"{self._longest_wait:g} seconds passed without a turn: more {self._work} come than are answered"
            place.set_exception(self._refusal(waited, self._longest_wait))

    def _refusal(self, why: str, wait: float) -> Overloaded:
        """wait: seconds that the line takes by now; whoever comes again after as many finds it shorter."""
        self._refused += 1
        self._changed(self)
        return Overloaded(f"The service has more to do than it can: {why}.", retry_after=math.ceil(wait))
