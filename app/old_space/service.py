"""Embeds with a new model, and answers in the space of the old one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from anyio.to_thread import run_sync

from app.embedders.choice import EmbeddingSide
from app.embedders.configured import ModelEmbedder
from app.embedders.openai_protocol import OpenAIEmbedder
from app.embedders.options import OpenAIOptions
from app.embedders.patience import retrying
from app.embedders.protocol import EmbeddedBatch
from app.keys.access import Access
from app.old_space.resolution import OldSpaceResolver, OldSpaceRoute
from app.old_space.vectors import NotSearchable, OldSpaceVectors, pulled_documents, pushed_queries
from app.problems import NoRoute, Unprocessable
from app.upgrades.served_upgrades import ProvedQuality
from models.portable import Array, NotPushable

OldSpaceRouteName = Literal["instant", "fused", "old_model", "pulled"]
"""How a text became a vector of the old space: a query pushed, or fused with the old model's; a document as the old
model makes it, or pulled back where nothing asks the old model."""

_ATTEMPTS, _LONGEST_WAIT_SECONDS = 2, 1.0
_IN_THREAD = 32
"""Texts from which on arithmetic would keep the event loop from others."""


@dataclass(frozen=True)
class OldSpaceAnswer:
    """Vectors (n, d_old) float32 of n texts, and how they came about."""

    vectors: Array
    tokens: int
    upgrade: str
    route: OldSpaceRouteName
    exact: bool
    note: str
    quality: ProvedQuality | None


class OldSpaceEmbeddings:
    """Answers for every accepted upgrade whose models have embedders."""

    def __init__(self, resolver: OldSpaceResolver) -> None:
        self._resolver = resolver
        self._opened: dict[str, OpenAIEmbedder] = {}

    async def embed(
        self, upgrade: str, side: EmbeddingSide, texts: Sequence[str], dimensions: int | None, caller: Access
    ) -> OldSpaceAnswer:
        """Raises NotFound, WrongState and NoRoute where the upgrade cannot answer, Unprocessable where other dimensions
        are asked for than the old space has, and EmbedderAway and EmbedderWrong."""
        route = await run_sync(self._resolver.resolve, upgrade, caller)
        if dimensions not in (None, route.source.dimension):
            raise Unprocessable.at(
                f"The old space of upgrade {upgrade} has {route.source.dimension} dimensions, and the old index takes "
                f"no other. Leave `dimensions` out.",
                pointer="/dimensions",
            )
        if side == "document":
            return await self._documents(route, texts)
        asked = [route.new] if route.old is None or route.fusion is None else [route.new, route.old]
        new, *old = await asyncio.gather(*(self._embedded(how, "query", texts) for how in asked))
        vectors = await _worked(len(texts), lambda: _queries(route, new.vectors, old[0].vectors if old else None))
        return _answer(route, vectors, [new, *old], "fused" if old else "instant", route.quality)

    async def close(self) -> None:
        """Gives back the connections; called in the event loop that asked."""
        while self._opened:
            await self._opened.popitem()[1].close()

    async def _documents(self, route: OldSpaceRoute, texts: Sequence[str]) -> OldSpaceAnswer:
        if route.old is not None:
            made = await self._embedded(route.old, "document", texts)
            note = f"made by {route.source.model!r} itself"
            return _answer(route, OldSpaceVectors(made.vectors, True, note), [made], "old_model", None)
        affine, metrics = route.crossing.affine, (route.source.metric, route.target.metric)
        if affine is None or not route.crossing.linear:
            raise NoRoute(f"The crossing of upgrade {route.upgrade.id} is not linear.", upgrade=route.upgrade.id)
        made = await self._embedded(route.new, "document", texts)
        vectors = await _worked(len(texts), lambda: pulled_documents(made.vectors, affine, *metrics))
        return _answer(route, vectors, [made], "pulled", None)

    async def _embedded(self, how: ModelEmbedder, side: EmbeddingSide, texts: Sequence[str]) -> EmbeddedBatch:
        """The vectors of texts by one embedder, in as many requests as it takes."""
        embedder = self._embedder(how)
        pace = replace(
            how.options.pace,
            attempts=min(how.options.attempts, _ATTEMPTS),
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

    def _embedder(self, how: ModelEmbedder) -> OpenAIEmbedder:
        if (known := self._opened.get(how.connection)) is None:
            assert isinstance(how.options, OpenAIOptions), "the gateway asks over HTTP alone"
            known = self._opened[how.connection] = OpenAIEmbedder(how.connection, how.options)
        return known


def _queries(route: OldSpaceRoute, new: Array, old: Array | None) -> OldSpaceVectors:
    try:
        return pushed_queries(new, route.crossing, old, route.fusion)
    except (NotPushable, NotSearchable) as why:
        raise NoRoute(
            f"Queries of {route.target.model!r} cannot be answered in the space of {route.source.model!r}: {why}.",
            upgrade=route.upgrade.id,
        ) from None


async def _worked(texts: int, work: Callable[[], OldSpaceVectors]) -> OldSpaceVectors:
    """What arithmetic on so many texts comes to."""
    return work() if texts < _IN_THREAD else await run_sync(work)


def _answer(
    route: OldSpaceRoute,
    made: OldSpaceVectors,
    answers: Sequence[EmbeddedBatch],
    name: OldSpaceRouteName,
    quality: ProvedQuality | None,
) -> OldSpaceAnswer:
    tokens = sum(one.tokens or 0 for one in answers)
    return OldSpaceAnswer(made.vectors, tokens, route.upgrade.id, name, made.exact, made.note, quality)
