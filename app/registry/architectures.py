"""Architectures of models trained here, as a request's body gives them."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from models.portable import Architecture
from models.portable.architectures import PRESETS

_IMAGE_SIZE = 224
"""Pixels a side of the images that a model is given, unless its stem is made for small ones."""

_SMALL_IMAGE_SIZE = 32
"""Pixels a side of the images that a model with a stem for small images is given."""

ImageSize = Annotated[
    int | None,
    Field(
        ge=8, le=1_024, description=f"Pixels a side. Left out, {_IMAGE_SIZE}, or {_SMALL_IMAGE_SIZE} for a small stem."
    ),
]
"""What a request to train says of the size of its images; `usual_image_size` stands in for what it left out."""


def usual_image_size(architecture: Architecture) -> int:
    """Pixels a side that an architecture of images is trained with unless its request says otherwise."""
    return _SMALL_IMAGE_SIZE if architecture.stem == "small" else _IMAGE_SIZE


Tokens = Annotated[int, Field(ge=1, le=8_192, description="Of a text; what is longer is cut.")]
"""What a request to train says of texts."""


def _architecture(value: object) -> dict[str, Any]:
    """An architecture in its object form, so that what was trained is known even where a preset has changed since."""
    try:
        return Architecture.from_json(value).to_json()
    except ValueError as error:
        raise PydanticCustomError("architecture", "{why}", {"why": str(error)}) from None


ArchitectureJson = Annotated[
    dict[str, Any],
    BeforeValidator(_architecture),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "enum": list(PRESETS)}, {"type": "object", "additionalProperties": True}],
            "description": 'A preset; `{"type", "config", "stem"?, "pooling"?}`, a family of Hugging Face transformers '
            'by its configuration; `{"local": "folder"}`, weights below the service\'s backbones folder; or '
            '`{"timm": "name"}` where timm is installed.',
        }
    ),
]
