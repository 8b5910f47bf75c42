"""An embedder over HTTP: its answers are checked, its wishes heeded, and its secrets stay where they are."""

import asyncio
import socket
import traceback
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from app.embedders import openai_protocol
from app.embedders.openai_protocol import OpenAIEmbedder
from app.embedders.options import OpenAIOptions
from app.embedders.protocol import EmbeddedBatch, EmbedderCall
from app.embedders.retry_after import seconds_to_wait
from app.problems import EmbedderAway, EmbedderWrong
from tests.embedding_server import EmbeddingServer, embedding_server, hashed

KEY = "sk-very-secret-indeed"
CALL = EmbedderCall("test-model", 5)
TEXTS = ["a", "some words", "ünïcödé 🙂"]


@pytest.fixture
def server() -> Iterator[EmbeddingServer]:
    with embedding_server(hashed(5)) as server:
        yield server


def embedded(server: EmbeddingServer, call: EmbedderCall = CALL, **options: Any) -> EmbeddedBatch:
    async def ask() -> EmbeddedBatch:
        embedder = OpenAIEmbedder("e5", OpenAIOptions(**{"url": f"{server.url}/v1", "key": KEY, **options}))
        try:
            return await embedder.embed(TEXTS, call)
        finally:
            await embedder.close()

    return asyncio.run(ask())


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_vectors_come_in_the_order_of_the_texts_with_the_tokens_used(server: EmbeddingServer, encoding: str) -> None:
    answer = embedded(server, encoding=encoding)
    np.testing.assert_array_equal(answer.vectors, [hashed(5)(text) for text in TEXTS])
    assert answer.tokens == 5
    asked = server.received[-1]
    assert asked.authorization == f"Bearer {KEY}"
    assert asked.body == {"model": "test-model", "input": TEXTS, "encoding_format": encoding}


def test_dimensions_are_sent_along_where_they_are_asked_for(server: EmbeddingServer) -> None:
    embedded(server, EmbedderCall("test-model", 5, 5))
    assert server.received[-1].body["dimensions"] == 5


def test_what_texts_are_is_sent_along_where_a_server_is_to_be_told(server: EmbeddingServer) -> None:
    embedded(server, EmbedderCall("test-model", 5, input_type="passage"))
    assert server.received[-1].body["input_type"] == "passage"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("few", "2 vectors for 3 texts"),
        ("dimension", "4 dimensions, and the model has 5"),
        ("nan", "text 2 that holds a NaN"),
        ("huge", "no vector for text 2"),
        ("zeros", "a vector of zeros for text 2, and the model's vectors are compared by cosine"),
        ("order", "out of order"),
        ("other model", "answered as 'another-model'"),
        ("no json", "no JSON"),
        ("400", "answered 400"),
        ("401", "does not take the key"),
        ("429 x-should-retry: false", "answered 429: .*as told to"),
        ("200 Content-Encoding: gzip", "not compressed as its Content-Encoding says"),
        ("302 Location: http://127.0.0.1:1/elsewhere", "a redirect, which is not followed"),
    ],
)
def test_an_answer_that_cannot_be_used_is_a_clear_problem(server: EmbeddingServer, fault: str, said: str) -> None:
    server.then(fault)
    with pytest.raises(EmbedderWrong, match=said):
        embedded(server, EmbedderCall("test-model", 5, cosine=True))


def test_a_vector_of_zeros_is_one_where_no_cosine_is_taken(server: EmbeddingServer) -> None:
    server.then("zeros")
    assert not embedded(server).vectors[-1].any()


def test_tokens_that_no_texts_can_be_are_not_believed(server: EmbeddingServer) -> None:
    server.then("untold tokens")
    assert embedded(server).tokens is None


def test_a_model_may_answer_by_the_name_that_the_operator_gave_it(server: EmbeddingServer) -> None:
    server.then("other model")
    assert embedded(server, answers_as="another-model").vectors.shape == (3, 5)


@pytest.mark.parametrize(
    ("fault", "after", "maybe_paid"),
    [
        ("429 Retry-After: 7", 7.0, False),
        ("429", None, False),
        ("500", None, True),
        ("502 Retry-After: 2", 2.0, True),
        ("504", None, True),
        ("503", None, False),
        ("503 Retry-After: 2", 2.0, False),
        ("drop", None, True),
        ("stall", None, True),
        ("cut", None, True),
        ("half", None, True),
    ],
)
def test_what_may_pass_is_told_apart_with_the_pause_and_whether_it_may_have_been_paid(
    server: EmbeddingServer, fault: str, after: float | None, maybe_paid: bool
) -> None:
    server.then(fault)
    with pytest.raises(EmbedderAway) as raised:
        # So long that the server has taken the request, and with it the fault, however busy the machine is.
        embedded(server, timeout_seconds=2.0 if fault in ("stall", "half") else 60.0)
    assert (raised.value.after, raised.value.maybe_paid) == (after, maybe_paid)


def test_an_embedder_that_is_not_there_was_certainly_not_paid() -> None:
    with pytest.raises(EmbedderAway) as raised:
        embedded(EmbeddingServer(hashed(5), url="http://127.0.0.1:1"))
    assert not raised.value.maybe_paid


def test_an_embedder_that_takes_no_connection_was_certainly_not_paid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_protocol, "_CONNECT_SECONDS", 0.1)
    with ExitStack() as held:
        full = held.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):  # more than are kept until somebody accepts them
            waits = held.enter_context(socket.socket())
            waits.setblocking(False)
            waits.connect_ex(full.getsockname())
        with pytest.raises(EmbedderAway, match="did not take a connection") as raised:
            embedded(EmbeddingServer(hashed(5), url=f"http://127.0.0.1:{full.getsockname()[1]}"))
    assert not raised.value.maybe_paid


@pytest.mark.parametrize("fault", ["401", "400", "500", "drop", "few"])
def test_neither_key_nor_address_is_in_what_is_raised(server: EmbeddingServer, fault: str) -> None:
    server.then(fault)
    with pytest.raises((EmbedderWrong, EmbedderAway)) as raised:
        embedded(server)
    told = "".join(traceback.format_exception(raised.value)) + repr(OpenAIOptions(url=server.url, key=KEY))
    assert KEY not in told
    assert server.url not in told


@pytest.mark.parametrize(
    ("given", "key", "kind"),
    [("us:p-w@", None, "Basic"), ("someone:pass%20word@", None, "Basic"), ("us:p-w@", KEY, "Bearer"), ("", None, "")],
)
def test_a_refusal_that_says_who_asked_whom_is_told_without_that(
    server: EmbeddingServer, given: str, key: str | None, kind: str
) -> None:
    there = EmbeddingServer(hashed(5), url=server.url.replace("//", f"//{given}"))
    server.then("echo")
    with pytest.raises(EmbedderWrong, match=r"answered 400: .*does not like") as raised:
        embedded(there, key=key)
    told = raised.value.detail
    sent = server.received[-1].authorization or ""
    assert sent.partition(" ")[0] == kind
    for secret in (KEY, "127.0.0.1", sent.partition(" ")[2] or KEY, *filter(None, given.strip("@").split(":"))):
        assert secret not in told


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("3", 3.0),
        ("0.5", 0.5),
        ("-1", 0.0),
        ("Thu, 26 Nov 2026 12:00:30 GMT", 30.0),
        ("Thu, 26 Nov 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        (None, None),
        ("nan", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(header: str | None, seconds: float | None) -> None:
    assert seconds_to_wait(header, datetime(2026, 11, 26, 12, tzinfo=UTC)) == seconds
