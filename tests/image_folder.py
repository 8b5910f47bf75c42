"""Hugging Face folders of small models of images, with weights of no meaning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel, ResNetConfig, ResNetModel, ViTConfig, ViTModel

DIMENSION, SIDE = 24, 16
_SMALL: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


def vit_folder(path: Path, without: str | None = None) -> Path:
    """A ViT; without the weights whose names begin so."""
    torch.manual_seed(0)
    config = ViTConfig(**_SMALL | {"hidden_size": DIMENSION}, image_size=SIDE, patch_size=4, initializer_range=0.3)
    ViTModel(config).save_pretrained(path)
    if without is not None:
        weights = path / "model.safetensors"
        kept = {name: tensor for name, tensor in load_file(weights).items() if not name.startswith(without)}
        save_file(kept, weights, {"format": "pt"})
    return _with_processor(path, "ViTImageProcessor")


def clip_folder(path: Path) -> Path:
    """A CLIP, whose vectors are of another length than its tokens."""
    torch.manual_seed(0)
    vision = {**_SMALL, "image_size": SIDE, "patch_size": 8}
    CLIPModel(CLIPConfig(vision_config=vision, text_config=_SMALL, projection_dim=DIMENSION)).save_pretrained(path)
    return _with_processor(path, "CLIPImageProcessor")


def resnet_folder(path: Path, dtype: torch.dtype) -> Path:
    """A ResNet whose weights are kept in numbers of this type."""
    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, DIMENSION], depths=[1, 1])
    model: Any = ResNetModel(config)
    model.to(dtype).save_pretrained(path)
    return _with_processor(path, "ViTImageProcessor")


def _with_processor(path: Path, kind: str) -> Path:
    half = [0.5, 0.5, 0.5]
    size = {"height": SIDE, "width": SIDE}
    told = {"image_processor_type": kind, "size": size, "crop_size": size, "image_mean": half, "image_std": half}
    (path / "preprocessor_config.json").write_text(json.dumps(told))
    return path
