"""Embedders that the gateway asks: what one call learns of a connection, and holds of it, all others share."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from app.embedders import gateway
from app.embedders.choice import EmbedderChoice
from app.embedders.configured import ModelEmbedder
from app.embedders.gateway import GatewayEmbedders, all_of
from app.embedders.options import OpenAIOptions
from app.embedders.protocol import EmbeddedBatch, EmbedderCall
from app.problems import EmbedderAway
from tests.embedding_server import EmbeddingServer, embedding_server, hashed
from tests.waiting import PATIENCE_SECONDS
from tests.worlds import Floats

CALLS = 6


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn comes late on a busy machine."""
    monkeypatch.setattr(gateway, "_TURN_SECONDS", PATIENCE_SECONDS)


def ask(
    server: EmbeddingServer, calls: Sequence[Sequence[str]], *, in_turn: bool = False, **options: Any
) -> list[EmbeddedBatch | BaseException]:
    """What becomes of calls, each of so many texts; all at once, or one after the other."""
    given = OpenAIOptions(url=f"{server.url}/v1", **options)
    how = ModelEmbedder("e5", given, EmbedderChoice(connection="e5"), EmbedderCall("test-model", 5))

    async def asked() -> list[EmbeddedBatch | BaseException]:
        embedders = GatewayEmbedders()
        turns = asyncio.Semaphore(1 if in_turn else len(calls))

        async def call(texts: Sequence[str]) -> EmbeddedBatch:
            async with turns:
                return await embedders.embedded(how, "query", texts)

        try:
            return await asyncio.gather(*map(call, calls), return_exceptions=True)
        finally:
            await embedders.close()

    return asyncio.run(asked())


def test_no_more_requests_are_under_way_than_a_connection_takes_whoever_asks() -> None:
    lock, under_way, most = threading.Lock(), 0, 0
    second = threading.Event()

    def embed(text: str) -> Floats:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        second.wait(0.05)  # never set: another request that is under way comes within it
        with lock:
            under_way -= 1
        return hashed(5)(text)

    with embedding_server(embed) as server:
        answers = ask(server, [[str(number)] for number in range(CALLS)], concurrency=1)
        assert all(isinstance(one, EmbeddedBatch) for one in answers)
        assert most == 1


def test_a_call_of_one_request_does_not_stand_behind_one_of_many() -> None:
    single = threading.Event()

    def embed(text: str) -> Floats:
        if text == "single":
            single.set()
        else:
            assert single.wait(PATIENCE_SECONDS)
        return hashed(5)(text)

    with embedding_server(embed) as server:
        large, one = ask(server, [[str(number) for number in range(CALLS)], ["single"]], concurrency=2, batch=1)
        assert isinstance(large, EmbeddedBatch)
        assert isinstance(one, EmbeddedBatch)


def test_a_call_does_not_wait_for_others_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "_TURN_SECONDS", 0.01)
    away = threading.Event()

    def embed(text: str) -> Floats:
        assert away.wait(PATIENCE_SECONDS)
        return hashed(5)(text)

    async def asked(how: ModelEmbedder) -> None:
        embedders = GatewayEmbedders()
        before = asyncio.create_task(embedders.embedded(how, "query", ["before"]))
        await asyncio.sleep(0)
        with pytest.raises(EmbedderAway, match="is busy"):
            await embedders.embedded(how, "query", ["behind"])
        away.set()
        assert (await before).vectors.shape == (1, 5)
        await embedders.close()

    with embedding_server(embed) as server:
        options = OpenAIOptions(url=f"{server.url}/v1", concurrency=1)
        asyncio.run(asked(ModelEmbedder("e5", options, EmbedderChoice(connection="e5"), EmbedderCall("test-model", 5))))


def test_an_embedder_that_wants_to_be_left_alone_is_not_asked_by_others() -> None:
    with embedding_server(hashed(5)) as server:
        server.then("429 Retry-After: 3600")
        first, second = ask(server, [["a"], ["b"]], in_turn=True, longest_wait_seconds=3600.0)
        assert len(server.received) == 1
        assert isinstance(first, EmbedderAway)
        assert isinstance(second, EmbedderAway)
        assert "asked to be left alone" in second.detail
        assert 3600 - PATIENCE_SECONDS < int((second.headers or {})["Retry-After"]) <= 3600


def test_a_pause_that_is_longer_than_the_operator_waits_for_is_not_kept_to_its_end() -> None:
    with embedding_server(hashed(5)) as server:
        server.then("429 Retry-After: 86400")
        first, second = ask(server, [["a"], ["b"]], in_turn=True, longest_wait_seconds=0.0)
        assert isinstance(first, EmbedderAway)
        assert isinstance(second, EmbeddedBatch)


def test_where_one_of_several_fails_the_others_are_broken_off() -> None:
    broken_off = []

    async def fails() -> None:
        raise EmbedderAway("away")

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            broken_off.append(True)
            raise

    with pytest.raises(EmbedderAway):
        asyncio.run(all_of([waits(), fails()]))
    assert broken_off


def test_a_server_is_told_what_texts_are_where_a_model_says_so() -> None:
    choice = EmbedderChoice(connection="e5", query_input_type="query", document_input_type="passage")

    async def asked(server: EmbeddingServer) -> None:
        how = ModelEmbedder("e5", OpenAIOptions(url=f"{server.url}/v1"), choice, EmbedderCall("test-model", 5))
        embedders = GatewayEmbedders()
        await embedders.embedded(how, "query", ["where is my parcel"])
        await embedders.embedded(how, "document", ["Parcels take a week."])
        await embedders.close()

    with embedding_server(hashed(5)) as server:
        asyncio.run(asked(server))
        assert [one.body["input_type"] for one in server.received] == ["query", "passage"]
