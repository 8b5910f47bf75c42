"""HTTP of OpenAI's embeddings call."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from anyio.to_thread import run_sync
from fastapi import APIRouter, Response
from pydantic_core import to_json

from app.composition import Parts
from app.http.openapi import problems
from app.keys.access import Caller
from app.old_space.schemas import EmbeddingsAnswer, EmbeddingsRequest
from app.old_space.service import OldSpaceAnswer
from app.problems import EmbedderAway, EmbedderWrong, NoRoute, NotFound, Unprocessable, WrongState

router = APIRouter(prefix="/v1", tags=["old-space"])

_NUMBERS_IN_THREAD = 2**14
"""Components of an answer's vectors from which on writing them would keep the event loop from others."""


@router.post(
    "/embeddings",
    summary="Embed texts for an old index",
    response_model=EmbeddingsAnswer,
    responses=problems(NotFound, NoRoute, WrongState, Unprocessable, EmbedderWrong, EmbedderAway),
)
async def embeddings(request: EmbeddingsRequest, caller: Caller, parts: Parts) -> Response:
    """OpenAI's call, with the id of an accepted upgrade in place of a model: the new model's embedder is asked, and its
    vectors are brought into the old space, so that an application keeps its index and changes its URL alone. Queries
    are pushed, and fused with the old model's own where that has an embedder too. The headers `Crosswalk-Upgrade`,
    `Crosswalk-Route`, `Crosswalk-Exact`, `Crosswalk-Note` and `Crosswalk-Quality` say how, and what was proved of
    it."""
    answer = await parts.old_space.embed(request.upgrade, request.side, request.texts, request.dimensions, caller)
    large = answer.vectors.size >= _NUMBERS_IN_THREAD
    body = await run_sync(_body, request, answer) if large else _body(request, answer)
    return Response(body, media_type="application/json", headers=_headers(answer))


def _body(request: EmbeddingsRequest, answer: OldSpaceAnswer) -> bytes:
    vectors = np.ascontiguousarray(answer.vectors, "<f4")
    shown: list[Any]
    if request.encoding_format == "base64":
        shown = [base64.b64encode(vector.tobytes()).decode() for vector in vectors]
    else:
        shown = vectors.tolist()
    data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(shown)]
    usage = {"prompt_tokens": answer.tokens, "total_tokens": answer.tokens}
    return to_json({"object": "list", "data": data, "model": request.model, "usage": usage})


def _headers(answer: OldSpaceAnswer) -> dict[str, str]:
    told = {
        "Crosswalk-Upgrade": answer.upgrade,
        "Crosswalk-Route": answer.route,
        "Crosswalk-Exact": "true" if answer.exact else "false",
        "Crosswalk-Note": answer.note.replace("‖", "|").encode("ascii", "replace").decode(),
    }
    return told if answer.quality is None else told | {"Crosswalk-Quality": str(answer.quality)}
