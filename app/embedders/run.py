"""Embeds many texts: in batches, several at a time, within a budget, and keeping each answer as it comes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.embedders.kept_vectors import KeptVectors
from app.embedders.patience import retrying
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
        wanted = list(dict.fromkeys(texts))
        known = await asyncio.to_thread(self.kept.find, wanted)
        work = _Work(self, known, [text for text in wanted if text not in known], progress)
        await work.done()
        vectors = np.zeros((len(texts), self.call.dimension), np.float32)
        has = np.array([text in known for text in texts], bool)
        for place in np.flatnonzero(has).tolist():
            vectors[place] = known[texts[place]]
        return EmbeddedTexts(vectors, has)


class _Work:
    """The texts of one call that are still to be embedded, and who does it."""

    def __init__(
        self,
        run: EmbeddingRun,
        known: dict[str, NDArray[np.float32]],
        texts: Sequence[str],
        progress: Callable[[int], None],
    ) -> None:
        self._run = run
        self._known = known
        self._progress = progress
        batch = run.pace.batch
        self._waiting = deque(list(texts[start : start + batch]) for start in range(0, len(texts), batch))
        self._turns = asyncio.Semaphore(run.pace.concurrency)
        self._under_way = 0
        self._settled = asyncio.Condition()
        self._stopped = False

    async def done(self) -> None:
        """Returns once all is embedded, or the budget is spent; raises what ended it before."""
        self._progress(len(self._known))
        # Twice as many as there are requests at one time: while one batch is asked for, another is written down.
        askers = min(2 * self._run.pace.concurrency, len(self._waiting))
        ended = await asyncio.gather(*(self._ask() for _ in range(askers)), return_exceptions=True)
        for error in ended:
            if isinstance(error, BaseException):
                raise error

    async def _ask(self) -> None:
        """Takes batch after batch, until there is none, or nothing may be spent any more, or another has failed."""
        try:
            while self._waiting and not self._stopped:
                texts = self._waiting.popleft()
                while texts and not self._stopped:
                    done = await retrying(self._run.pace)(self._once, texts)
                    if not done:
                        self._stopped = True
                    texts = texts[done:]
                self._progress(len(self._known))
        except BaseException:
            self._stopped = True
            raise

    async def _once(self, texts: Sequence[str]) -> int:
        """Asks once for the first of these texts, as many as are within the budget; how many, 0 where it is spent."""
        aside = await self._set_aside(texts)
        if not aside.items:
            return 0
        reached(Failpoint.EMBEDDING_SET_ASIDE)
        try:
            return await self._asked(texts[: aside.items], aside)
        finally:
            async with self._settled:
                self._under_way -= 1
                self._settled.notify_all()

    async def _asked(self, texts: Sequence[str], aside: SetAside) -> int:
        run = self._run
        try:
            async with self._turns:
                answer = await run.embedder.embed([run.prefix + text for text in texts], run.call)
        except EmbedderAway as away:
            if not away.maybe_paid:
                await asyncio.to_thread(run.spending.give_back, aside)
            raise
        except EmbedderWrong:
            raise  # whoever answers what cannot be used may charge for it
        reached(Failpoint.EMBEDDING_ANSWERED)
        await asyncio.to_thread(self._keep, texts, answer, aside)
        reached(Failpoint.EMBEDDING_KEPT)
        return len(texts)

    def _keep(self, texts: Sequence[str], answer: EmbeddedBatch, aside: SetAside) -> None:
        vectors = dict(zip(texts, answer.vectors, strict=True))
        self._run.spending.settle(aside, answer.tokens, lambda session: self._run.kept.keep(session, vectors))
        self._known.update(vectors)

    async def _set_aside(self, texts: Sequence[str]) -> SetAside:
        """What may be spent on the first of these texts. While nothing may, and requests under way may give something
        back, they are waited for."""
        prefixed = [self._run.prefix + text for text in texts]
        async with self._settled:
            while True:
                aside = await asyncio.to_thread(self._run.spending.set_aside, prefixed)
                if aside.items:
                    self._under_way += 1
                if aside.items or self._stopped or not self._under_way:
                    return aside
                await self._settled.wait()
