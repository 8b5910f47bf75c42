"""Embeds with a new model, and answers in the space of the old one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from anyio.to_thread import run_sync

from app.embedders.choice import EmbeddingSide
from app.embedders.gateway import GatewayEmbedders, all_of
from app.embedders.protocol import EmbeddedBatch
from app.keys.access import Access
from app.old_space.resolution import OldSpaceResolver, OldSpaceRoute
from app.old_space.vectors import NotSearchable, OldSpaceVectors, Pull, pushed_queries
from app.problems import NoRoute, Unprocessable
from app.upgrades.served_upgrades import ProvedQuality
from models.portable import Affine, Array, NotPushable

OldSpaceRouteName = Literal["instant", "fused", "old_model", "pulled"]
"""How a text became a vector of the old space: a query pushed, or fused with the old model's; a document as the old
model makes it, or pulled back where nothing asks the old model."""

_IN_THREAD = 32
"""Texts from which on arithmetic would keep the event loop from others."""

_PULLS = 8
"""Most upgrades whose pull, a matrix of megabytes, is kept."""


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

    def __init__(self, resolver: OldSpaceResolver, embedders: GatewayEmbedders) -> None:
        self._resolver = resolver
        self._embedders = embedders
        self._pulls: dict[str, Pull] = {}

    async def embed(
        self, upgrade: str, side: EmbeddingSide, texts: Sequence[str], dimensions: int | None, caller: Access
    ) -> OldSpaceAnswer:
        """Raises NotFound, WrongState and NoRoute where the upgrade cannot answer, Unprocessable where other dimensions
        are asked for than the old space has, and EmbedderAway and EmbedderWrong."""
        route = self._resolver.known(upgrade, caller)
        if route is None:  # in a thread, which to go to takes longer than most of what is done here
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
        new, *old = await all_of([self._embedders.embedded(how, "query", texts) for how in asked])
        vectors = await _worked(len(texts), lambda: _queries(route, new.vectors, old[0].vectors if old else None))
        return _answer(route, vectors, [new, *old], "fused" if old else "instant", route.quality)

    async def _documents(self, route: OldSpaceRoute, texts: Sequence[str]) -> OldSpaceAnswer:
        if route.old is not None:
            made = await self._embedders.embedded(route.old, "document", texts)
            note = f"made by {route.source.model!r} itself"
            return _answer(route, OldSpaceVectors(made.vectors, True, note), [made], "old_model", None)
        affine, metrics = route.crossing.affine, (route.source.metric, route.target.metric)
        if affine is None or not route.crossing.linear:
            raise NoRoute(f"The crossing of upgrade {route.upgrade.id} is not linear.", upgrade=route.upgrade.id)
        made = await self._embedders.embedded(route.new, "document", texts)
        pull = self._pulls.get(route.upgrade.id)
        if pull is None:
            pull = await run_sync(self._solved, route.upgrade.id, affine)
        vectors = await _worked(len(texts), partial(pull.documents, made.vectors, *metrics))
        return _answer(route, vectors, [made], "pulled", None)

    def _solved(self, upgrade: str, affine: Affine) -> Pull:
        """How documents are pulled by the crossing of an upgrade, which never changes."""
        pull = Pull.of(affine)
        if len(self._pulls) >= _PULLS:
            self._pulls.clear()
        self._pulls[upgrade] = pull
        return pull


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
