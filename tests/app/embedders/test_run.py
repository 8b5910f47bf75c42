"""Embedding many texts: nothing is paid for twice, no budget is exceeded, and what fails for a while is awaited."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from app.embedders.budget import EmbeddingBudget, Spent, most_tokens
from app.embedders.kept_vectors import LOOKED_UP_AT_ONCE, KeptVectors
from app.embedders.openai_protocol import OpenAIEmbedder
from app.embedders.options import OpenAIOptions
from app.embedders.protocol import EmbedderCall
from app.embedders.run import EmbeddedTexts, EmbeddingRun
from app.embedders.spending import Spending, spent_by
from app.problems import EmbedderAway, EmbedderWrong
from app.storage.database import Database
from tests.embedding_server import EmbeddingServer, embedding_server, hashed

CALL = EmbedderCall("test-model", 5)
TEXTS = [f"text {number}" for number in range(40)]


@pytest.fixture
def server() -> Iterator[EmbeddingServer]:
    with embedding_server(hashed(5)) as server:
        yield server


class Desk:
    """One piece of work, `upg-1`, that embeds by a server, in batches of 3, four at a time."""

    def __init__(self, database: Database, server: EmbeddingServer) -> None:
        self._database, self._server = database, server

    def embed(
        self, texts: Sequence[str], budget: EmbeddingBudget | None = None, prefix: str = "", **options: Any
    ) -> EmbeddedTexts:
        given = OpenAIOptions(**{"url": f"{self._server.url}/v1", "batch": 3, "timeout_seconds": 60.0, **options})

        async def ask() -> EmbeddedTexts:
            embedder = OpenAIEmbedder("e5", given)
            kept = KeptVectors(self._database, "e5", given.place, CALL, prefix)
            spending = Spending(self._database, "upg-1", given.prices, budget)
            try:
                return await EmbeddingRun(embedder, CALL, prefix, given.pace, kept, spending).embed(texts)
            finally:
                await embedder.close()

        return asyncio.run(ask())

    @property
    def spent(self) -> Spent:
        with self._database.read() as session:
            return spent_by(session, "upg-1") or Spent()


@pytest.fixture
def desk(database: Database, server: EmbeddingServer) -> Desk:
    return Desk(database, server)


def assert_vectors(result: EmbeddedTexts, texts: Sequence[str], prefix: str = "") -> None:
    for place in np.flatnonzero(result.has).tolist():
        np.testing.assert_array_equal(result.vectors[place], hashed(5)(prefix + texts[place]))


def test_each_text_gets_its_vector_and_is_embedded_once(desk: Desk, server: EmbeddingServer) -> None:
    texts = [*TEXTS, *TEXTS[:5]]
    result = desk.embed(texts, prefix="query: ")
    assert result.has.all()
    assert_vectors(result, texts, "query: ")
    assert sorted(server.charged) == sorted(f"query: {text}" for text in TEXTS)
    assert desk.spent == Spent(40, 3 * 40, 0.0)


def test_what_was_embedded_is_not_paid_for_again_but_by_another_prefix(
    each_database: Database, server: EmbeddingServer
) -> None:
    desk = Desk(each_database, server)
    desk.embed(TEXTS[:10])
    desk.embed(TEXTS[:12])
    assert len(server.charged) == 12
    desk.embed(TEXTS[:1], prefix="passage: ")
    assert len(server.charged) == 13


def test_a_vector_is_kept_for_texts_that_are_of_the_same_kind_alone(
    each_database: Database, server: EmbeddingServer
) -> None:
    Desk(each_database, server).embed(TEXTS[:3])
    for input_type, kept in ((None, 3), ("query", 0), ("passage", 0)):
        call = replace(CALL, input_type=input_type)
        assert len(KeptVectors(each_database, "e5", f"{server.url}/v1", call, "").find(TEXTS)) == kept


def test_answers_that_came_before_a_failure_are_kept(desk: Desk, server: EmbeddingServer) -> None:
    server.then(None, "few")
    with pytest.raises(EmbedderWrong):
        desk.embed(TEXTS[:9], concurrency=1)
    desk.embed(TEXTS[:9], concurrency=1)
    assert server.charged.count(TEXTS[0]) == 1


def test_a_refusal_that_is_final_and_of_which_nothing_was_done_costs_nothing(
    desk: Desk, server: EmbeddingServer
) -> None:
    server.then("429 x-should-retry: false")
    with pytest.raises(EmbedderWrong):
        desk.embed(TEXTS[:3], EmbeddingBudget(items=3))
    assert desk.spent.items == 0


def test_what_is_stored_elsewhere_is_forgotten(each_database: Database, server: EmbeddingServer) -> None:
    Desk(each_database, server).embed(TEXTS[:6])
    kept = KeptVectors(each_database, "e5", f"{server.url}/v1", CALL, "")
    kept.forget(TEXTS[:4])
    assert sorted(kept.find(TEXTS)) == TEXTS[4:6]


@pytest.mark.parametrize("faults", [[], ["drop", "429 Retry-After: 0", "drop", "500", "stall", None, "drop"]])
@pytest.mark.parametrize(("concurrency", "items"), [(1, 20), (4, 20), (7, 1)])
def test_a_budget_of_items_is_never_exceeded(
    desk: Desk, server: EmbeddingServer, faults: list[str | None], concurrency: int, items: int
) -> None:
    server.then(*faults)
    budget = EmbeddingBudget(items=items)
    result = desk.embed(TEXTS, budget, concurrency=concurrency, attempts=20, timeout_seconds=1.0 if faults else 60.0)
    assert_vectors(result, TEXTS)
    assert len(server.charged) <= items
    if not faults:
        assert (len(server.charged), result.has.sum()) == (items, items)
    assert not desk.embed(TEXTS, budget).has[~result.has].any()  # and it stays spent
    assert len(server.charged) <= items


def test_a_budget_of_tokens_is_used_up_to_what_one_text_may_cost(desk: Desk, server: EmbeddingServer) -> None:
    budget = EmbeddingBudget(tokens=70)
    result = desk.embed(TEXTS, budget)
    used = sum(len(text.split()) for text in server.charged)
    assert 70 - most_tokens(TEXTS[-1]) < used <= 70
    assert desk.spent.tokens == used
    assert result.has.sum() == len(server.charged)


def test_a_budget_of_money_counts_items_and_tokens(desk: Desk, server: EmbeddingServer) -> None:
    result = desk.embed(TEXTS, EmbeddingBudget(money=0.05), price_per_item=0.005)
    assert result.has.sum() == len(server.charged) == 10
    assert desk.spent.money == pytest.approx(0.05)


def test_where_no_tokens_are_told_the_most_that_they_can_be_counts(desk: Desk, server: EmbeddingServer) -> None:
    server.usage = False
    desk.embed(TEXTS[:1])
    assert desk.spent.tokens == most_tokens(TEXTS[0])


def test_a_pause_that_is_asked_for_is_kept(desk: Desk, server: EmbeddingServer) -> None:
    server.then("429 Retry-After: 1")
    assert desk.embed(TEXTS[:3]).has.all()
    first, second = server.received
    assert second.at - first.at >= 1


def test_a_pause_that_one_request_is_asked_for_is_kept_by_all(desk: Desk, server: EmbeddingServer) -> None:
    server.then("429 Retry-After: 1")
    assert desk.embed(TEXTS, concurrency=1).has.all()
    first, second, *_ = server.received
    assert second.at - first.at >= 1


def test_what_is_known_behind_the_end_of_a_budget_is_found_all_the_same(desk: Desk) -> None:
    many = [f"more {number}" for number in range(LOOKED_UP_AT_ONCE)]
    desk.embed(TEXTS[-3:])
    result = desk.embed([*TEXTS[:10], *many, *TEXTS[-3:]], EmbeddingBudget(items=5))
    assert result.has.sum() == 2 + 3


@pytest.mark.parametrize("text", ["plain", "ﷺﷺﷺﷺ", "각각각각각각각각", "ẛ̣ẛ̣ẛ̣ẛ̣ẛ̣ẛ̣ẛ̣ẛ̣", "ȺȺȺȺȺȺȺȺȺȺȺȺȺȺȺȺȺȺ"])
def test_no_text_has_more_tokens_than_are_set_aside_however_it_is_normalised(text: str) -> None:
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        for case in (str, str.lower, str.casefold):
            read = unicodedata.normalize(form, case(unicodedata.normalize(form, text)))
            assert len(read.encode()) <= most_tokens(text)


def test_what_fails_for_a_while_is_tried_again(desk: Desk, server: EmbeddingServer) -> None:
    server.then("500", "drop", "429")
    assert desk.embed(TEXTS[:3]).has.all()
    assert desk.spent.items == 9  # what the failure and the lost answer were for may have been paid


def test_a_pause_that_nobody_waits_for_ends_the_run(desk: Desk, server: EmbeddingServer) -> None:
    server.then("429 Retry-After: 3600")
    with pytest.raises(EmbedderAway) as raised:
        desk.embed(TEXTS[:3])
    assert raised.value.headers == {"Retry-After": "3600"}
    assert len(server.received) == 1
    assert desk.spent.items == 0
    assert not raised.value.in_vain


def test_attempts_end(desk: Desk, server: EmbeddingServer) -> None:
    server.then("500", "500", "500")
    with pytest.raises(EmbedderAway) as raised:
        desk.embed(TEXTS[:3], attempts=2)
    assert len(server.received) == 2
    assert raised.value.in_vain
