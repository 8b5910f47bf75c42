"""The embedders that the gateway asks itself, over HTTP, while a request waits for the answer."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from app.embedders.choice import EmbeddingSide
from app.embedders.configured import ModelEmbedder
from app.embedders.openai_protocol import OpenAIEmbedder
from app.embedders.options import OpenAIOptions
from app.embedders.patience import PauseAskedFor, retrying
from app.embedders.protocol import EmbeddedBatch, EmbedderCall
from app.problems import EmbedderAway

T = TypeVar("T")

_ATTEMPTS, _LONGEST_WAIT_SECONDS = 2, 1.0
_TURN_SECONDS = 10.0
"""For how long a request waits for those of other calls before it."""
_BUSY_SECONDS = 5.0
"""When to come again where that was too long."""


class _Opened:
    """A connection that is open, with the turns at it and the pause that it asked for, which all calls share."""

    def __init__(self, name: str, options: OpenAIOptions) -> None:
        self.embedder = OpenAIEmbedder(name, options)
        self._name = name
        self._turns = asyncio.Semaphore(options.concurrency)
        self.of_large_calls = max(1, options.concurrency - 1)
        self._large_turns = asyncio.Semaphore(self.of_large_calls)
        self._pause = PauseAskedFor(options.longest_wait_seconds)

    async def ask(
        self, texts: Sequence[str], call: EmbedderCall, longest_wait: float, *, of_large: bool
    ) -> EmbeddedBatch:
        """Asks once, unless the embedder wants to be left alone for longer than that, or others are before it for too
        long: raises EmbedderAway then. of_large: whether it is one of several requests of a call, which leave one turn
        to the calls of one request, as far as there are several."""
        async with AsyncExitStack() as turn:
            try:
                async with asyncio.timeout(_TURN_SECONDS):
                    if of_large:
                        await turn.enter_async_context(self._large_turns)
                    await turn.enter_async_context(self._turns)
            except TimeoutError:
                raise EmbedderAway(
                    f"Embedder {self._name!r} is busy with other requests.", connection=self._name, after=_BUSY_SECONDS
                ) from None
            if (left := self._pause.left) > longest_wait:
                raise EmbedderAway(
                    f"Embedder {self._name!r} asked to be left alone, for another {math.ceil(left)} s.",
                    connection=self._name,
                    after=left,
                )
            await self._pause.over()
            try:
                return await self.embedder.embed(texts, call)
            except EmbedderAway as away:
                self._pause.heard(away)  # before the turn goes to the next
                raise


class GatewayEmbedders:
    """One open connection for each that was asked. For one event loop."""

    def __init__(self) -> None:
        self._opened: dict[str, _Opened] = {}

    async def embedded(
        self, how: ModelEmbedder, side: EmbeddingSide, texts: Sequence[str], *, attempts: int = _ATTEMPTS
    ) -> EmbeddedBatch:
        """The vectors of texts by one embedder, in as many requests as it takes, each tried so often at most.

        Raises EmbedderAway and EmbedderWrong.
        """
        opened = self._of(how)
        pace = replace(
            how.options.pace,
            attempts=min(how.options.attempts, attempts),
            longest_wait=min(how.options.longest_wait_seconds, _LONGEST_WAIT_SECONDS),
        )
        prefixed = [how.choice.prefix(side) + text for text in texts]
        call = how.call_for(side)
        parts = [prefixed[start : start + pace.batch] for start in range(0, len(prefixed), pace.batch)]
        own = asyncio.Semaphore(opened.of_large_calls)  # this call's requests do not wait for a turn before each other

        async def asked(part: Sequence[str]) -> EmbeddedBatch:
            async with own:
                answer: EmbeddedBatch = await retrying(pace)(
                    opened.ask, part, call, pace.longest_wait, of_large=len(parts) > 1
                )
            return answer

        if len(parts) == 1:
            return await asked(parts[0])
        answers = await all_of([asked(part) for part in parts])
        return EmbeddedBatch(np.concatenate([one.vectors for one in answers]), sum(one.tokens or 0 for one in answers))

    async def close(self) -> None:
        """Gives back the connections; called in the event loop that asked."""
        while self._opened:
            await self._opened.popitem()[1].embedder.close()

    def _of(self, how: ModelEmbedder) -> _Opened:
        if (known := self._opened.get(how.connection)) is None:
            assert isinstance(how.options, OpenAIOptions), "the gateway asks over HTTP alone"
            known = self._opened[how.connection] = _Opened(how.connection, how.options)
        return known


async def all_of(asked: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """What each comes to, in their order. Where one fails, the others are broken off, and its error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in asked]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]
