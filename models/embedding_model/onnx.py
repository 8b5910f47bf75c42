"""Exports a trained model to ONNX and checks the export against PyTorch."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tokenizers
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from models.embedding_model.model import EmbeddingModel

LARGEST_DIFFERENCE = 1e-4
_TRACED, _CHECKED = 2, 5  # rows: another number than was traced shows that the graph does not depend on it


class NotExported(RuntimeError):
    """The model could not be written as ONNX, or the ONNX graph does not compute what the model does."""


class _Positional(nn.Module):
    """The embedder with one positional argument per input tensor, its outputs normalised under cosine."""

    def __init__(self, model: EmbeddingModel, names: list[str]) -> None:
        super().__init__()
        self._embedder, self._names = model.embedder, names
        self._unit = model.card.metric == "cosine"

    def forward(self, *tensors: Tensor) -> Tensor:
        features: Tensor = self._embedder(dict(zip(self._names, tensors, strict=True)))
        return normalize(features) if self._unit else features


def export_onnx(model: EmbeddingModel, path: Path) -> float:
    """Writes the model as ONNX; returns the largest difference from PyTorch, as a share of the largest component.

    The graph's inputs are the embedder's (uint8 pixels, or token ids with their mask), so pixels are normalised inside;
    the numbers of rows and of tokens are dynamic. Raises NotExported where the difference is above 1e-4.
    """
    import onnxruntime

    traced, checked = _probe(model, _TRACED, seed=0), _probe(model, _CHECKED, seed=1)
    module = _Positional(model, list(traced)).cpu().eval()
    partial = path.with_name(f".{path.name}.partial")
    try:
        _write(module, traced, partial)
        session = onnxruntime.InferenceSession(str(partial), providers=["CPUExecutionProvider"])
        with torch.inference_mode():
            expected = module(*checked.values()).numpy()
        (computed,) = session.run(None, {name: tensor.numpy() for name, tensor in checked.items()})
    except Exception as error:  # exporter and runtime raise whatever their many parts raise
        partial.unlink(missing_ok=True)
        raise NotExported(f"the model cannot be written as ONNX: {error}") from error
    difference = float(np.abs(computed - expected).max() / max(float(np.abs(expected).max()), 1e-12))
    if not difference <= LARGEST_DIFFERENCE:
        partial.unlink(missing_ok=True)
        raise NotExported(f"the ONNX graph differs from PyTorch by {difference:.1e} of the largest component")
    os.replace(partial, path)
    return difference


def _write(module: nn.Module, traced: Mapping[str, Tensor], path: Path) -> None:
    rows = torch.export.Dim.DYNAMIC
    free = tuple(dict.fromkeys((0,) if tensor.ndim == 4 else (0, 1), rows) for tensor in traced.values())
    with warnings.catch_warnings(), _quiet("torch.onnx"):  # the exporter warns of optional parts that it lacks
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            tuple(traced.values()),
            str(path),
            input_names=list(traced),
            output_names=["crosswalk_embedding"],
            dynamic_shapes=(free,),
            dynamo=True,
            external_data=False,
            verbose=False,
        )


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Silences a logger below errors."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _probe(model: EmbeddingModel, rows: int, seed: int) -> dict[str, Tensor]:
    """Random input of `rows` rows, as the embedder takes it."""
    draw = torch.Generator().manual_seed(seed)
    how = model.preprocessing
    if how.modality == "image":
        shape = (rows, 3, how.image_size, how.image_size)
        return {"pixels": torch.randint(0, 256, shape, generator=draw, dtype=torch.int64).to(torch.uint8)}
    tokens = min(how.tokens, 4 + rows)
    vocabulary = tokenizers.Tokenizer.from_str(how.tokenizer or "").get_vocab_size()
    ids = torch.randint(0, vocabulary, (rows, tokens), generator=draw)
    mask = torch.ones(rows, tokens, dtype=torch.int64)
    mask[0, tokens // 2 :] = 0
    return {"input_ids": ids, "attention_mask": mask}
