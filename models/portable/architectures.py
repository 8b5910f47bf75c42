"""Architectures of models to be trained: data that the gateway validates and the worker builds a backbone from.

"resnet50"                                       a preset
{"type": "resnet", "config": {…}, "stem": …}     a model type of Hugging Face transformers, by its configuration
{"local": "my-encoder"}                          a folder of weights below the service's backbones folder
{"timm": "resnet18"}                             an image model of timm, where that is installed
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Modality = Literal["image", "text"]
Source = Literal["config", "local", "timm"]

IMAGE_TYPES = ("resnet", "convnext", "convnextv2", "regnet", "vit", "deit", "swin", "dinov2")
TEXT_TYPES = ("bert", "roberta", "distilbert", "mpnet", "electra", "modernbert", "xlm-roberta")
STEMS = ("small",)
POOLINGS = ("mean", "cls")

MOST_WIDTH, MOST_LAYERS, MOST_TOKENS = 16_384, 512, 262_144
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_WIDTHS = ("hidden_size", "dim", "d_model")

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "resnet18": {"config": {"hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2], "layer_type": "basic"}},
    "resnet34": {"config": {"hidden_sizes": [64, 128, 256, 512], "depths": [3, 4, 6, 3], "layer_type": "basic"}},
    "resnet50": {
        "config": {"hidden_sizes": [256, 512, 1024, 2048], "depths": [3, 4, 6, 3], "layer_type": "bottleneck"}
    },
    "small-resnet": {
        "stem": "small",
        "config": {
            "embedding_size": 16,
            "hidden_sizes": [16, 32, 64, 128],
            "depths": [1, 1, 1, 1],
            "layer_type": "basic",
        },
    },
    "small-bert": {
        "type": "bert",
        "config": {
            "hidden_size": 256,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "intermediate_size": 1024,
            "vocab_size": 8192,
            "max_position_embeddings": 128,
        },
    },
}


@dataclass(frozen=True)
class Architecture:
    """How a backbone is built. name: its model type, folder or timm name; config: JSON text, keys sorted.

    stem: "small" for images under 64 px: a 3×3 convolution without pooling in the place of resnet's first layers.
    projection: whether the model ends in a linear layer even where its width is that of the vectors.
    pooling: how a text's token vectors become one; None for the default of its model type.
    """

    source: Source
    name: str
    config: str = "{}"
    stem: str | None = None
    pooling: str | None = None
    modality: Modality = "image"
    projection: bool = False

    @classmethod
    def from_json(cls, value: object) -> Architecture:
        """Reads a preset's name or an object with "type", "local" or "timm". Raises ValueError that says what is wrong
        and what is allowed."""
        if isinstance(value, str):
            if value not in PRESETS:
                raise ValueError(f"unknown architecture {value!r}; the presets are {', '.join(PRESETS)}")
            value = {"type": "resnet", **PRESETS[value]}
        if not isinstance(value, Mapping):
            raise ValueError(
                'an architecture is a preset\'s name or an object: {"type", "config"}, {"local"} or {"timm"}'
            )
        if "local" in value:
            return cls._named("local", value, {"local", "modality", "pooling", "projection"})
        if "timm" in value:
            return cls._named("timm", value, {"timm", "projection"})
        return cls._configured(value)

    @classmethod
    def _configured(cls, value: Mapping[str, Any]) -> Architecture:
        _refuse_unknown(value, {"type", "config", "stem", "pooling", "projection"})
        family, config = value.get("type"), value.get("config", {})
        if family not in (*IMAGE_TYPES, *TEXT_TYPES):
            raise ValueError(f"unknown type {family!r}; known are {', '.join((*IMAGE_TYPES, *TEXT_TYPES))}")
        if not isinstance(config, Mapping):
            raise ValueError(f"`config` is an object of the family's settings, not {config!r}")
        _check_sizes(config)
        modality: Modality = "text" if family in TEXT_TYPES else "image"
        stem = _one_of("stem", value.get("stem"), STEMS)
        if stem is not None and family != "resnet":
            raise ValueError(f'`stem` is of type "resnet" alone, not of {family!r}')
        pooling = _pooling(value, modality)
        text = json.dumps(dict(config), sort_keys=True)
        return cls("config", str(family), text, stem, pooling, modality, _projection(value))

    @classmethod
    def _named(cls, source: Literal["local", "timm"], value: Mapping[str, Any], known: set[str]) -> Architecture:
        _refuse_unknown(value, known)
        name = value[source]
        if not isinstance(name, str) or not _NAME.fullmatch(name) or ".." in name:
            raise ValueError(f"`{source}` is a plain name of letters, digits, '.', '_' and '-', not {name!r}")
        texts = _one_of("modality", value.get("modality"), ("image", "text")) == "text"
        modality: Modality = "text" if texts else "image"
        pooling = _pooling(value, modality)
        return cls(source, name, pooling=pooling, modality=modality, projection=_projection(value))

    @property
    def settings(self) -> dict[str, Any]:
        """The configuration of the model type, parsed."""
        settings: dict[str, Any] = json.loads(self.config)
        return settings

    @property
    def width(self) -> int | None:
        """Components of the pooled features; None where the configuration does not say."""
        config = self.settings
        if isinstance(config.get("hidden_sizes"), list):
            return int(config["hidden_sizes"][-1])
        widths = [config[key] for key in _WIDTHS if key in config]
        return int(widths[0]) if widths else None

    def to_json(self) -> dict[str, Any]:
        """The architecture as the JSON object that `from_json` reads."""
        if self.source == "config":
            value: dict[str, Any] = {"type": self.name, "config": self.settings}
        else:
            value = {self.source: self.name}
            if self.source == "local":
                value["modality"] = self.modality
        options = {"stem": self.stem, "pooling": self.pooling, "projection": self.projection or None}
        return value | {key: option for key, option in options.items() if option is not None}


def _pooling(value: Mapping[str, Any], modality: Modality) -> str | None:
    pooling = _one_of("pooling", value.get("pooling"), POOLINGS)
    if pooling is not None and modality != "text":
        raise ValueError("`pooling` is of text models alone")
    return pooling


def _projection(value: Mapping[str, Any]) -> bool:
    projection = value.get("projection", False)
    if not isinstance(projection, bool):
        raise ValueError(f"`projection` is true or false, not {projection!r}")
    return projection


def _one_of(key: str, value: object, allowed: tuple[str, ...]) -> str | None:
    if value is not None and value not in allowed:
        raise ValueError(f"`{key}` is {' or '.join(map(repr, allowed))}, or left out; not {value!r}")
    return None if value is None else str(value)


def _refuse_unknown(value: Mapping[str, Any], known: set[str]) -> None:
    if unknown := sorted(set(map(str, value)) - known):
        raise ValueError(f"unknown keys {', '.join(unknown)}; known are {', '.join(sorted(known))}")


def _check_sizes(config: Mapping[str, Any]) -> None:
    """Raises ValueError unless every number of a configuration is within bounds: it comes over HTTP and decides how
    much memory is allocated."""
    for key, value in config.items():
        numbers = value if isinstance(value, list) else [value]
        if not all(isinstance(number, int | float | str) for number in numbers):
            raise ValueError(f"`config.{key}` is a number, a text or a list of them")
        for number in numbers:
            if not isinstance(number, str) and not abs(number) <= _most(key):
                raise ValueError(f"`config.{key}` is {number}; at most {_most(key):,} is taken")
        if key in ("hidden_sizes", "depths") and not (isinstance(value, list) and value and all(map(_counts, value))):
            raise ValueError(f"`config.{key}` is a list of positive whole numbers")
        if key in _WIDTHS and not _counts(value):
            raise ValueError(f"`config.{key}` is a positive whole number")
    sizes, depths = config.get("hidden_sizes"), config.get("depths")
    if sizes is not None and depths is not None and len(sizes) != len(depths):
        raise ValueError(
            f"`config` has {len(sizes)} hidden_sizes and {len(depths)} depths; there is one of each a stage"
        )


def _counts(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _most(key: str) -> int:
    if key == "vocab_size":
        return MOST_TOKENS
    return MOST_LAYERS if key == "depths" or key.startswith("num_") else MOST_WIDTH
