"""An embedder that is a Hugging Face folder of a model of images, which come as base64 of their encoded files.

An image's vector is what the model itself calls the image's features (CLIP, SigLIP); else its pooled output (ViT,
DINOv2, ResNet); else, where the folder has no weights for pooling, its first token (DINO). Nothing is downloaded, and
no code of the folder is run.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import AutoImageProcessor, AutoModel

from app.embedders.answers import wrong_vector
from app.embedders.options import LocalOptions
from app.embedders.protocol import EmbeddedBatch, EmbedderCall
from app.problems import EmbedderWrong
from models.inputs import BadInput, decoded_image
from workers.embedders.folder_faults import NOT_LOADED

_ImageProcessor: Any = AutoImageProcessor  # which has no types
_POOLING = "pooler."


class ImageFolderEmbedder:
    """A model of this machine. One batch is worked on at a time, in a thread."""

    def __init__(self, name: str, options: LocalOptions, device: torch.device) -> None:
        """Loads the folder. Raises EmbedderWrong where it holds no such model, or lacks some of its weights."""
        self._name = name
        self._device = device
        self._turn = asyncio.Lock()
        here: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            self._processor = _ImageProcessor.from_pretrained(options.folder, **here)
            self._model, loaded = AutoModel.from_pretrained(
                options.folder, use_safetensors=True, output_loading_info=True, dtype=torch.float32, **here
            )
        except NOT_LOADED as error:
            raise self._wrong(
                f"is a folder that holds no model of images in safetensors: {type(error).__name__}."
            ) from None
        missing = sorted(loaded["missing_keys"])
        if others := [key for key in missing if not key.startswith(_POOLING)]:
            raise self._wrong(f"is a folder without {len(others)} of its model's weights, {others[0]!r} among them.")
        self._pools = not missing
        self._model.to(device).eval()

    async def embed(self, texts: Sequence[str], call: EmbedderCall) -> EmbeddedBatch:
        async with self._turn:
            try:
                vectors = await asyncio.to_thread(self._embedded, texts)
            except BadInput as error:
                raise self._wrong(f"cannot embed one of its inputs: {error.reason}.") from None
        if vectors.shape[1] != call.dimension:
            raise self._wrong(f"makes vectors of {vectors.shape[1]} dimensions, and the model has {call.dimension}.")
        made = vectors.numpy()
        if (fault := wrong_vector(made, call)) is not None:
            raise self._wrong(f"made {fault}.")
        return EmbeddedBatch(made, 0)

    async def close(self) -> None:
        """Nothing is held open."""

    def unreadable(self, texts: Sequence[str]) -> set[str]:
        """Those of its inputs that are no images that can be decoded. Each is decoded for this."""
        return {text for text in texts if not _is_image(text)}

    @torch.inference_mode()
    def _embedded(self, texts: Sequence[str]) -> Tensor:
        """Vectors (n, d) float32 of n images. Raises BadInput."""
        images = [decoded_image(base64.b64decode(text)) for text in texts]
        given = {key: value.to(self._device) for key, value in self._processor(images, return_tensors="pt").items()}
        if hasattr(self._model, "get_image_features"):
            read = self._model.get_image_features(**given)
            features = read if isinstance(read, Tensor) else read.pooler_output
        else:
            read = self._model(**given)
            pooled = getattr(read, "pooler_output", None) if self._pools else None
            features = read.last_hidden_state[:, 0] if pooled is None else pooled
        vectors: Tensor = features.flatten(1).float().cpu()
        return vectors

    def _wrong(self, why: str) -> EmbedderWrong:
        return EmbedderWrong(f"Embedder {self._name!r} {why}", connection=self._name)


def _is_image(text: str) -> bool:
    try:
        decoded_image(base64.b64decode(text))
    except BadInput:
        return False
    return True
