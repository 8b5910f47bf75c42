"""An embedder that is a folder: a sentence-transformers model, or a Hugging Face one whose tokens are averaged.

Of a sentence-transformers folder, `modules.json` names the parts; those that are taken are the transformer, pooling by
the mean, the first token, the last one or the largest, and bringing vectors to unit length. Nothing is downloaded, and
no code of the folder is run.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoModel, AutoTokenizer

from app.embedders.answers import wrong_vector
from app.embedders.options import LocalOptions
from app.embedders.protocol import EmbeddedBatch, EmbedderCall
from app.problems import EmbedderWrong
from workers.embedders.folder_faults import NOT_LOADED

Pooling = Literal["mean", "cls", "lasttoken", "max"]

_POOLINGS: dict[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_max_tokens": "max",
}
_NO_LIMIT = 10**9
"""Tokenisers that know of no longest text say a number beyond this one."""
_TAKEN = ("Transformer", "Pooling", "Normalize")


class LocalEmbedder:
    """A model of this machine. One batch is worked on at a time, in a thread."""

    def __init__(self, name: str, options: LocalOptions, device: torch.device) -> None:
        """Loads the folder. Raises EmbedderWrong where it holds no such model."""
        self._name = name
        self._device = device
        self._turn = asyncio.Lock()
        try:
            self._layout = _Layout.of(options.folder)
            self._tokenizer = AutoTokenizer.from_pretrained(
                self._layout.transformer, local_files_only=True, trust_remote_code=False
            )
            self._model = AutoModel.from_pretrained(
                self._layout.transformer, local_files_only=True, trust_remote_code=False, use_safetensors=True
            )
        except (*NOT_LOADED, _NotTaken) as error:
            why = str(error) if isinstance(error, _NotTaken) else type(error).__name__
            raise EmbedderWrong(
                f"The folder of embedder {name!r} holds no model that can be loaded from safetensors: {why}.",
                connection=name,
            ) from None
        self._model.to(device).eval()
        limits = [
            options.max_tokens,
            self._layout.max_tokens,
            self._tokenizer.model_max_length,
            _positions(self._model),
        ]
        self._longest = min((limit for limit in limits if limit and limit < _NO_LIMIT), default=512)

    async def embed(self, texts: Sequence[str], call: EmbedderCall) -> EmbeddedBatch:
        async with self._turn:
            vectors, tokens = await asyncio.to_thread(self._embedded, list(texts))
        if vectors.shape[1] != call.dimension:
            raise self._wrong(f"makes vectors of {vectors.shape[1]} dimensions, and the model has {call.dimension}.")
        made = vectors.numpy()
        if (fault := wrong_vector(made, call)) is not None:
            raise self._wrong(f"made {fault}.")
        return EmbeddedBatch(made, tokens)

    async def close(self) -> None:
        """Nothing is held open."""

    @torch.inference_mode()
    def _embedded(self, texts: list[str]) -> tuple[torch.Tensor, int]:
        """Vectors (n, d) float32, and how many tokens were read."""
        if self._layout.lower_case:
            texts = [text.lower() for text in texts]
        given = self._tokenizer(texts, padding=True, truncation=True, max_length=self._longest, return_tensors="pt")
        given = {key: value.to(self._device) for key, value in given.items()}
        mask = given["attention_mask"]
        hidden = self._model(**given).last_hidden_state.float()
        pooled = _pooled(hidden, mask, self._layout.pooling)
        if self._layout.normalised:
            pooled = torch.nn.functional.normalize(pooled, dim=1)
        return pooled.cpu(), int(mask.sum())

    def _wrong(self, why: str) -> EmbedderWrong:
        return EmbedderWrong(f"Embedder {self._name!r} {why}", connection=self._name)


class _NotTaken(Exception):
    """The folder has a part that is not taken here; the message names it."""


@dataclass(frozen=True)
class _Layout:
    """What a folder's own files say of it. transformer: where the model and its tokeniser are; max_tokens: what is
    longer is cut; lower_case: whether texts are read in lower case."""

    transformer: Path
    pooling: Pooling = "mean"
    normalised: bool = False
    max_tokens: int | None = None
    lower_case: bool = False

    @classmethod
    def of(cls, folder: Path) -> _Layout:
        """Raises OSError, ValueError or KeyError where its files cannot be read, and _NotTaken."""
        if not (folder / "modules.json").exists():
            return cls(folder)
        layout = cls(folder)
        for module in json.loads((folder / "modules.json").read_text()):
            kind, place = module["type"].rpartition(".")[2], folder / module["path"]
            if kind not in _TAKEN:
                raise _NotTaken(f"a part of the type {kind!r} is not taken, but {', '.join(_TAKEN)}")
            if kind == "Transformer":
                said = _said_of_texts(place)
                longest, lower_case = said.get("max_seq_length"), said.get("do_lower_case") is True
                layout = replace(layout, transformer=place, max_tokens=longest, lower_case=lower_case)
            elif kind == "Pooling":
                layout = replace(layout, pooling=_pooling(json.loads((place / "config.json").read_text())))
            else:
                layout = replace(layout, normalised=True)
        return layout


def _said_of_texts(transformer: Path) -> dict[str, Any]:
    """What sentence-transformers keeps beside a model of how it reads texts, under whichever of its names."""
    kept = sorted(transformer.glob("sentence_*_config.json"))
    said = json.loads(kept[0].read_text()) if kept else {}
    return said if isinstance(said, dict) else {}


def _positions(model: Any) -> int | None:
    """How many tokens a model has positions for. RoBERTa, MPNet and their kin count positions from behind that of the
    padding on, so that the first ones are never a token's."""
    there: int | None = getattr(model.config, "max_position_embeddings", None)
    padding = getattr(getattr(getattr(model, "embeddings", None), "position_embeddings", None), "padding_idx", None)
    return there if there is None or padding is None else there - padding - 1


def _pooling(config: dict[str, Any]) -> Pooling:
    modes = [name for name, value in config.items() if name.startswith("pooling_mode_") and value is True]
    if len(modes) != 1 or modes[0] not in _POOLINGS:
        raise _NotTaken(f"pooling by {' and '.join(modes) or 'nothing'} is not taken, but {', '.join(_POOLINGS)}")
    return _POOLINGS[modes[0]]


def _pooled(hidden: torch.Tensor, mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """One vector a text: hidden (n, t, d) float32, mask (n, t) → (n, d)."""
    there = mask.unsqueeze(-1)
    match pooling:
        case "mean":
            return (hidden * there).sum(1) / there.sum(1).clamp(min=1)
        case "cls":
            return hidden[torch.arange(len(hidden)), mask.argmax(1)]
        case "lasttoken":
            last = mask.shape[1] - 1 - mask.flip(1).argmax(1)
            return hidden[torch.arange(len(hidden)), last]
        case "max":
            return hidden.masked_fill(there == 0, -torch.inf).max(1).values
