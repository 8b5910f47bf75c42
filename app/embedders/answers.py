"""The answer of an OpenAI-compatible embedder, believed in nothing: each way in which it can be wrong is named."""

from __future__ import annotations

import base64
import binascii
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json

from app.embedders.protocol import EmbeddedBatch, EmbedderCall
from app.problems import EmbedderWrong

_MOST_TOKENS = 10**12
"""Of one answer: beyond all that is embedded anywhere, and within what the sum of many is kept as."""


def read_answer(body: bytes, texts: int, call: EmbedderCall, connection: str, answers_as: str | None) -> EmbeddedBatch:
    """The vectors of so many texts. answers_as: what the answer may call the model, besides what was asked for.

    Raises EmbedderWrong for what is no such answer, another model's, too few or too many vectors or in another order
    than the texts, of another dimension, with a NaN or an infinity, or of zeros that are to be compared by cosine.
    """

    def refuse(why: str) -> NoReturn:
        raise EmbedderWrong(f"Embedder {connection!r} {why}", connection=connection)

    try:
        answer = from_json(body)
    except ValueError:
        refuse("answered with what is no JSON.")
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, list) or not all(isinstance(one, dict) for one in data):
        refuse("answered with JSON that has no list `data` of vectors.")
    name = answer.get("model")
    if isinstance(name, str) and name not in (call.model, answers_as):
        refuse(
            f"was asked for model {call.model!r} and answered as {name[:200]!r}. Where both are the same model, the "
            "operator says so with `answers_as` in the file of connections."
        )
    if len(data) != texts:
        refuse(f"answered with {len(data)} vectors for {texts} texts.")
    if (order := [one.get("index", place) for place, one in enumerate(data)]) != list(range(texts)):
        wrong = next(place for place, index in enumerate(order) if index != place)
        refuse(f"answered out of order: vector {wrong} says that it is of text {str(order[wrong])[:20]}.")
    vectors = np.empty((texts, call.dimension), np.float32)
    for place, one in enumerate(data):
        vector = _vector(one.get("embedding"))
        if vector is None:
            refuse(f"answered with no vector for text {place}: `embedding` is neither numbers nor base64 of float32.")
        if vector.shape != (call.dimension,):
            refuse(f"answered with a vector of {len(vector)} dimensions, and the model has {call.dimension}.")
        vectors[place] = vector
    if (fault := wrong_vector(vectors, call)) is not None:
        refuse(f"answered with {fault}.")
    return EmbeddedBatch(vectors, _tokens(answer.get("usage")))


def wrong_vector(vectors: NDArray[np.float32], call: EmbedderCall) -> str | None:
    """What is wrong with the first of the vectors, (n, d) float32, that cannot be used; None where all can."""
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        return f"a vector for text {int(np.argmin(finite))} that holds a NaN or an infinity"
    there = vectors.any(axis=1)
    if call.cosine and not there.all():
        return f"a vector of zeros for text {int(np.argmin(there))}, and the model's vectors are compared by cosine"
    return None


def _vector(value: Any) -> NDArray[np.float32] | None:
    """The components as they came; None where they are none."""
    try:
        if isinstance(value, str):
            return np.frombuffer(base64.b64decode(value, validate=True), "<f4")
        with np.errstate(over="ignore"):  # to an infinity, which is refused
            vector = np.array(value, np.float64).astype(np.float32)
    except (binascii.Error, ValueError, TypeError, OverflowError):  # the last for integers beyond any float
        return None
    return vector if vector.ndim == 1 else None


def _tokens(usage: Any) -> int | None:
    """The tokens that an answer says were read; None where it does not say, or says what no texts can be."""
    if not isinstance(usage, dict):
        return None
    told = [usage.get(name) for name in ("total_tokens", "prompt_tokens")]
    return next(
        (one for one in told if isinstance(one, int) and not isinstance(one, bool) and 0 < one <= _MOST_TOKENS), None
    )
