"""Backbones from Hugging Face transformers (timm where it is installed), with pooling and an optional projection.

Nothing is downloaded and no code of a model folder is run: a backbone is built from a configuration, or read from a
folder of safetensors weights.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.embedding_model.convolutions import avoid_strided_pointwise
from models.portable import Architecture

os.environ.setdefault("HF_HUB_OFFLINE", "1")

MOST_PARAMETERS = 4_000_000_000
_OWN_POOLING = ("bert", "roberta", "xlm-roberta", "mpnet", "vit", "deit")
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, which published weights were trained with


class CannotBuild(ValueError):
    """The architecture describes nothing that can be built here; the text says why."""


class Embedder(nn.Module):
    """Raw batch → features (b, dimension), not normalised.

    Images: {"pixels": (b, 3, S, S) uint8}. Texts: {"input_ids", "attention_mask"}, (b, t) int64 each. The projection is
    there where `dimension` differs from the backbone's width, or the architecture asks for it.
    """

    def __init__(self, backbone: nn.Module, width: int, dimension: int, *, projection: bool = False) -> None:
        super().__init__()
        self.backbone = backbone
        self.dimension = dimension
        needed = projection or dimension != width
        self.projection = nn.Linear(width, dimension) if needed else nn.Identity()

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        features: Tensor = self.projection(self.backbone(batch))
        return features


def build(architecture: Architecture, dimension: int | None = None, *, backbones_dir: Path | None = None) -> Embedder:
    """A new embedder; `dimension` of the features, the backbone's own width where None.

    Weights are drawn from torch's generator, except those of a local folder below `backbones_dir`. Raises CannotBuild.
    """
    match architecture.source:
        case "config":
            backbone = _from_config(architecture)
        case "local":
            backbone = _from_folder(architecture, backbones_dir)
        case "timm":
            backbone = _from_timm(architecture)
    avoid_strided_pointwise(backbone)
    width = backbone.width
    wanted = width if dimension is None else dimension
    return Embedder(backbone, width, wanted, projection=architecture.projection)


class _Images(nn.Module):
    """uint8 pixels → normalised → the wrapped model → (b, width)."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, width: int) -> None:
        super().__init__()
        self.model, self.width = model, width
        self.register_buffer("mean", 255 * torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(_STD).view(1, 3, 1, 1), persistent=False)

    def pixels(self, batch: Mapping[str, Tensor]) -> Tensor:
        return (batch["pixels"].to(self.mean.dtype) - self.mean) / self.std

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        features: Tensor = self.model(self.pixels(batch))
        return features


class _TransformersImages(_Images):
    """The pooled output; of a model without one, its first token or the mean over places."""

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        output = self.model(pixel_values=self.pixels(batch))
        pooled: Tensor | None = getattr(output, "pooler_output", None)
        if pooled is not None:
            return pooled.flatten(1)
        hidden: Tensor = output.last_hidden_state
        return hidden.mean(dim=(2, 3)) if hidden.ndim == 4 else hidden[:, 0]


class _Texts(nn.Module):
    """Token ids → the mean of the token vectors over the attention mask, or the first token's; (b, width)."""

    def __init__(self, model: nn.Module, width: int, pooling: str | None) -> None:
        super().__init__()
        self.model, self.width = model, width
        self._first = pooling == "cls"

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        mask = batch["attention_mask"]
        hidden: Tensor = self.model(input_ids=batch["input_ids"], attention_mask=mask).last_hidden_state
        if self._first:
            return hidden[:, 0]
        weight = mask.unsqueeze(2).to(hidden.dtype)
        return (hidden * weight).sum(1) / weight.sum(1).clamp(min=1)


