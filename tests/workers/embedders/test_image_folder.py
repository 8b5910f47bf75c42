"""An embedder that is a folder of a model of images: real Transformers models, with weights of no meaning."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, CLIPModel, ViTModel

from app.embedders.options import LocalOptions
from app.embedders.protocol import EmbeddedBatch, EmbedderCall
from app.problems import EmbedderWrong
from tests.image_folder import DIMENSION, clip_folder, resnet_folder, vit_folder
from workers.embedders.image_folder import ImageFolderEmbedder


def picture(mode: str, width: int, height: int, form: str) -> tuple[Image.Image, str]:
    """Noise, and the same as base64 of a file."""
    shape = (height, width) if mode == "L" else (height, width, len(mode))
    image = Image.fromarray(np.random.default_rng(width).integers(0, 256, shape).astype(np.uint8), mode)
    content = io.BytesIO()
    image.save(content, form)
    return image, base64.b64encode(content.getvalue()).decode()


PICTURES = [picture("RGB", 30, 20, "PNG"), picture("L", 8, 8, "BMP"), picture("RGBA", 16, 40, "WEBP")]
GIVEN = [text for _, text in PICTURES]


def opened(folder: Path) -> ImageFolderEmbedder:
    return ImageFolderEmbedder("pictures", LocalOptions(folder=folder, reads="image"), torch.device("cpu"))


def ask(folder: Path, texts: Sequence[str], dimension: int = DIMENSION) -> EmbeddedBatch:
    return asyncio.run(opened(folder).embed(texts, EmbedderCall("pictures", dimension, cosine=True)))


def given_to(folder: Path) -> torch.Tensor:
    """What the folder's own processor makes of the pictures."""
    processor = cast(Any, AutoImageProcessor).from_pretrained(folder)
    images = [Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB") for text in GIVEN]
    pixels: torch.Tensor = processor(images, return_tensors="pt")["pixel_values"]
    return pixels


def test_images_get_what_each_kind_of_model_makes_of_them_whatever_is_beside_them(tmp_path: Path) -> None:
    vit, bare, clip = (
        vit_folder(tmp_path / "vit"),
        vit_folder(tmp_path / "bare", without="pooler."),
        clip_folder(tmp_path / "clip"),
    )
    with torch.inference_mode():
        read = cast(Any, ViTModel).from_pretrained(vit).eval()(given_to(vit))
        features = cast(Any, CLIPModel).from_pretrained(clip).eval().get_image_features(given_to(clip))
    projected = features if isinstance(features, torch.Tensor) else features.pooler_output
    for folder, wanted in ((vit, read.pooler_output), (bare, read.last_hidden_state[:, 0]), (clip, projected)):
        answer = ask(folder, GIVEN)
        np.testing.assert_allclose(answer.vectors, wanted.numpy(), atol=1e-5)
        np.testing.assert_allclose(ask(folder, GIVEN[1:2]).vectors, answer.vectors[1:2], atol=1e-5)
        assert answer.tokens == 0


def test_weights_of_half_precision_make_vectors_of_single_precision(tmp_path: Path) -> None:
    whole = ask(resnet_folder(tmp_path / "whole", torch.float32), GIVEN).vectors
    half = ask(resnet_folder(tmp_path / "half", torch.float16), GIVEN).vectors
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, whole, rtol=0.05, atol=0.01)


def test_what_is_no_image_is_named_before_and_refused(tmp_path: Path) -> None:
    folder = vit_folder(tmp_path)
    cut = base64.b64encode(base64.b64decode(GIVEN[0])[:40]).decode()
    assert opened(folder).unreadable([*GIVEN, cut, ""]) == {cut, ""}
    with pytest.raises(EmbedderWrong, match="cannot embed one of its inputs: not an image"):
        ask(folder, [GIVEN[0], cut])
    with pytest.raises(EmbedderWrong, match=f"{DIMENSION} dimensions, and the model has 8"):
        ask(folder, GIVEN, 8)


def test_a_folder_that_is_no_such_model_or_lacks_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(EmbedderWrong, match="holds no model of images"):
        opened(tmp_path / "empty")
    with pytest.raises(EmbedderWrong, match="without 2 of its model's weights"):
        opened(vit_folder(tmp_path / "torn", without="layernorm."))
    cut, other = vit_folder(tmp_path / "cut"), vit_folder(tmp_path / "other")
    weights, told = cut / "model.safetensors", other / "config.json"
    weights.write_bytes(weights.read_bytes()[:-100])
    told.write_text(told.read_text().replace(f'"hidden_size": {DIMENSION}', f'"hidden_size": {2 * DIMENSION}'))
    for folder in (cut, other):
        with pytest.raises(EmbedderWrong, match="holds no model of images"):
            opened(folder)
