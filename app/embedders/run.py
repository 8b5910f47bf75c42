"""Embeds many texts: in batches, several at a time, within a budget, and keeping each answer as it comes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.embedders.bookkeeping import Bookkeeping
from app.embedders.kept_vectors import LOOKED_UP_AT_ONCE, KeptVectors
from app.embedders.patience import PauseAskedFor, retrying
from app.embedders.protocol import EmbeddedBatch, EmbedderCall, EmbedderPace, TextEmbedder
from app.embedders.spending import SetAside, Spending
from app.failpoints import Failpoint, reached
from app.problems import EmbedderAway, EmbedderWrong


@dataclass(frozen=True)
class EmbeddedTexts:
    """Vectors (n, d) float32 of n texts, of which those are known that `has` (n,) bool says: the budget was spent
    before the others."""

    vectors: NDArray[np.float32]
    has: NDArray[np.bool_]


@dataclass(frozen=True)
class EmbeddingRun:
    """One embedder, asked in one way for as long as its budget lasts. prefix: what is put before each text."""

    embedder: TextEmbedder
    call: EmbedderCall
    prefix: str
    pace: EmbedderPace
    kept: KeptVectors
    spending: Spending

    async def embed(self, texts: Sequence[str], progress: Callable[[int], None] = lambda _: None) -> EmbeddedTexts:
        """The vectors of texts, the first ones first. progress: told how many of the texts are done; what it raises
        ends the run.

        Whatever ends it, requests under way are waited for, and their answers kept. Raises EmbedderAway and
        EmbedderWrong, with what came before them kept.
        """
        work = _Work(self, list(dict.fromkeys(texts)), progress)
        known = await work.done()
        vectors = np.zeros((len(texts), self.call.dimension), np.float32)
        has = np.array([text in known for text in texts], bool)
        for place in np.flatnonzero(has).tolist():
            vectors[place] = known[texts[place]]
        return EmbeddedTexts(vectors, has)


class _Work:
    """The different texts of one call, and who embeds them."""

    def __init__(self, run: EmbeddingRun, texts: Sequence[str], progress: Callable[[int], None]) -> None:
        self._run = run
        self._progress = progress
        self._known: dict[str, NDArray[np.float32]] = {}
        self._unseen = deque(texts)
        self._lacking: deque[str] = deque()
        self._looking = asyncio.Lock()
        self._turns = asyncio.Semaphore(run.pace.concurrency)
        self._pause = PauseAskedFor(run.pace.longest_wait)
        self._books = Bookkeeping(run.spending, run.kept)
        self._stopped = False

    async def done(self) -> dict[str, NDArray[np.float32]]:
        """The vector of each text, once all are embedded or the budget is spent; raises what ended it before."""
        batches = -(-len(self._unseen) // self._run.pace.batch)
        # Twice as many as there are requests at one time: while one batch is asked for, another is written down.
        askers = min(2 * self._run.pace.concurrency, batches)
        ended = await asyncio.gather(*(self._ask() for _ in range(askers)), return_exceptions=True)
        for error in ended:
            if isinstance(error, BaseException):
                raise error
        while self._unseen:  # what lies behind the end of the budget may be known all the same
            await self._look_up()
        return self._known

    async def _ask(self) -> None:
        """Takes batch after batch, until there is none, or nothing may be spent any more, or another has failed."""
        try:
            while not self._stopped and (texts := await self._next()):
                self._progress(len(self._known))
                while texts and not self._stopped:
                    done = await retrying(self._run.pace)(self._once, texts)
                    if not done:
                        self._stop()
                    texts = texts[done:]
                self._progress(len(self._known))
        except BaseException:
            self._stop()
            raise

    def _stop(self) -> None:
        self._stopped = True
        self._books.close()

    async def _next(self) -> list[str]:
        """The next texts that no vector is kept of, a batch of them; fewer at the end, and then none."""
        async with self._looking:
            while len(self._lacking) < self._run.pace.batch and self._unseen:
                await self._look_up()
        return [self._lacking.popleft() for _ in range(min(self._run.pace.batch, len(self._lacking)))]

    async def _look_up(self) -> None:
        """Looks which of the next texts are known. A few at a time: the first are asked for while it goes on."""
        texts = [self._unseen.popleft() for _ in range(min(LOOKED_UP_AT_ONCE, len(self._unseen)))]
        found = await asyncio.to_thread(self._run.kept.find, texts)
        self._known.update(found)
        self._lacking.extend(text for text in texts if text not in found)

    async def _once(self, texts: Sequence[str]) -> int:
        """Asks once for the first of these texts, as many as are within the budget; how many, 0 where it is spent."""
        await self._pause.over()
        aside = await self._books.set_aside([self._run.prefix + text for text in texts])
        if not aside.items:
            return 0
        try:
            reached(Failpoint.EMBEDDING_SET_ASIDE)
            return await self._asked(texts[: aside.items], aside)
        finally:
            await self._books.ended()

    async def _asked(self, texts: Sequence[str], aside: SetAside) -> int:
        try:
            async with self._turns:
                answer = await self._answer([self._run.prefix + text for text in texts])
        except (EmbedderAway, EmbedderWrong) as error:
            if not error.maybe_paid:
                await self._books.give_back(aside)
            raise
        reached(Failpoint.EMBEDDING_ANSWERED)
        vectors = dict(zip(texts, answer.vectors, strict=True))
        await self._books.keep(aside, answer.tokens, vectors)
        reached(Failpoint.EMBEDDING_KEPT)
        self._known.update(vectors)
        return len(texts)

    async def _answer(self, texts: Sequence[str]) -> EmbeddedBatch:
        """Asks the embedder, unless it wants to be left alone."""
        await self._pause.over()
        try:
            return await self._run.embedder.embed(texts, self._run.call)
        except EmbedderAway as away:
            self._pause.heard(away)  # before the turn goes to the next
            raise
