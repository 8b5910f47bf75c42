"""Architectures as small as they go, one of every family."""

from typing import Any

import torch
from torch import Tensor

from models.portable import Architecture

SIDE, VOCABULARY = 32, 60
_TRANSFORMER: dict[str, Any] = {
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
}
_STAGES: dict[str, Any] = {"hidden_sizes": [4, 8], "depths": [1, 1]}
_VIT = _TRANSFORMER | {"image_size": SIDE, "patch_size": 8}
_TEXT = _TRANSFORMER | {"vocab_size": VOCABULARY, "max_position_embeddings": 40}
_SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}

IMAGES: dict[str, dict[str, Any]] = {
    "resnet": _STAGES | {"embedding_size": 4, "layer_type": "basic"},
    "convnext": _STAGES | {"num_stages": 2},
    "convnextv2": _STAGES | {"num_stages": 2},
    "regnet": _STAGES | {"embedding_size": 4, "groups_width": 4},
    "vit": _VIT,
    "deit": _VIT,
    "dinov2": {key: value for key, value in _VIT.items() if key != "intermediate_size"},
    "swin": {
        "embed_dim": 4,
        "depths": [1, 1],
        "num_heads": [1, 1],
        "window_size": 2,
        "image_size": SIDE,
        "patch_size": 4,
    },
}
TEXTS: dict[str, dict[str, Any]] = {
    "bert": _TEXT,
    "roberta": _TEXT,
    "xlm-roberta": _TEXT,
    "mpnet": _TEXT,
    "electra": _TEXT,
    "modernbert": _TEXT | _SPECIAL,
    "distilbert": {
        "dim": 8,
        "n_layers": 1,
        "n_heads": 2,
        "hidden_dim": 8,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 40,
    },
}
SETTINGS = IMAGES | TEXTS


def tiny(family: str, **more: Any) -> Architecture:
    """The smallest architecture of a family."""
    return Architecture.from_json({"type": family, "config": SETTINGS[family], **more})


def probe(architecture: Architecture, rows: int = 3, side: int = SIDE, seed: int = 0) -> dict[str, Tensor]:
    """Random input of the architecture's kind; texts are of unequal lengths."""
    draw = torch.Generator().manual_seed(seed)
    if architecture.modality == "image":
        return {"pixels": torch.randint(0, 256, (rows, 3, side, side), generator=draw).to(torch.uint8)}
    ids = torch.randint(5, VOCABULARY, (rows, 7), generator=draw)
    mask = (torch.arange(7) < torch.arange(7, 7 - rows, -1)[:, None]).long()
    return {"input_ids": ids * mask, "attention_mask": mask}