class _SmallStem(nn.Module):
    """A 3×3 convolution at full resolution, as residual networks for 32 px have it (He et al., CVPR 2016, §4.2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.normalization = nn.BatchNorm2d(width)
        self.num_channels = 3

    def forward(self, pixel_values: Tensor) -> Tensor:
        return torch.relu(self.normalization(self.convolution(pixel_values)))


def _from_config(architecture: Architecture) -> _Images | _Texts:
    from transformers import AutoConfig

    try:
        known = _known_settings(architecture.name)
        if unknown := sorted(set(architecture.settings) - known):
            raise CannotBuild(
                f"a {architecture.name} has no settings {', '.join(unknown)}; it has {', '.join(sorted(known))}"
            )
        config = AutoConfig.for_model(architecture.name, **architecture.settings)
        with torch.device("meta"):
            _check_size(_model_of(config))
        model = _model_of(config)
    except CannotBuild:
        raise
    except Exception as error:  # whatever a wrong configuration makes a library of many models raise
        raise CannotBuild(f"a {architecture.name} with {architecture.config} cannot be built: {error}") from error
    if architecture.stem == "small":
        model.embedder = _SmallStem(config.embedding_size)
    return _wrapped(architecture, model)


def _from_folder(architecture: Architecture, backbones_dir: Path | None) -> _Images | _Texts:
    from transformers import AutoConfig, AutoModel

    folder = local_folder(architecture, backbones_dir)
    here: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = AutoConfig.from_pretrained(folder, **here)
        model, loading = AutoModel.from_pretrained(
            folder,
            config=config,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            **here,
            **_options(config.model_type),
        )
    except Exception as error:
        raise CannotBuild(f"the model in {architecture.name!r} cannot be read: {error}") from error
    if missing := sorted(loading["missing_keys"]):
        raise CannotBuild(f"the model in {architecture.name!r} has no weights for {', '.join(missing[:5])}")
    return _wrapped(architecture, model)


def _from_timm(architecture: Architecture) -> _Images:
    try:
        timm = importlib.import_module("timm")
    except ImportError as error:
        raise CannotBuild(f"timm cannot be imported here: {error}; install crosswalk[timm], or use `type`") from error
    try:
        model = timm.create_model(architecture.name, pretrained=False, num_classes=0)
    except Exception as error:
        raise CannotBuild(f"timm has no model {architecture.name!r}: {error}") from error
    return _Images(model, int(model.num_features))


def described(architecture: Architecture, embedder: Embedder) -> Architecture:
    """The architecture without reference to a folder, so that weights kept elsewhere can be put into it again.

    Raises CannotBuild for a family that is not among the known ones.
    """
    if architecture.source != "local":
        return architecture
    backbone: Any = embedder.backbone  # a wrapped model of transformers
    config: dict[str, Any] = backbone.model.config.to_diff_dict()
    family = str(config.get("model_type"))
    try:
        known = _known_settings(family)
        plain = {key: value for key, value in config.items() if _is_plain(value) and key in known}
        form = {"type": family, "config": plain, "pooling": architecture.pooling, "projection": architecture.projection}
        built = Architecture.from_json({key: value for key, value in form.items() if value is not None})
    except ValueError as error:
        raise CannotBuild(f"the model in {architecture.name!r} is of no known family: {error}") from error
    if built.modality != architecture.modality:
        raise CannotBuild(f"the model in {architecture.name!r} embeds {built.modality}s, not {architecture.modality}s")
    return built


def _is_plain(value: object) -> bool:
    values = value if isinstance(value, list) else [value]
    return all(isinstance(each, int | float | str | bool) for each in values)


def local_folder(architecture: Architecture, backbones_dir: Path | None) -> Path:
    """The folder of a local architecture. Raises CannotBuild where there is none."""
    if backbones_dir is None or not (backbones_dir / architecture.name / "config.json").is_file():
        where = "the backbones folder" if backbones_dir is None else str(backbones_dir)
        raise CannotBuild(f"there is no model {architecture.name!r} in {where}: a folder with config.json is expected")
    return backbones_dir / architecture.name


def _known_settings(family: str) -> set[str]:
    """What a family can be configured by; not what every family shares, which says nothing of how it is built."""
    from transformers import AutoConfig, PretrainedConfig

    config = AutoConfig.for_model(family)
    return {*config.to_dict(), *type(config).attribute_map} - set(PretrainedConfig().to_dict())


def _model_of(config: Any) -> Any:
    from transformers import AutoModel

    make: Any = AutoModel.from_config  # untyped
    return make(config, trust_remote_code=False, **_options(config.model_type))


def _options(family: str) -> dict[str, Any]:
    """Some families bring a dense pooling layer, which published weights often lack: tokens are pooled here instead."""
    return {"add_pooling_layer": False} if family in _OWN_POOLING else {}


def _wrapped(architecture: Architecture, model: Any) -> _Images | _Texts:
    config = model.config
    widths = getattr(config, "hidden_sizes", None) or [getattr(config, "hidden_size", None)]
    if (width := widths[-1]) is None:
        raise CannotBuild(f"a {config.model_type} does not say how wide its features are")
    if architecture.modality == "text":
        return _Texts(model, int(width), architecture.pooling)
    return _TransformersImages(model, int(width))


def _check_size(model: nn.Module) -> None:
    count = sum(parameter.numel() for parameter in model.parameters())
    if count > MOST_PARAMETERS:
        raise CannotBuild(f"the architecture has {count:,} parameters; at most {MOST_PARAMETERS:,} are taken")
