"""An embedder that is a model which was trained here, from the artifacts of what trained it.

It reads texts, or images, each as base64 of its encoded file.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from app.embedders.answers import wrong_vector
from app.embedders.protocol import EmbeddedBatch, EmbedderCall
from app.problems import EmbedderWrong
from models import embedding_model
from models.inputs import BadInput, bad_rows
from models.inputs.preparing import prepare_batch
from models.portable import Array, PortableError


class TrainedHereEmbedder:
    """A model of this service. One batch is worked on at a time, in a thread."""

    def __init__(self, run: str, folder: Path, device: torch.device) -> None:
        """Loads the model. run: what trained it. folder: of its weights and card. Raises EmbedderWrong where they are
        gone, or damaged."""
        self._run = run
        self._device = device
        self._turn = asyncio.Lock()
        try:
            self._model = embedding_model.load(folder)
        except PortableError as error:
            raise EmbedderWrong(
                f"The model that {run} trained here cannot be loaded: {error}.", connection=run
            ) from None

    async def embed(self, texts: Sequence[str], call: EmbedderCall) -> EmbeddedBatch:
        async with self._turn:
            try:
                vectors, tokens = await asyncio.to_thread(self._embedded, texts)
            except BadInput as error:
                raise self._wrong(f"cannot embed one of its inputs: {error.reason}.") from None
        if vectors.shape[1] != call.dimension:
            raise self._wrong(f"makes vectors of {vectors.shape[1]} dimensions, and the model has {call.dimension}.")
        if (fault := wrong_vector(vectors, call)) is not None:
            raise self._wrong(f"made {fault}.")
        return EmbeddedBatch(vectors, tokens)

    async def close(self) -> None:
        """Nothing is held open."""

    def unreadable(self, texts: Sequence[str]) -> set[str]:
        """Those of its inputs that it cannot read: images that cannot be decoded. Each is decoded for this."""
        if self._model.preprocessing.modality == "text":
            return set()
        return {texts[error.row] for error in bad_rows(self._inputs(texts), self._model.preprocessing)}

    def _embedded(self, texts: Sequence[str]) -> tuple[Array, int]:
        """Vectors (n, d) float32, and how many tokens were read: none of images. Raises BadInput."""
        inputs = self._inputs(texts)
        return self._model.embed(inputs, device=self._device, batch=len(inputs)), self._tokens(inputs)

    def _inputs(self, texts: Sequence[str]) -> list[str] | list[bytes]:
        if self._model.preprocessing.modality == "text":
            return list(texts)
        return [base64.b64decode(one) for one in texts]

    def _tokens(self, inputs: list[str] | list[bytes]) -> int:
        if self._model.preprocessing.modality != "text":
            return 0
        prepared = prepare_batch(inputs, np.arange(len(inputs)), self._model.preprocessing, augment=False, seed=0)
        return int(prepared["attention_mask"].sum())

    def _wrong(self, why: str) -> EmbedderWrong:
        return EmbedderWrong(f"The model that {self._run} trained here {why}", connection=self._run)
