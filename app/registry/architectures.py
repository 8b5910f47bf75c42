"""Architectures of models trained here, as a request's body gives them."""

from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationError, WithJsonSchema
from pydantic_core import InitErrorDetails, PydanticCustomError

from models.portable import Architecture
from models.portable.architectures import PRESETS


def wrong(message: str, *path: str) -> ValidationError:
    """A validation error at a place of the body, to be raised by a validator."""
    error = PydanticCustomError("wrong", "{message}", {"message": message})
    return ValidationError.from_exception_data("upgrade", [InitErrorDetails(type=error, loc=path, input=None)])


IMAGE_SIZE = 224
"""Pixels a side of the images that a model is given, unless its stem is made for small ones."""

SMALL_IMAGE_SIZE = 32
"""Pixels a side of the images that a model with a stem for small images is given."""


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
