"""Writes down what a run of embedding spends and what it gets for it, beside the requests.

There is one transaction at a time. Whatever waits while one is committed goes into the next one together, so that the
number of commits, each of which waits for the disk, does not grow with the number of requests. Nothing is asked of an
embedder before what it may cost is committed, and nothing counts as embedded before its answer is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.embedders.kept_vectors import KeptVectors
from app.embedders.spending import Account, SetAside, Spending

T = TypeVar("T")

EmbeddedByText = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class _Entry:
    """One thing to write down, and who waits for it to be committed."""

    write: Callable[[Account], Any]
    vectors: EmbeddedByText
    committed: asyncio.Future[Any]


class Bookkeeping:
    """The books of one run, for one event loop."""

    def __init__(self, spending: Spending, kept: KeptVectors) -> None:
        self._spending = spending
        self._kept = kept
        self._waiting: list[_Entry] = []
        self._writer: asyncio.Task[None] | None = None
        self._closed = False
        self._under_way = 0
        self._ended = 0
        self._changed = asyncio.Condition()

    def close(self) -> None:
        """Nothing more is set aside from now on; requests under way are still written down."""
        self._closed = True

    async def set_aside(self, texts: Sequence[str]) -> SetAside:
        """What may be spent on the first of these texts, for a request that is under way until `ended` is called.

        While nothing may, and requests under way may give something back, they are waited for; nothing in the end where
        they gave nothing back, or the books are closed.
        """
        while True:
            ended = self._ended
            self._under_way += 1
            aside = SetAside(0, 0)
            try:
                if not self._closed:
                    aside = await self._committed(lambda account: account.set_aside(texts))
            finally:
                if not aside.items:
                    await self._leave()
            if aside.items or self._closed:
                return aside
            async with self._changed:
                await self._changed.wait_for(lambda: self._ended != ended or not self._under_way)  # noqa: B023
            if self._ended == ended:
                return aside

    async def keep(self, aside: SetAside, tokens: int | None, vectors: EmbeddedByText) -> None:
        """Keeps an answer, and replaces what was set aside for it by what it cost; both or neither. tokens: None where
        the embedder did not say how many."""
        await self._committed(lambda account: account.settle(aside, tokens), vectors)

    async def give_back(self, aside: SetAside) -> None:
        """Takes back what was set aside for a request that was refused, which costs nothing."""
        await self._committed(lambda account: account.give_back(aside))

    async def ended(self) -> None:
        """To be called once for each request that something was set aside for, once it is written down or failed."""
        self._ended += 1
        await self._leave()

    async def _leave(self) -> None:
        async with self._changed:
            self._under_way -= 1
            self._changed.notify_all()

    async def _committed(self, write: Callable[[Account], T], vectors: EmbeddedByText | None = None) -> T:
        """What writing comes to, once it is committed together with the vectors. Raises what the database does."""
        committed: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Entry(write, vectors or {}, committed))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_all())
        return await committed

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                entries, self._waiting = self._waiting, []
                try:
                    results: list[Any] = await asyncio.to_thread(self._write, entries)
                except Exception as error:
                    _resolve(entries, [error] * len(entries), asyncio.Future.set_exception)
                else:
                    _resolve(entries, results, asyncio.Future.set_result)
        finally:
            self._writer = None

    def _write(self, entries: Sequence[_Entry]) -> list[Any]:
        """What each entry comes to; all of them in one transaction."""
        vectors = {text: vector for entry in entries for text, vector in entry.vectors.items()}
        with self._spending.account() as account:
            results = [entry.write(account) for entry in entries]
            self._kept.keep(account.session, vectors)
        return results


def _resolve(
    entries: Sequence[_Entry], results: Sequence[Any], how: Callable[[asyncio.Future[Any], Any], None]
) -> None:
    for entry, result in zip(entries, results, strict=True):
        if not entry.committed.done():  # else whoever waited has been cancelled
            how(entry.committed, result)
