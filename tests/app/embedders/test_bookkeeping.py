"""What a run spends and gets is written down together, by whoever waits at one moment, and in one order."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import numpy as np
import pytest
from sqlalchemy import event, text

from app.embedders.bookkeeping import Bookkeeping
from app.embedders.budget import EmbeddingBudget
from app.embedders.kept_vectors import KeptVectors
from app.embedders.protocol import EmbedderCall, EmbedderPrices
from app.embedders.spending import SetAside, Spending, spent_by
from app.storage.database import Database

REQUESTS, DIMENSION, AT_ONCE = 12, 5, 8
TEXTS = [f"text {number}" for number in range(REQUESTS)]


def kept_vectors(database: Database, dimension: int = DIMENSION) -> KeptVectors:
    return KeptVectors(database, "e5", "http://somewhere/v1", EmbedderCall("test-model", dimension), "")


def spending(database: Database, budget: EmbeddingBudget | None = None) -> Spending:
    return Spending(database, "upg-1", EmbedderPrices(), budget)


def vector(number: int, dimension: int = DIMENSION) -> np.ndarray:
    return np.full(dimension, number, np.float32)


def test_what_waits_at_one_moment_is_committed_together(database: Database) -> None:
    kept, commits = kept_vectors(database), list[Any]()

    async def written() -> list[SetAside]:
        books = Bookkeeping(spending(database), kept)
        asides = await asyncio.gather(*(books.set_aside([one]) for one in TEXTS))
        keeping = (books.keep(aside, 2, {TEXTS[n]: vector(n)}) for n, aside in enumerate(asides))
        await asyncio.gather(*keeping)
        return asides

    event.listen(database.engine, "commit", commits.append)
    asides = asyncio.run(written())
    assert [aside.items for aside in asides] == [1] * REQUESTS
    assert len(commits) == 2  # what is set aside, and what came of it
    found = kept.find(TEXTS)
    assert all((found[one] == vector(n)).all() for n, one in enumerate(TEXTS))
    with database.read() as session:
        assert spent_by(session, "upg-1").tokens == 2 * REQUESTS  # type: ignore[union-attr]


def test_a_budget_goes_to_those_who_asked_first_and_what_is_given_back_to_those_who_wait(database: Database) -> None:
    async def asked() -> list[int]:
        books = Bookkeeping(spending(database, EmbeddingBudget(items=2)), kept_vectors(database))
        first = [await books.set_aside([one]) for one in TEXTS[:2]]
        waiting = [asyncio.create_task(books.set_aside([one])) for one in TEXTS[2:5]]
        await books.give_back(first[0])
        await books.ended()
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        await books.ended()  # of the second, which gives nothing back
        await books.ended()  # of the one that has waited
        return sorted([aside.items for aside in await asyncio.gather(*waiting)])

    assert asyncio.run(asked()) == [0, 0, 1]


def test_an_answer_that_cannot_be_written_down_fails_and_nothing_is_settled(database: Database) -> None:
    async def written() -> None:
        books = Bookkeeping(spending(database), kept_vectors(database))
        aside = await books.set_aside(TEXTS[:1])
        with database.session() as session:
            session.execute(text("DROP TABLE kept_vectors"))
        await books.keep(aside, 2, {TEXTS[0]: vector(0)})

    with pytest.raises(Exception, match="no such table"):
        asyncio.run(written())
    with database.read() as session:
        assert spent_by(session, "upg-1").tokens > 2  # type: ignore[union-attr]


def test_rows_are_inserted_in_order_of_their_keys(database: Database) -> None:
    with database.session() as session:
        kept_vectors(database).keep(session, {one: vector(0) for one in TEXTS})
    with database.read() as session:
        keys = list(session.scalars(text("SELECT key FROM kept_vectors ORDER BY rowid")))
    assert keys == sorted(keys)
    assert len(keys) == REQUESTS


def test_vectors_of_two_dimensions_are_kept_beside_each_other(database: Database) -> None:
    for dimension in (DIMENSION, 3):
        with database.session() as session:
            kept_vectors(database, dimension).keep(session, {TEXTS[0]: vector(1, dimension)})
    assert [len(kept_vectors(database, many).find(TEXTS)[TEXTS[0]]) for many in (DIMENSION, 3)] == [DIMENSION, 3]


def test_of_those_who_begin_to_spend_at_once_none_fails_or_is_forgotten(each_database: Database) -> None:
    together = Barrier(AT_ONCE)

    def spend(_: int) -> int:
        together.wait()
        with spending(each_database).account() as account:
            return account.set_aside(TEXTS[:1]).items

    with ThreadPoolExecutor(AT_ONCE) as pool:
        assert sum(pool.map(spend, range(AT_ONCE))) == AT_ONCE
    with each_database.read() as session:
        assert spent_by(session, "upg-1").items == AT_ONCE  # type: ignore[union-attr]
