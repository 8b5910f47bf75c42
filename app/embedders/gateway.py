"""The embedders that the gateway asks itself, over HTTP, while a request waits for the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from app.embedders.choice import EmbeddingSide
from app.embedders.configured import ModelEmbedder
from app.embedders.openai_protocol import OpenAIEmbedder
from app.embedders.options import OpenAIOptions
from app.embedders.patience import retrying
from app.embedders.protocol import EmbeddedBatch

_ATTEMPTS, _LONGEST_WAIT_SECONDS = 2, 1.0


class GatewayEmbedders:
    """One open connection for each that was asked. For one event loop."""

    def __init__(self) -> None:
        self._opened: dict[str, OpenAIEmbedder] = {}

    async def embedded(
        self, how: ModelEmbedder, side: EmbeddingSide, texts: Sequence[str], *, attempts: int = _ATTEMPTS
    ) -> EmbeddedBatch:
        """The vectors of texts by one embedder, in as many requests as it takes, each tried so often at most.

        Raises EmbedderAway and EmbedderWrong.
        """
        embedder = self._embedder(how)
        pace = replace(
            how.options.pace,
            attempts=min(how.options.attempts, attempts),
            longest_wait=min(how.options.longest_wait_seconds, _LONGEST_WAIT_SECONDS),
        )
        prefixed = [how.choice.prefix(side) + text for text in texts]
        turns = asyncio.Semaphore(pace.concurrency)

        async def asked(part: Sequence[str]) -> EmbeddedBatch:
            async with turns:
                answer: EmbeddedBatch = await retrying(pace)(embedder.embed, part, how.call)
                return answer

        parts = [prefixed[start : start + pace.batch] for start in range(0, len(prefixed), pace.batch)]
        if len(parts) == 1:
            return await asked(parts[0])
        answers = await asyncio.gather(*map(asked, parts))
        return EmbeddedBatch(np.concatenate([one.vectors for one in answers]), sum(one.tokens or 0 for one in answers))

    async def close(self) -> None:
        """Gives back the connections; called in the event loop that asked."""
        while self._opened:
            await self._opened.popitem()[1].close()

    def _embedder(self, how: ModelEmbedder) -> OpenAIEmbedder:
        if (known := self._opened.get(how.connection)) is None:
            assert isinstance(how.options, OpenAIOptions), "the gateway asks over HTTP alone"
            known = self._opened[how.connection] = OpenAIEmbedder(how.connection, how.options)
        return known
