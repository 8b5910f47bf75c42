"""When a request to an embedder is tried again: as it asks by Retry-After, else after longer and longer pauses."""

from __future__ import annotations

import asyncio
import math
import random
import time
from typing import Any, NoReturn

from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential
from tenacity.wait import wait_base

from app.embedders.protocol import EmbedderPace
from app.problems import EmbedderAway

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.25, 30.0
_JITTER = 0.1


class _AsAsked(wait_base):  # type: ignore[misc]  # tenacity is not looked into by mypy here
    """The pause that the embedder asked for, and a little more, so that not all come back at once; else a random one
    that may be twice as long each time."""

    def __init__(self) -> None:
        self._unasked = wait_random_exponential(multiplier=_FIRST_PAUSE_SECONDS, max=_LONGEST_PAUSE_SECONDS)

    def __call__(self, retry_state: Any) -> float:
        error = retry_state.outcome.exception()
        if isinstance(error, EmbedderAway) and error.after is not None:
            return error.after * (1 + random.uniform(0, _JITTER))
        return float(self._unasked(retry_state))


def retrying(pace: EmbedderPace) -> AsyncRetrying:
    """Tries again what raised EmbedderAway, as often as the pace says, and raises the last of them. A pause that the
    embedder asks for and that is longer than anybody waits here is raised at once; the last of all attempts says that
    they were `in_vain`."""

    def worth_it(error: BaseException) -> bool:
        return isinstance(error, EmbedderAway) and (error.after or 0.0) <= pace.longest_wait

    return AsyncRetrying(
        retry=retry_if_exception(worth_it),
        wait=_AsAsked(),
        stop=stop_after_attempt(pace.attempts),
        retry_error_callback=_in_vain,
    )


class PauseAskedFor:
    """Until when a connection wants to be left alone: said in one answer, and heeded by every request after it. For one
    event loop."""

    def __init__(self, longest: float) -> None:
        """longest: seconds; what is asked for beyond them is passed over, since whoever hears it gives up."""
        self._longest = longest
        self._until = -math.inf

    def heard(self, away: EmbedderAway) -> None:
        """Takes note of what an embedder said of when to ask again, if it said so."""
        if away.after is not None:
            self._until = max(self._until, time.monotonic() + min(away.after, self._longest))

    @property
    def left(self) -> float:
        """Seconds from now on; 0 where nothing is left of it."""
        return max(0.0, self._until - time.monotonic())

    async def over(self) -> None:
        """Returns once the connection may be asked."""
        while self.left:
            await asyncio.sleep(self.left)


def _in_vain(retry_state: Any) -> NoReturn:
    error: EmbedderAway = retry_state.outcome.exception()
    error.in_vain = True
    raise error
