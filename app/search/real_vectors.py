"""The vectors that a new model really makes of items: those that are kept, and those that its embedder is asked for.

An embedder is asked for so many items a minute at most, and waited for so long; what it answers later is kept too.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import anyio.from_thread
import limits
import numpy as np
import numpy.typing as npt
import structlog
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from app.embedders.configured import ModelEmbedder
from app.embedders.gateway import GatewayEmbedders
from app.galleries.embedded_texts import text_in
from app.galleries.info import GalleryInfo
from app.index import RowIds, Vectors
from app.problems import EmbedderAway, EmbedderWrong
from app.search.vector_keeper import KeptFor, MadeVector, VectorKeeper
from app.settings import Settings
from app.storage.database import Database
from app.storage.lance_table import ROW_ID, Table, embedding_column, vectors_of
from app.wording import count_of
from models.portable import Space

log = structlog.get_logger(__name__)


class NoRealVectors(Exception):
    """The real vectors are not to be had now; the message, a clause, says why."""


@dataclass(frozen=True)
class ItemSource:
    """Where items are read, as of a version of their table, and how the vectors of a model are made of their texts."""

    info: GalleryInfo
    items: Table
    version: int
    space: Space
    how: ModelEmbedder

    @property
    def kept_for(self) -> KeptFor:
        return KeptFor(self.info.id, self.info.folder, self.space.model)


@dataclass(frozen=True)
class RealRows:
    """Vectors (n, d) float32 of n rows, of which those are known that `has` (n,) bool says; the others have no text."""

    vectors: Vectors
    has: npt.NDArray[np.bool_]


class RealVectors:
    """Finds them for searches, which run in threads of the event loop that the embedders are asked in."""

    def __init__(
        self, settings: Settings, database: Database, embedders: GatewayEmbedders, keeper: VectorKeeper
    ) -> None:
        self._settings = settings
        self._database = database
        self._embedders = embedders
        self._keeper = keeper
        self._turns = threading.Semaphore(settings.reranked_at_once)
        self._minute = limits.RateLimitItemPerMinute(settings.reranked_items_per_minute)
        self._spent = MovingWindowRateLimiter(MemoryStorage())
        self._under_way: set[asyncio.Task[Vectors]] = set()

    def of(self, source: ItemSource, rows: RowIds) -> RealRows:
        """Those of rows (n,) int64, ascending. What is made anew is kept.

        Raises NoRealVectors where the embedder must be asked, and cannot be now.
        """
        vectors, has = np.zeros((len(rows), source.space.dimension), np.float32), np.zeros(len(rows), bool)
        own = embedding_column(source.space.model)
        columns = ["id", "payload", *([own] if own in source.items.columns(source.version) else [])]
        table = source.items.by_row(rows, columns, version=source.version)
        places = np.searchsorted(rows, table.column(ROW_ID).to_numpy().astype(np.int64))
        if own in columns:
            stored, real = vectors_of(table.column(own))
            vectors[places[stored]], has[places[stored]] = real, True
        texts, place_of = {}, {}
        for place, item, payload in zip(
            places.tolist(), table.column("id").to_pylist(), table.column("payload").to_pylist(), strict=True
        ):
            if not has[place] and (text := text_in(payload, self._settings.reranked_text)) is not None:
                texts[item], place_of[item] = text, place
        for item, vector in self._made(source, texts).items():
            vectors[place_of[item]], has[place_of[item]] = vector, True
        return RealRows(vectors, has)

    async def close(self) -> None:
        """Breaks off what embedders are still asked; called in their event loop."""
        for task in (under_way := list(self._under_way)):
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    def _made(self, source: ItemSource, texts: Mapping[str, str]) -> dict[str, Vectors]:
        """What the model makes of the texts of items, by id."""
        if not texts:
            return {}
        made = self._keeper.waiting(source.kept_for, texts)
        fresh = {item: text for item, text in texts.items() if item not in made}
        if not fresh:
            return made
        paid = source.how.kept(self._database, "document").find(list(dict.fromkeys(fresh.values())))
        lacking = [text for text in dict.fromkeys(fresh.values()) if text not in paid]

        def keep(known: Mapping[str, Vectors]) -> None:
            given = {item: MadeVector(text, known[text]) for item, text in fresh.items() if text in known}
            self._keeper.add(source.kept_for, given)

        if lacking:
            embedded = self._embedded(
                source.how, lacking, lambda new: keep(paid | dict(zip(lacking, new, strict=True)))
            )
            paid |= dict(zip(lacking, embedded, strict=True))
        else:
            keep(paid)
        return made | {item: paid[text] for item, text in fresh.items()}

    def _embedded(self, how: ModelEmbedder, texts: Sequence[str], keep: Callable[[Vectors], None]) -> Vectors:
        """The vectors of texts, within the limits. keep: called with them, also where they come too late."""
        if not self._turns.acquire(blocking=False):
            raise NoRealVectors(f"{count_of(self._settings.reranked_at_once, 'search', 'searches')} wait for embedders")
        if not self._spent.hit(self._minute, cost=len(texts)):
            self._turns.release()
            raise NoRealVectors(
                f"{count_of(len(texts), 'candidate')} would have to be embedded, which is more than is left of "
                f"{self._minute.amount} a minute"
            )
        return anyio.from_thread.run(self._waited_for, how, texts, keep)

    async def _waited_for(self, how: ModelEmbedder, texts: Sequence[str], keep: Callable[[Vectors], None]) -> Vectors:
        async def made() -> Vectors:
            # Once: what is tried again may be paid for again, which the budget would not know.
            vectors = (await self._embedders.embedded(how, "document", texts, attempts=1)).vectors
            keep(vectors)
            return vectors

        task = asyncio.create_task(made())
        self._under_way.add(task)
        task.add_done_callback(self._done)
        seconds = self._settings.reranked_seconds
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.shield(task)
        except TimeoutError:
            raise NoRealVectors(f"embedder {how.connection!r} did not answer in {seconds:g} s") from None
        except (EmbedderAway, EmbedderWrong) as problem:
            raise NoRealVectors(problem.detail.rstrip(".")) from None

    def _done(self, task: asyncio.Task[Vectors]) -> None:
        self._under_way.discard(task)
        self._turns.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("candidates not embedded", error=repr(error))
